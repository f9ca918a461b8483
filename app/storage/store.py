"""Queries named by intent. What is personal is sealed on the way in and opened on the way out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Row, Select, Update, bindparam, delete, insert, select, union_all, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.domain import (
    ATTEMPT_ID,
    Attempt,
    AuditEntry,
    ConsumedAttempt,
    Decision,
    Evidence,
    Failure,
    FailureCode,
    Flow,
    Json,
    Purpose,
    Reason,
    RequestSecrets,
    Ruling,
    Status,
    UserRecord,
    WayBack,
)
from app.core.failures import counts_towards_the_limit
from app.core.lifetimes import AHEAD_AT_MOST, CONFIRMABLE_FOR, INTERRUPTED_AFTER, REPEATABLE_FOR
from app.storage import audit
from app.storage.database import Database
from app.storage.encryption import Unreadable
from app.storage.sealed import Returned, Seals
from app.storage.tables import users, verifications

T = TypeVar("T")
Decide = Callable[[UserRecord | None], Ruling]
Position = tuple[datetime, str]

_LAPSED = Failure(FailureCode.VERIFICATION_EXPIRED)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAttempt:
    """An attempt to be put on file, and what is kept of its authorization request; `way_back` in the hosted flow alone.

    `reason`, `record` and `login_hint` are what it was decided by.
    """

    attempt: Attempt
    secrets: RequestSecrets
    way_back: WayBack | None
    reason: Reason
    record: UserRecord | None
    login_hint: str | None = field(repr=False)


# What a start comes to, given the record and when the attempts without success have begun, newest first.
Plan = Callable[[UserRecord | None, Sequence[datetime]], NewAttempt | Decision]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFilter:
    """Which attempts are wanted: begun from `since` on and before `until`. `after` is where the page before ended."""

    user_id: str | None = None
    status: Status | None = None
    identity_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 50
    after: Position | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Attempts, and where the next page begins; None at the end."""

    attempts: list[Attempt]
    next: Position | None


class Store:
    """Users' records and their attempts."""

    def __init__(self, database: Database, seals: Seals) -> None:
        self._database = database
        self._seals = seals

    async def user(self, user_id: str) -> UserRecord | None:
        """What is on file about a user; None for one we have never met."""
        rows = await self._database.read(_USER, {"user_id": user_id})
        return self._seals.record(rows[0]) if rows else None

    async def begin_attempt(
        self,
        user_id: str,
        purpose: Purpose,
        plan: Plan,
        *,
        window: timedelta,
        limit: int,
        now: datetime,
        adopted: UserRecord | None = None,
    ) -> NewAttempt | Decision:
        """Let `plan` decide with the user's row locked, and put the attempt that it makes on file.

        It is told the record, and when the last `limit` attempts of this purpose without success have begun in the
        `window`. `adopted` becomes the record of a user who has none, and was neither reset nor erased.
        """
        async with self._database.transaction() as connection:
            row = await _lock_user(connection, user_id)
            record = self._seals.record(row)
            if record is None and adopted and not await audit.withdrawn(connection, self._seals, [user_id]):
                await self._write(connection, row, adopted)
                record = adopted
            query = _begun_without_success(user_id, purpose, now - window, now).limit(limit)
            begun = (await connection.execute(query)).scalars().all() if limit else []
            planned = plan(record, begun)
            if isinstance(planned, NewAttempt):
                await connection.execute(_ADD_ATTEMPT, self._attempt_columns(planned))
        return planned

    async def attempt(self, attempt_id: str) -> Attempt | None:
        """An attempt by its id; None for any text that is none, which a database might not even take."""
        row = await self._row(attempt_id)
        return _attempt(row) if row else None

    async def answer(self, attempt: Attempt) -> Decision | None:
        """The answer that a finished attempt was given, unless a reset has withdrawn it or its time is over."""
        row = await self._row(attempt.id)
        return self._opened(row, "sealed_answer", self._seals.answer) if row else None

    async def attempts(self, wanted: AttemptFilter, now: datetime) -> Page:
        """A page of attempts, newest first.

        It begins after `wanted.after`, which rows added meanwhile do not move.
        """
        rows = await self._database.read(_page_query(wanted, now))
        found = [attempt for attempt in map(_attempt, rows) if attempt]
        page = found[: wanted.limit]
        more = len(rows) > wanted.limit
        return Page(page, (page[-1].created_at, page[-1].id) if more and page else None)

    async def secrets(self, attempt: Attempt) -> RequestSecrets | Failure:
        """What a pending attempt has kept of its authorization request, or why that is not to be had."""
        row = await self._row(attempt.id)
        return self._secrets(attempt, row.sealed_request if row else None)

    async def way_back(self, attempt: Attempt) -> WayBack | None:
        """Where a hosted attempt's browser came from; None where nobody can tell any more."""
        row = await self._row(attempt.id)
        return self._opened(row, "sealed_way_back", self._seals.way_back) if row else None

    async def bind_browser(self, attempt: Attempt, digest: str, secrets: RequestSecrets, way_back: WayBack) -> bool:
        """Bind a hosted attempt to one browser. False when another one was first."""
        bound = replace(attempt, browser_digest=digest)
        bind = (
            update(verifications)
            .where(
                verifications.c.id == attempt.id,
                verifications.c.status == Status.PENDING,
                verifications.c.browser_digest.is_(None),
            )
            .values(
                browser_digest=digest,
                sealed_request=self._seals.seal_request(bound, secrets),
                sealed_way_back=self._seals.seal_way_back(bound, way_back),
            )
        )
        return await self._changed_one(bind)

    async def consume_attempt(
        self, attempt: Attempt, *, fingerprint: str | None, finished_by: str | None, now: datetime
    ) -> ConsumedAttempt | None:
        """Claim an open attempt for one callback; this one update decides, on any number of processes.

        None when another callback was first.
        """
        consume = (
            update(verifications)
            .where(verifications.c.id == attempt.id, _is_open())
            .values(
                status=Status.EXCHANGING,
                exchange_started_at=now,
                callback_fingerprint=fingerprint,
                finished_by=finished_by,
                clear_at=now + INTERRUPTED_AFTER + REPEATABLE_FOR,
                # One that had lapsed is under way again, to be told so.
                failure_code=None,
            )
            .returning(verifications)
        )
        async with self._database.autocommit() as connection:
            row = (await connection.execute(consume)).one_or_none()
        consumed = _attempt(row) if row else None
        if row is None or consumed is None:
            return None
        return ConsumedAttempt(attempt=consumed, secrets=self._secrets(consumed, row.sealed_request), consumed_at=now)

    async def keep_return(self, attempt: Attempt, returned: Returned, location: str, now: datetime) -> bool:
        """Keep a hosted exchange's outcome, unconfirmed, and where the browser goes.

        False when the attempt was withdrawn.
        """
        back = replace(attempt, returned_at=now)
        outcome = returned.outcome
        keep = (
            update(verifications)
            .where(*_unchanged(attempt))
            .values(
                status=Status.RETURNED,
                returned_at=now,
                counted=_still_counted(not isinstance(outcome, Failure) or counts_towards_the_limit(outcome)),
                clear_at=now + CONFIRMABLE_FOR,
                sealed_request=None,
                sealed_outcome=self._seals.seal_returned(back, returned),
                sealed_return=self._seals.seal_return_location(back, location),
            )
        )
        # Whoever has exchanged a code has no second one: what came of it is not lost to a queue.
        return await self._changed_one(keep, patient=True)

    async def return_location(self, attempt: Attempt) -> str | None:
        """Where a hosted attempt's browser was sent back to, unless a reset has withdrawn it or its time is over."""
        row = await self._row(attempt.id)
        return self._opened(row, "sealed_return", self._seals.return_location) if row else None

    async def returned(self, attempt: Attempt) -> Returned | Failure:
        """What a hosted exchange has brought, or why that is not to be had."""
        row = await self._row(attempt.id)
        if row is None or row.sealed_outcome is None:
            return _LAPSED
        return self._opened(row, "sealed_outcome", self._seals.returned) or Failure(FailureCode.RECORD_NOT_AUTHENTIC)

    async def record_outcome(
        self, attempt: Attempt, decide: Decide, now: datetime, finishing: Mapping[str, str | None]
    ) -> Decision | None:
        """Decide with the user's row locked, and record the ruling, in one transaction.

        `finishing` says who finished it. None, with nothing recorded, when the attempt is no longer as it was: it was
        erased, reset, given up or confirmed.
        """
        try:
            async with self._database.transaction(patient=True) as connection:
                row = await _lock_user(connection, attempt.user_id)
                ruling = decide(self._seals.record(row))
                finished = _finished(attempt, ruling, now, finishing)
                decision = replace(ruling.decision, verification=finished)
                await self._finish(connection, attempt, finished, decision)
                if ruling.status is Status.COMPLETED:
                    await connection.execute(_forget_attempts_without_success(attempt.user_id, attempt.purpose))
                if ruling.record:
                    await self._write(connection, row, ruling.record)
        except _NotAsItWas:
            return None
        return decision

    async def reset_user(
        self, user_id: str, change: Callable[[UserRecord], UserRecord], entry: AuditEntry
    ) -> UserRecord | None:
        """Change the record by an administrator's order; whatever was begun or answered before no longer counts.

        The record as it is now; None for a user we have never met.
        """
        own = verifications.c.user_id == user_id
        under_way = own & verifications.c.status.in_((Status.EXCHANGING, Status.RETURNED))
        async with self._database.transaction() as connection:
            row = await _lock_user(connection, user_id)
            gone = {"status": Status.EXPIRED, "failure_code": FailureCode.VERIFICATION_EXPIRED}
            await connection.execute(update(verifications).where(under_way).values(**gone, finished_at=entry.at))
            await connection.execute(
                update(verifications).where(own, verifications.c.status == Status.PENDING).values(gone)
            )
            await connection.execute(update(verifications).where(own, _holds_something()).values(_FORGOTTEN))
            await audit.add(connection, entry)
            record = self._seals.record(row)
            if record is None:
                await connection.execute(delete(users).where(users.c.user_id == user_id))
                await self._keep_no_id_of_a_stranger(connection, user_id)
                return None
            changed = change(record)
            if changed.authentic:
                await self._write(connection, row, changed)
            return changed

    async def erase_user(self, user_id: str, entry: AuditEntry) -> None:
        """Remove everything about a user. The lock keeps an exchange that is under way from bringing the user back."""
        async with self._database.transaction() as connection:
            await _lock_user(connection, user_id)
            await connection.execute(delete(verifications).where(verifications.c.user_id == user_id))
            await connection.execute(delete(users).where(users.c.user_id == user_id))
            await audit.add(connection, entry)
            await audit.forget_user(connection, self._seals, user_id)
        await self._database.forget_deleted()

    async def note(self, entry: AuditEntry) -> None:
        """Enter in the audit an act that changes nothing."""
        async with self._database.transaction() as connection:
            await audit.add(connection, entry)
            if entry.user_id is not None:
                await self._keep_no_id_of_a_stranger(connection, entry.user_id)

    async def _keep_no_id_of_a_stranger(self, connection: AsyncConnection, user_id: str) -> None:
        """Of a user who is not on file the audit keeps a digest: asking must not bring an erased id back."""
        for known in (users.c.user_id, verifications.c.user_id):
            if (await connection.execute(select(known).where(known == user_id).limit(1))).first():
                return
        await audit.forget_user(connection, self._seals, user_id)

    async def _row(self, attempt_id: str) -> Row[Any] | None:
        if not ATTEMPT_ID.fullmatch(attempt_id):
            return None
        rows = await self._database.read(_ATTEMPT, {"attempt_id": attempt_id})
        return rows[0] if rows else None

    def _opened(self, row: Row[Any], column: str, open_: Callable[[Attempt, bytes], T]) -> T | None:
        attempt, sealed = _attempt(row), getattr(row, column)
        if attempt is None or sealed is None:
            return None
        try:
            return open_(attempt, sealed)
        except Unreadable:
            return None

    def _secrets(self, attempt: Attempt, sealed: bytes | None) -> RequestSecrets | Failure:
        if sealed is None:
            return _LAPSED
        try:
            return self._seals.request(attempt, sealed)
        except Unreadable:
            return Failure(FailureCode.RECORD_NOT_AUTHENTIC)

    def _attempt_columns(self, new: NewAttempt) -> dict[str, Any]:
        attempt = new.attempt
        return {
            "id": attempt.id,
            "user_id": attempt.user_id,
            "flow": attempt.flow,
            "purpose": attempt.purpose,
            "status": attempt.status,
            "started_by": attempt.started_by,
            "created_at": attempt.created_at,
            "expires_at": attempt.expires_at,
            "clear_at": attempt.expires_at,
            "omit_state": attempt.omit_state,
            "counted": True,
            "locale": attempt.locale,
            "sealed_request": self._seals.seal_request(attempt, new.secrets),
            "sealed_way_back": self._seals.seal_way_back(attempt, new.way_back) if new.way_back else None,
        }

    async def _finish(
        self, connection: AsyncConnection, before: Attempt, finished: Attempt, decision: Decision
    ) -> None:
        failure = finished.failure
        values = {
            "status": finished.status,
            "finished_at": finished.finished_at,
            "finished_by": finished.finished_by,
            "callback_fingerprint": finished.callback_fingerprint,
            "interview_id": finished.interview_id,
            "identity_id": finished.identity_id,
            "auth_overall_score": json.dumps(finished.auth_overall_score),
            "auth_overall_status": json.dumps(finished.auth_overall_status),
            "failure_code": failure.code if failure else None,
            "failure_description": failure.description if failure else None,
            "counted": _still_counted(failure is not None and counts_towards_the_limit(failure)),
            "clear_at": (finished.finished_at or finished.created_at) + REPEATABLE_FOR,
            "sealed_request": None,
            "sealed_outcome": None,
            "sealed_answer": self._seals.seal_answer(finished, decision),
        }
        changed = await connection.execute(update(verifications).where(*_unchanged(before)).values(values))
        if changed.rowcount != 1:
            raise _NotAsItWas

    async def _write(self, connection: AsyncConnection, row: Row[Any], record: UserRecord) -> None:
        columns = self._seals.record_columns(row.user_id, record, row.revision + 1)
        await connection.execute(update(users).where(users.c.user_id == row.user_id).values(columns))

    async def _changed_one(self, statement: Update, *, patient: bool = False) -> bool:
        async with self._database.autocommit(patient=patient) as connection:
            return (await connection.execute(statement)).rowcount == 1


class _NotAsItWas(Exception):
    """The attempt is no longer where this request has found it: the transaction is rolled back."""


_USER = select(users).where(users.c.user_id == bindparam("user_id"))
_ATTEMPT = select(verifications).where(verifications.c.id == bindparam("attempt_id"))
_ADD_ATTEMPT = insert(verifications)
_LOCK_ON_SQLITE = sqlite.insert(users)
_LOCK_ON_SQLITE = _LOCK_ON_SQLITE.on_conflict_do_update(
    index_elements=[users.c.user_id], set_={"user_id": _LOCK_ON_SQLITE.excluded.user_id}
)
_LOCK_ON_POSTGRESQL = postgresql.insert(users)
_LOCK_ON_POSTGRESQL = _LOCK_ON_POSTGRESQL.on_conflict_do_update(
    index_elements=[users.c.user_id], set_={"user_id": _LOCK_ON_POSTGRESQL.excluded.user_id}
)
_FORGOTTEN: dict[str, Any] = {
    "counted": False,
    "clear_at": None,
    "sealed_request": None,
    "sealed_outcome": None,
    "sealed_return": None,
    "sealed_answer": None,
}


def _still_counted(counts: bool) -> ColumnElement[bool] | bool:
    """Whether an attempt counts towards the limit: one that a success or a reset has cleared never does again."""
    return verifications.c.counted if counts else False


def _holds_something() -> ColumnElement[bool]:
    """The rows that have something which a reset withdraws."""
    return verifications.c.counted | verifications.c.clear_at.is_not(None)


def _is_open() -> ColumnElement[bool]:
    """The rows of attempts that wait for their callback, or have waited in vain and were never answered."""
    row = verifications.c
    lapsed = (row.status == Status.EXPIRED) & row.finished_at.is_(None) & row.returned_at.is_(None)
    return (row.status == Status.PENDING) | lapsed


def _unchanged(attempt: Attempt) -> tuple[ColumnElement[bool], ...]:
    """What holds of the attempt's row while it is still at the step where this request has found or put it."""
    return (
        verifications.c.id == attempt.id,
        verifications.c.status == attempt.status,
        verifications.c.exchange_started_at == attempt.exchange_started_at,
    )


async def _lock_user(connection: AsyncConnection, user_id: str) -> Row[Any]:
    """The user's row, locked until the transaction ends; a new one, of revision 0, for a user we have never met."""
    lock = _LOCK_ON_SQLITE if connection.dialect.name == "sqlite" else _LOCK_ON_POSTGRESQL
    locked: Row[Any] = (await connection.execute(lock.returning(users), {"user_id": user_id, "revision": 0})).one()
    return locked


def _begun_without_success(user_id: str, purpose: Purpose, since: datetime, now: datetime) -> Select[datetime]:
    """When the attempts of this purpose that have not succeeded began, newest first."""
    row = verifications.c
    # An exchange that was interrupted is nobody's fault but ours. What began in the future began by a clock set back
    # since.
    interrupted = (row.status == Status.EXCHANGING) & (row.exchange_started_at <= now - INTERRUPTED_AFTER)
    return (
        select(row.created_at)
        .where(row.user_id == user_id, row.purpose == purpose, row.counted, ~interrupted)
        .where(row.created_at > since, row.created_at <= now + AHEAD_AT_MOST)
        .order_by(row.created_at.desc())
    )


def _forget_attempts_without_success(user_id: str, purpose: Purpose) -> Update:
    row = verifications.c
    return (
        update(verifications).where(row.user_id == user_id, row.purpose == purpose, row.counted).values(counted=False)
    )


def _page_query(wanted: AttemptFilter, now: datetime) -> Select[Any]:
    """One page of attempts and one row more. Each way to have the wanted status is a query with an index of its own."""
    if wanted.status is None:
        return _narrowed(wanted, None)
    pages = [_narrowed(wanted, stands).subquery() for stands in _ways_to_stand_as(wanted.status, now)]
    together = union_all(*[select(page) for page in pages]).subquery()
    return select(together).order_by(together.c.created_at.desc(), together.c.id.desc()).limit(wanted.limit + 1)


def _narrowed(wanted: AttemptFilter, stands: ColumnElement[bool] | None) -> Select[Any]:
    row = verifications.c
    query = select(verifications).order_by(row.created_at.desc(), row.id.desc()).limit(wanted.limit + 1)
    if stands is not None:
        query = query.where(stands)
    if wanted.user_id is not None:
        query = query.where(row.user_id == wanted.user_id)
    if wanted.identity_id is not None:
        query = query.where(row.identity_id == wanted.identity_id)
    if wanted.since is not None:
        query = query.where(row.created_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(row.created_at < wanted.until)
    if wanted.after is not None:
        created_at, attempt_id = wanted.after
        # The first condition alone says where the index is entered: a late page is found as fast as the first.
        query = query.where(row.created_at <= created_at, (row.created_at < created_at) | (row.id < attempt_id))
    return query


def _ways_to_stand_as(status: Status, now: datetime) -> list[ColumnElement[bool]]:
    """The rows that `lifetimes.as_of` shows with this status: time alone moves some of them."""
    row = verifications.c
    ahead = now + AHEAD_AT_MOST
    late = (row.expires_at <= now) | (row.created_at > ahead)
    unconfirmed = (row.returned_at <= now - CONFIRMABLE_FOR) | (row.returned_at > ahead)
    interrupted = (row.exchange_started_at <= now - INTERRUPTED_AFTER) | (row.exchange_started_at > ahead)
    match status:
        case Status.EXPIRED:
            return [
                row.status == status,
                (row.status == Status.PENDING) & late,
                (row.status == Status.RETURNED) & unconfirmed,
            ]
        case Status.FAILED:
            return [row.status == status, (row.status == Status.EXCHANGING) & interrupted]
        case Status.PENDING:
            return [(row.status == status) & ~late]
        case Status.RETURNED:
            return [(row.status == status) & ~unconfirmed]
        case Status.EXCHANGING:
            return [(row.status == status) & ~interrupted]
        case Status.COMPLETED:
            return [row.status == status]


def _finished(attempt: Attempt, ruling: Ruling, now: datetime, finishing: Mapping[str, str | None]) -> Attempt:
    evidence = ruling.evidence or Evidence()
    return replace(
        attempt,
        status=ruling.status,
        finished_at=now,
        interview_id=evidence.interview_id,
        identity_id=evidence.identity_id,
        auth_overall_score=evidence.auth_overall_score,
        auth_overall_status=evidence.auth_overall_status,
        failure=ruling.failure,
        **finishing,  # type: ignore[arg-type]
    )


def _attempt(row: Row[Any]) -> Attempt | None:
    """The attempt in a row; None for a row that somebody has made unreadable."""
    try:
        code, description = row.failure_code, row.failure_description
        attempt = Attempt(
            id=row.id,
            user_id=row.user_id,
            flow=Flow(row.flow),
            purpose=Purpose(row.purpose),
            status=Status(row.status),
            started_by=row.started_by,
            created_at=row.created_at,
            expires_at=row.expires_at,
            omit_state=row.omit_state,
            locale=row.locale,
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
            failure=Failure(FailureCode(code), description) if code else None,
        )
    except (ValueError, RecursionError):
        return None
    return attempt if attempt.created_at and attempt.expires_at else None


def _parsed(text: str | None) -> Json:
    return None if text is None else json.loads(text)
