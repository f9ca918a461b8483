"""Queries named by intent. What is personal is sealed on the way in and opened on the way out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, Update, delete, func, not_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.domain import (
    ATTEMPT_ID,
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
    Verdict,
)
from app.core.failures import PERSON_CODES
from app.core.lifetimes import AHEAD_AT_MOST, CONFIRMABLE_FOR, INTERRUPTED_AFTER
from app.storage.database import Database
from app.storage.encryption import Cipher, Unreadable
from app.storage.tables import UserRow, VerificationRow

Decide = Callable[[UserRecord | None], Ruling]
Position = tuple[datetime, str]


@dataclass(frozen=True, slots=True)
class AttemptFilter:
    """Which attempts are wanted. `after` is where the page before ended."""

    user_id: str | None = None
    status: Status | None = None
    limit: int = 50
    after: Position | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Attempts, and where the next page begins; None at the end."""

    attempts: list[Attempt]
    next: Position | None


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

    async def failures_about_the_person(self, user_id: str, purpose: Purpose, since: datetime, until: datetime) -> list[datetime]:
        """When attempts of this purpose failed for the person's own reasons, after `since`, the last success and reset.

        A success or a reset that is noted after `until` takes no failure away: the clock was set back since.
        """
        own = (VerificationRow.user_id == user_id, VerificationRow.purpose == purpose)
        finished_at = VerificationRow.finished_at
        succeeded = select(func.max(finished_at)).where(*own, VerificationRow.status == Status.COMPLETED, finished_at <= until)
        reset = select(UserRow.reset_at).where(UserRow.user_id == user_id, UserRow.reset_at <= until)
        async with self._database.reading() as session:
            starts = (since, await session.scalar(succeeded), await session.scalar(reset))
            failed = select(finished_at).where(
                *own,
                VerificationRow.status == Status.FAILED,
                VerificationRow.failure_code.in_(PERSON_CODES),
                finished_at > max(moment for moment in starts if moment),
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
        """An attempt by its id; None for any text that is none, which a database might not even take."""
        if not ATTEMPT_ID.fullmatch(attempt_id):
            return None
        async with self._database.reading() as session:
            row = await session.get(VerificationRow, attempt_id)
        return _attempt(row) if row else None

    async def newest_pending_relay_login(self, user_id: str, until: datetime) -> Attempt | None:
        """The attempt, begun by `until`, that a callback without an id is about: a login, never a step-up."""
        row = VerificationRow
        return await self._newest(_relay_logins(user_id).where(row.status == Status.PENDING, row.created_at <= until))

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

    async def attempts(self, wanted: AttemptFilter, now: datetime) -> Page:
        """A page of attempts, newest first; one that begins after `wanted.after`, which rows added meanwhile do not move."""
        row = VerificationRow
        query = select(row).order_by(row.created_at.desc(), row.id.desc()).limit(wanted.limit + 1)
        if wanted.user_id is not None:
            query = query.where(row.user_id == wanted.user_id)
        if wanted.status is not None:
            query = query.where(_stands_as(wanted.status, now))
        if wanted.after is not None:
            created_at, attempt_id = wanted.after
            # The first condition alone says where the index is entered: a late page is found as fast as the first.
            query = query.where(row.created_at <= created_at, (row.created_at < created_at) | (row.id < attempt_id))
        async with self._database.reading() as session:
            found = [_attempt(each) for each in await session.scalars(query)]
        page = found[: wanted.limit]
        more = len(found) > wanted.limit
        return Page(page, (page[-1].created_at, page[-1].id) if more else None)

    async def secrets(self, attempt: Attempt) -> RequestSecrets | None:
        """What an attempt has kept of its authorization request, until it is answered."""
        async with self._database.reading() as session:
            row = await session.get(VerificationRow, attempt.id)
        return self._secrets(row) if row and row.sealed_request else None

    async def bind_browser(self, attempt: Attempt, digest: str, kept: RequestSecrets) -> bool:
        """Bind a hosted attempt to one browser. False when another one was first."""
        bind = (
            update(VerificationRow)
            .where(
                VerificationRow.id == attempt.id,
                VerificationRow.status == Status.PENDING,
                VerificationRow.browser_digest.is_(None),
            )
            .values(browser_digest=digest, sealed_request=self._cipher.seal(_request_owner(attempt.id), asdict(kept)))
        )
        async with self._database.writing() as session:
            return await _changed_one(session, bind)

    async def consume_attempt(
        self, attempt: Attempt, *, fingerprint: str | None, finished_by: str | None, now: datetime
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

    async def keep_return(self, attempt: Attempt, outcome: Verdict | Failure, location: str, now: datetime) -> bool:
        """Keep a hosted exchange's outcome, unconfirmed, and where the browser goes. False when the attempt was withdrawn."""
        keep = (
            update(VerificationRow)
            .where(*_unchanged(attempt))
            .values(
                status=Status.RETURNED,
                returned_at=now,
                sealed_request=None,
                sealed_outcome=self._cipher.seal(_outcome_owner(attempt.id), _written(outcome)),
                sealed_return=self._cipher.seal(_return_owner(attempt.id), location),
            )
        )
        async with self._database.writing(patient=True) as session:
            return await _changed_one(session, keep)

    async def return_location(self, attempt: Attempt) -> str | None:
        """Where a hosted attempt's browser was sent back to, unless a reset has withdrawn it."""
        async with self._database.reading() as session:
            row = await session.get(VerificationRow, attempt.id)
        if row is None or row.sealed_return is None:
            return None
        location: str = self._cipher.open(_return_owner(row.id), row.sealed_return)
        return location

    async def unconfirmed_outcome(self, attempt: Attempt) -> Verdict | Failure:
        """What a hosted exchange has brought. Where it was withdrawn or confirmed meanwhile, recording it will fail."""
        async with self._database.reading() as session:
            row = await session.get(VerificationRow, attempt.id)
        if row is None or row.sealed_outcome is None:
            return Failure("verification_expired")
        return _read(self._cipher.open(_outcome_owner(row.id), row.sealed_outcome))

    async def record_outcome(
        self, attempt: Attempt, decide: Decide, now: datetime, finishing: Mapping[str, str | None]
    ) -> Decision | None:
        """Decide with the user's row locked, and record the ruling, in one transaction; `finishing` says who finished it and how.

        None, with nothing recorded, when the attempt is no longer as it was: it was erased, reset, given up or confirmed.
        """
        async with self._database.writing(patient=True) as session:
            user = await _lock_user(session, attempt.user_id)
            ruling = decide(self._record(user) if user.revision else None)
            values = {**self._outcome(attempt.id, ruling), **finishing, "finished_at": now}
            if not await _changed_one(session, update(VerificationRow).where(*_unchanged(attempt)).values(values)):
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
            pending = own & (VerificationRow.status == Status.PENDING)
            under_way = own & VerificationRow.status.in_((Status.EXCHANGING, Status.RETURNED))
            gone = {"status": Status.EXPIRED, "failure_code": "verification_expired", "finished_at": now}
            kept = {"sealed_request": None, "sealed_outcome": None}
            await session.execute(update(VerificationRow).where(own).values(sealed_answer=None, sealed_return=None))
            await session.execute(update(VerificationRow).where(under_way).values({**gone, **kept}))
            await session.execute(update(VerificationRow).where(pending).values(expires_at=VerificationRow.created_at))
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
        await self._database.forget_deleted()

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
            "sealed_outcome": None,
            "sealed_answer": self._cipher.seal(_answer_owner(attempt_id), answer),
        }

    def _secrets(self, row: VerificationRow) -> RequestSecrets:
        return RequestSecrets(**self._cipher.open(_request_owner(row.id), row.sealed_request or b""))


def _user_owner(user_id: str) -> str:
    return f"user:{user_id}"


def _request_owner(attempt_id: str) -> str:
    return f"request:{attempt_id}"


def _outcome_owner(attempt_id: str) -> str:
    return f"outcome:{attempt_id}"


def _return_owner(attempt_id: str) -> str:
    return f"return:{attempt_id}"


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


def _unchanged(attempt: Attempt) -> tuple[ColumnElement[bool], ...]:
    """That the row is still at the step where this request has found or put it."""
    return (
        VerificationRow.id == attempt.id,
        VerificationRow.status == attempt.status,
        VerificationRow.exchange_started_at == attempt.exchange_started_at,
    )


def _stands_as(status: Status, now: datetime) -> ColumnElement[bool]:
    """The rows that `policy.at` shows with this status: time alone moves some of them."""
    row = VerificationRow
    ahead = now + AHEAD_AT_MOST
    withdrawn = row.expires_at <= row.created_at
    late = (row.status == Status.PENDING) & (withdrawn | (row.expires_at <= now) | (row.created_at > ahead))
    unconfirmed = (row.status == Status.RETURNED) & ((row.returned_at <= now - CONFIRMABLE_FOR) | (row.returned_at > ahead))
    interrupted = (row.status == Status.EXCHANGING) & (
        (row.exchange_started_at <= now - INTERRUPTED_AFTER) | (row.exchange_started_at > ahead)
    )
    match status:
        case Status.EXPIRED:
            return (row.status == status) | late | unconfirmed
        case Status.FAILED:
            return (row.status == status) | interrupted
        case _:
            return (row.status == status) & not_(late | unconfirmed | interrupted)


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
        browser_digest=row.browser_digest,
        returned_at=row.returned_at,
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


def _written(outcome: Verdict | Failure) -> Json:
    return {"failure": asdict(outcome)} if isinstance(outcome, Failure) else asdict(outcome)


def _read(value: dict[str, Json]) -> Verdict | Failure:
    if "failure" in value:
        return Failure(**value["failure"])
    return Verdict(_evidence(value["evidence"]), value["userinfo_answered"])
