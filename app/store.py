"""Queries named by intent. What is personal is sealed on the way in and opened on the way out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Select, Update, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from app.db import Database, UserRow, VerificationRow
from app.domain import (
    Action,
    Attempt,
    ConsumedAttempt,
    Decision,
    Evidence,
    Failure,
    Flow,
    Json,
    Purpose,
    RequestSecrets,
    Ruling,
    Status,
    Tokens,
    UserRecord,
)
from app.encryption import Cipher, Unreadable
from app.failures import PERSON_CODES

Decide = Callable[[UserRecord | None], Ruling]


class Store:
    """Users' records and their attempts."""

    def __init__(self, database: Database, cipher: Cipher) -> None:
        self._database = database
        self._cipher = cipher

    async def user(self, user_id: str) -> UserRecord | None:
        """What is on file about a user; None for one we have never met."""
        async with self._database.reading() as session:
            row = await session.get(UserRow, user_id)
        return self._record(row) if row else None

    async def failures_about_the_person(self, user_id: str, purpose: Purpose, since: datetime) -> list[datetime]:
        """When attempts of this purpose failed for the person's own reasons, after `since`, the last success and reset."""
        own = (VerificationRow.user_id == user_id, VerificationRow.purpose == purpose)
        succeeded = select(func.max(VerificationRow.finished_at)).where(*own, VerificationRow.status == Status.COMPLETED)
        reset = select(UserRow.reset_at).where(UserRow.user_id == user_id)
        async with self._database.reading() as session:
            starts = (since, await session.scalar(succeeded), await session.scalar(reset))
            failed = select(VerificationRow.finished_at).where(
                *own,
                VerificationRow.status == Status.FAILED,
                VerificationRow.failure_code.in_(PERSON_CODES),
                VerificationRow.finished_at > max(moment for moment in starts if moment),
            )
            return [at for at in await session.scalars(failed) if at]

    async def add_attempt(self, attempt: Attempt, secrets: RequestSecrets) -> None:
        """Keep a new attempt. It is on file when this returns."""
        async with self._database.writing() as session:
            session.add(
                VerificationRow(
                    id=attempt.id,
                    user_id=attempt.user_id,
                    flow=attempt.flow,
                    purpose=attempt.purpose,
                    status=attempt.status,
                    started_by=attempt.started_by,
                    created_at=attempt.created_at,
                    expires_at=attempt.expires_at,
                    sealed_request=self._cipher.seal(_request_owner(attempt.id), asdict(secrets)),
                )
            )

    async def attempt(self, attempt_id: str) -> Attempt | None:
        """An attempt by its id."""
        async with self._database.reading() as session:
            row = await session.get(VerificationRow, attempt_id)
        return _attempt(row) if row else None

    async def newest_pending_relay_login(self, user_id: str) -> Attempt | None:
        """The attempt that a callback without an id is about: a login, never a step-up."""
        return await self._newest(_relay_logins(user_id).where(VerificationRow.status == Status.PENDING))

    async def relay_login_with_callback(self, user_id: str, fingerprint: str) -> Attempt | None:
        """The attempt that this very callback has reached before."""
        return await self._newest(_relay_logins(user_id).where(VerificationRow.callback_fingerprint == fingerprint))

    async def _newest(self, attempts: Select[VerificationRow]) -> Attempt | None:
        async with self._database.reading() as session:
            row = await session.scalar(attempts.order_by(VerificationRow.created_at.desc(), VerificationRow.id).limit(1))
        return _attempt(row) if row else None

    async def answer(self, attempt: Attempt) -> Decision | None:
        """The answer that a finished attempt was given, unless a reset has withdrawn it."""
        async with self._database.reading() as session:
            row = await session.get(VerificationRow, attempt.id)
        if row is None or row.sealed_answer is None:
            return None
        try:
            answer = self._cipher.open(_answer_owner(row.id), row.sealed_answer)
        except Unreadable:
            return None
        return Decision(
            Action(answer["action"]),
            answer["reason"],
            claims=answer["claims"],
            app_metadata=answer["app_metadata"],
            failure=Failure(**answer["failure"]) if answer["failure"] else None,
            verification=_attempt(row),
        )

    async def consume_attempt(
        self, attempt: Attempt, *, fingerprint: str, finished_by: str, now: datetime
    ) -> ConsumedAttempt | None:
        """Claim a pending attempt for one callback; this one update decides, on any number of processes.

        None when another callback was first.
        """
        claim = (
            update(VerificationRow)
            .where(VerificationRow.id == attempt.id, VerificationRow.status == Status.PENDING)
            .values(
                status=Status.EXCHANGING,
                exchange_started_at=now,
                callback_fingerprint=fingerprint,
                finished_by=finished_by,
            )
        )
        async with self._database.writing() as session:
            if not await _changed_one(session, claim):
                return None
            row = await session.get_one(VerificationRow, attempt.id)
            return ConsumedAttempt(_attempt(row), self._secrets(row), now)

    async def record_outcome(self, attempt: Attempt, decide: Decide, now: datetime) -> Decision | None:
        """Decide with the user's row locked, and record the ruling, in one transaction.

        None, with nothing recorded, when the attempt is no longer this exchange's: it was erased, reset, or given up.
        """
        async with self._database.writing() as session:
            user = await _lock_user(session, attempt.user_id)
            ruling = decide(self._record(user) if user.revision else None)
            finish = (
                update(VerificationRow)
                .where(
                    VerificationRow.id == attempt.id,
                    VerificationRow.status == Status.EXCHANGING,
                    VerificationRow.exchange_started_at == attempt.exchange_started_at,
                )
                .values({**self._outcome(attempt.id, ruling), "finished_at": now})
            )
            if not await _changed_one(session, finish):
                await session.rollback()
                return None
            if ruling.record:
                self._write(user, ruling.record)
        return await self.answer(attempt)

    async def reset_user(self, user_id: str, change: Callable[[UserRecord], UserRecord], now: datetime) -> None:
        """Change the record by an administrator's order; whatever was begun or answered before no longer counts."""
        async with self._database.writing() as session:
            user = await _lock_user(session, user_id)
            own = VerificationRow.user_id == user_id
            pending = own & (VerificationRow.status == Status.PENDING) & (VerificationRow.expires_at > now)
            exchanging = own & (VerificationRow.status == Status.EXCHANGING)
            gone = {"status": Status.EXPIRED, "failure_code": "verification_expired", "finished_at": now}
            await session.execute(update(VerificationRow).where(own).values(sealed_answer=None))
            await session.execute(update(VerificationRow).where(exchanging).values({**gone, "sealed_request": None}))
            await session.execute(update(VerificationRow).where(pending).values(expires_at=now))
            if not user.revision:
                await session.delete(user)
                return
            self._write(user, change(self._record(user)))
            user.reset_at = now

    async def erase_user(self, user_id: str) -> None:
        """Remove everything about a user. The lock keeps an exchange that is under way from bringing the user back."""
        async with self._database.writing() as session:
            user = await _lock_user(session, user_id)
            await session.execute(delete(VerificationRow).where(VerificationRow.user_id == user_id))
            await session.delete(user)

    def _record(self, row: UserRow) -> UserRecord:
        evidence, intact = None, True
        if row.sealed_evidence is not None:
            try:
                evidence = _evidence(self._cipher.open(_user_owner(row.user_id), row.sealed_evidence))
            except Unreadable:
                intact = False
        return UserRecord(
            completed=row.completed,
            completed_at=row.completed_at,
            interview_id=row.interview_id,
            identity_id=row.identity_id,
            error=row.error,
            evidence=evidence,
            intact=intact,
        )

    def _write(self, row: UserRow, record: UserRecord) -> None:
        row.revision += 1
        row.completed = record.completed
        row.completed_at = record.completed_at
        row.interview_id = record.interview_id
        row.identity_id = record.identity_id
        row.error = record.error
        if record.intact:
            evidence = asdict(record.evidence) if record.evidence else None
            row.sealed_evidence = self._cipher.seal(_user_owner(row.user_id), evidence) if evidence else None

    def _outcome(self, attempt_id: str, ruling: Ruling) -> dict[str, Any]:
        evidence, failure, decision = ruling.evidence or Evidence(), ruling.failure, ruling.decision
        answer = {
            "action": decision.action,
            "reason": decision.reason,
            "claims": decision.claims,
            "app_metadata": decision.app_metadata,
            "failure": asdict(failure) if failure else None,
        }
        return {
            "status": ruling.status,
            "interview_id": evidence.interview_id,
            "identity_id": evidence.identity_id,
            "auth_overall_score": json.dumps(evidence.auth_overall_score),
            "auth_overall_status": json.dumps(evidence.auth_overall_status),
            "failure_code": failure.code if failure else None,
            "failure_description": failure.description if failure else None,
            "sealed_request": None,
            "sealed_answer": self._cipher.seal(_answer_owner(attempt_id), answer),
        }

    def _secrets(self, row: VerificationRow) -> RequestSecrets:
        return RequestSecrets(**self._cipher.open(_request_owner(row.id), row.sealed_request or b""))


def _user_owner(user_id: str) -> str:
    return f"user:{user_id}"


def _request_owner(attempt_id: str) -> str:
    return f"request:{attempt_id}"


def _answer_owner(attempt_id: str) -> str:
    return f"answer:{attempt_id}"


async def _lock_user(session: AsyncSession, user_id: str) -> UserRow:
    """The user's row, locked until the transaction ends; a new one, of revision 0, for a user we have never met."""
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    lock = insert(UserRow).values(user_id=user_id, revision=0)
    lock = lock.on_conflict_do_update(index_elements=[UserRow.user_id], set_={"user_id": user_id})
    return (await session.scalars(lock.returning(UserRow))).one()


async def _changed_one(session: AsyncSession, statement: Update) -> bool:
    changed = await session.execute(statement.returning(VerificationRow.id), execution_options={"synchronize_session": False})
    return changed.one_or_none() is not None


def _relay_logins(user_id: str) -> Select[VerificationRow]:
    return select(VerificationRow).where(
        VerificationRow.user_id == user_id,
        VerificationRow.flow == Flow.RELAY,
        VerificationRow.purpose == Purpose.LOGIN,
    )


def _attempt(row: VerificationRow) -> Attempt:
    return Attempt(
        id=row.id,
        user_id=row.user_id,
        flow=Flow(row.flow),
        purpose=Purpose(row.purpose),
        status=Status(row.status),
        started_by=row.started_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
        finished_by=row.finished_by,
        exchange_started_at=row.exchange_started_at,
        finished_at=row.finished_at,
        callback_fingerprint=row.callback_fingerprint,
        interview_id=row.interview_id,
        identity_id=row.identity_id,
        auth_overall_score=_parsed(row.auth_overall_score),
        auth_overall_status=_parsed(row.auth_overall_status),
        failure=Failure(row.failure_code, row.failure_description) if row.failure_code else None,
    )


def _parsed(text: str | None) -> Json:
    return None if text is None else json.loads(text)


def _evidence(value: dict[str, Json]) -> Evidence:
    tokens = value.pop("tokens")
    return Evidence(**value, tokens=Tokens(**tokens) if tokens else None)
