"""Queries named by intent. What is personal is sealed on the way in and opened on the way out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import delete, select

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
    RequestSecrets,
    Ruling,
    Status,
    UserRecord,
    WayBack,
)
from app.core.errors import DatabaseUnavailable
from app.core.evidence import is_usable_score
from app.core.failures import counts_towards_the_limit
from app.core.lifetimes import CONFIRMABLE_FOR, INTERRUPTED_AFTER, REPEATABLE_FOR
from app.storage import audit, queries
from app.storage.connection import Connection
from app.storage.database import Database
from app.storage.encryption import Unreadable
from app.storage.listing import AttemptFilter, Position, page_query
from app.storage.sealed import Returned, Seals, new_stamp
from app.storage.statements import Row, text_check
from app.storage.tables import users, verifications

T = TypeVar("T")
Decide = Callable[[UserRecord | None], Ruling]

# What is decided is decided again when something came between its look and its write. At most ten come at once from a
# process.
TRIES = 50
# What PostgreSQL's column holds at most.
LAST_REVISION = 2**31 - 1
_has_texts = text_check(verifications)
_LAPSED = Failure(FailureCode.VERIFICATION_EXPIRED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a start is decided by: the record, and when the attempt began that has filled the limit, if one has.

    `stamp` is the state of the user's row, and `limit` and `since` are how attempts were counted.
    """

    record: UserRecord | None
    filled_at: datetime | None
    stamp: str | None
    limit: int
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAttempt:
    """An attempt to be put on file, and what is kept of its authorization request.

    `way_back` in the hosted flow alone.
    """

    attempt: Attempt
    secrets: RequestSecrets
    way_back: WayBack | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAttempt:
    """An attempt and what it has kept, all as of one moment: the first browser that comes changes them together.

    `secrets` is a failure where they are gone, or cannot be opened; `way_back` is None where nobody can tell any more.
    """

    attempt: Attempt
    secrets: RequestSecrets | Failure
    way_back: WayBack | None


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
        rows = await self._database.read(queries.USER, {"of_user": user_id})
        return self._seals.record(rows[0]) if rows else None

    async def read_for_start(
        self, user_id: str, purpose: Purpose, *, since: datetime, limit: int, now: datetime
    ) -> Reading:
        """What is on file about a user, and whether `limit` attempts of this purpose have begun without success."""
        [row] = await self._database.read(
            queries.FOR_START, {"of_user": user_id, **queries.counting(purpose, since, limit, now)}
        )
        record = self._seals.record(row) if row.revision is not None else None
        return Reading(record=record, filled_at=row.filled_at, stamp=row.stamp, limit=limit, since=since)

    async def begin_attempt(self, new: NewAttempt, reading: Reading) -> bool:
        """Put an attempt on file. False, with nothing written, where what it was decided by is no longer so.

        One statement, so that nothing can come between the look and the write: on PostgreSQL it holds the user's row,
        on SQLite it is the only one that writes.
        """
        attempt = new.attempt
        begin = queries.BEGIN_ON_SQLITE
        if not self._database.is_sqlite:
            begin = queries.BEGIN_FIRST if reading.stamp is None else queries.BEGIN
        expected = {
            "of_user": attempt.user_id,
            "seen": reading.stamp,
            "new_stamp": new_stamp(),
            **queries.counting(attempt.purpose, reading.since, reading.limit, attempt.created_at),
        }
        return bool(await self._database.write(begin, self._attempt_columns(new) | expected))

    async def adopt(self, user_id: str, record: UserRecord) -> None:
        """Put a record on file for a user who has none, and was neither reset nor erased.

        Raises Unreadable, with nothing written, where nobody can tell who was erased.
        """
        async with self._database.transaction() as connection:
            row = await queries.lock_user(connection, user_id)
            if self._seals.record(row) is None and not await audit.withdrawn(connection.rows, self._seals, [user_id]):
                await self._write(connection, row, record)

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
        rows = await self._database.read(page_query(wanted, now))
        found = [attempt for attempt in map(_attempt, rows) if attempt]
        page = found[: wanted.limit]
        more = len(rows) > wanted.limit
        return Page(page, (page[-1].created_at, page[-1].id) if more and page else None)

    async def kept(self, attempt_id: str) -> KeptAttempt | None:
        """An attempt by its id, with what it has kept."""
        row = await self._row(attempt_id)
        attempt = _attempt(row) if row else None
        if row is None or attempt is None:
            return None
        way_back = self._opened(row, "sealed_way_back", self._seals.way_back)
        return KeptAttempt(attempt=attempt, secrets=self._secrets(attempt, row.sealed_request), way_back=way_back)

    async def bind_browser(self, attempt: Attempt, digest: str, secrets: RequestSecrets, way_back: WayBack) -> bool:
        """Bind a hosted attempt to one browser. False when another one, or the end of the attempt, was first."""
        bound = replace(attempt, browser_digest=digest)
        values = {
            "attempt_id": attempt.id,
            "browser_digest": digest,
            "sealed_request": self._seals.seal_request(bound, secrets),
            "sealed_way_back": self._seals.seal_way_back(bound, way_back),
        }
        return bool(await self._database.write(queries.BIND_BROWSER, values))

    async def consume_attempt(
        self, attempt: Attempt, *, fingerprint: str | None, finished_by: str | None, now: datetime
    ) -> ConsumedAttempt | None:
        """Claim an open attempt for one callback; this one update decides, on any number of processes.

        None when another callback was first.
        """
        values = {
            "attempt_id": attempt.id,
            "status": Status.EXCHANGING,
            "exchange_started_at": now,
            "callback_fingerprint": fingerprint,
            "finished_by": finished_by,
            "clear_at": now + INTERRUPTED_AFTER + REPEATABLE_FOR,
        }
        rows = await self._database.write(queries.CONSUME, values)
        row = rows[0] if rows else None
        consumed = _attempt(row) if row else None
        if row is None or consumed is None:
            return None
        return ConsumedAttempt(
            attempt=consumed,
            secrets=self._secrets(consumed, row.sealed_request),
            way_back=self._opened(row, "sealed_way_back", self._seals.way_back),
            consumed_at=now,
        )

    async def keep_return(
        self, attempt: Attempt, returned: Returned, location: str, now: datetime, *, until: float | None = None
    ) -> bool:
        """Keep a hosted exchange's outcome, unconfirmed, and where the browser goes.

        False when the attempt is no longer as it was: it was withdrawn, or an earlier try has kept it. It waits in any
        line `until` a moment of the event loop's clock.
        """
        back = replace(attempt, returned_at=now)
        outcome = returned.outcome
        values = {
            **queries.as_found(attempt),
            "status": Status.RETURNED,
            "returned_at": now,
            "still_counts": not isinstance(outcome, Failure) or counts_towards_the_limit(outcome),
            "clear_at": now + CONFIRMABLE_FOR,
            "sealed_outcome": self._seals.seal_returned(back, returned),
            "sealed_return": self._seals.seal_return_location(back, location),
        }
        return bool(await self._database.write(queries.KEEP_RETURN, values, until=until))

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
        self,
        attempt: Attempt,
        decide: Decide,
        now: datetime,
        finishing: Mapping[str, str | None],
        *,
        until: float | None = None,
    ) -> Decision | None:
        """Decide by the user's record, and record the ruling if both it and the attempt are still as they were.

        `finishing` says who finished it. None, with nothing recorded, when the attempt is no longer as it was: it was
        erased, reset, given up or confirmed, or an earlier try has recorded it. It waits in any line `until` a moment
        of the event loop's clock.
        """
        seen: list[str | None] = []
        for _ in range(TRIES):
            rows = await self._database.read(queries.USER, {"of_user": attempt.user_id}, until=until)
            row = rows[0] if rows else None
            stamp = row.stamp if row else None
            # The user's row is the same: so it was the attempt, also where a database holds what no moment can be.
            if seen == [stamp]:
                return None
            if row is None and not self._database.is_sqlite:
                return await self._record_of_nobody(attempt, decide, now, finishing, until)
            decision, values = self._outcome(attempt, row, decide, now, finishing)
            if await self._put(values, until):
                return decision
            seen = [stamp]
        raise DatabaseUnavailable

    async def _put(self, values: Mapping[str, Any], until: float | None) -> bool:
        """Record an outcome. False, with nothing written, where what it was decided by is no longer so."""
        if self._database.is_sqlite:
            return bool(await self._database.write_together(queries.RECORD_OUTCOME_ON_SQLITE, values, until=until))
        return bool(await self._database.write(queries.RECORD_OUTCOME, values, until=until))

    async def _record_of_nobody(
        self,
        attempt: Attempt,
        decide: Decide,
        now: datetime,
        finishing: Mapping[str, str | None],
        until: float | None,
    ) -> Decision | None:
        """The same for a user who has no row to be taken, which is made, and stays only if the outcome is recorded."""
        with suppress(_NotAsItWas):
            async with self._database.transaction(until=until) as connection:
                row = await queries.lock_user(connection, attempt.user_id)
                decision, values = self._outcome(attempt, row, decide, now, finishing)
                _require(await connection.rows(queries.RECORD_OUTCOME, values))
            return decision
        return None

    async def reset_user(
        self, user_id: str, change: Callable[[UserRecord], UserRecord], entry: AuditEntry
    ) -> UserRecord | None:
        """Change the record by an administrator's order; whatever was begun or answered before no longer counts.

        The record as it is now; None for a user we have never met.
        """
        async with self._database.transaction() as connection:
            row = await queries.lock_user(connection, user_id)
            await connection.rows(queries.WITHDRAW, {"of_user": user_id, "withdrawn_at": entry.at})
            await audit.add(connection.rows, entry)
            record = self._seals.record(row)
            if record is None:
                await connection.rows(delete(users).where(users.c.user_id == user_id))
                await self._keep_no_id_of_a_stranger(connection, user_id)
                return None
            changed = change(record)
            if changed.authentic:
                await self._write(connection, row, changed)
            return changed

    async def erase_user(self, user_id: str, entry: AuditEntry) -> None:
        """Remove everything about a user. The lock keeps an exchange that is under way from bringing the user back."""
        async with self._database.transaction() as connection:
            await queries.lock_user(connection, user_id)
            await connection.rows(delete(verifications).where(verifications.c.user_id == user_id))
            await connection.rows(delete(users).where(users.c.user_id == user_id))
            await audit.add(connection.rows, entry)
            await audit.forget_user(connection, self._seals, user_id)
        await self._database.forget_deleted()

    async def note(self, user_id: str, entry: AuditEntry) -> None:
        """Enter in the audit an act that changes nothing. An erasure comes before or after, not between."""
        async with self._database.transaction() as connection:
            row = await queries.lock_user(connection, user_id)
            await audit.add(connection.rows, entry)
            # With a stamp it is that of a start, which counts by it.
            if self._seals.record(row) is None and row.stamp is None:
                await connection.rows(delete(users).where(users.c.user_id == user_id))
            await self._keep_no_id_of_a_stranger(connection, user_id)

    async def _keep_no_id_of_a_stranger(self, connection: Connection, user_id: str) -> None:
        """Of a user who is not on file the audit keeps a digest: asking must not bring an erased id back."""
        for known in (users.c.user_id, verifications.c.user_id):
            if await connection.rows(select(known).where(known == user_id).limit(1)):
                return
        await audit.forget_user(connection, self._seals, user_id)

    async def _row(self, attempt_id: str) -> Row | None:
        if not ATTEMPT_ID.fullmatch(attempt_id):
            return None
        rows = await self._database.read(queries.ATTEMPT, {"attempt_id": attempt_id})
        return rows[0] if rows else None

    def _opened(self, row: Row, column: str, open_: Callable[[Attempt, bytes], T]) -> T | None:
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
        columns = {
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
        return {f"new_{column.name}": columns.get(column.name) for column in verifications.c}

    def _outcome(
        self,
        attempt: Attempt,
        row: Row | None,
        decide: Decide,
        now: datetime,
        finishing: Mapping[str, str | None],
    ) -> tuple[Decision, dict[str, Any]]:
        """The decision on an attempt by the user's row, and what the statements are told that record it."""
        ruling = decide(self._seals.record(row) if row else None)
        finished = _finished(attempt, ruling, now, finishing)
        decision = replace(ruling.decision, verification=finished)
        record = ruling.record
        revision = _revision_after(row)
        columns = self._seals.record_columns(attempt.user_id, record, revision) if record else None
        return decision, {
            **queries.as_found(attempt),
            **queries.outcome(self._finished_columns(finished, decision), columns),
            "of_user": attempt.user_id,
            "of_purpose": attempt.purpose,
            "seen": row.stamp if row else None,
            "succeeds": ruling.status is Status.COMPLETED,
            "still_counts": finished.failure is not None and counts_towards_the_limit(finished.failure),
        }

    def _finished_columns(self, finished: Attempt, decision: Decision) -> dict[str, Any]:
        failure = finished.failure
        return {
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
            "clear_at": (finished.finished_at or finished.created_at) + REPEATABLE_FOR,
            "sealed_outcome": None,
            "sealed_answer": self._seals.seal_answer(finished, decision),
        }

    async def _write(self, connection: Connection, row: Row, record: UserRecord) -> None:
        columns = self._seals.record_columns(row.user_id, record, _revision_after(row))
        await connection.rows(queries.WRITE_RECORD, {"of_user": row.user_id, **columns})


def _revision_after(row: Row | None) -> int:
    """How many writes there are with the next one; where the count was made up, the record is of no value already."""
    counted = row.revision if row else 0
    return counted + 1 if isinstance(counted, int) and 0 <= counted < LAST_REVISION else 1


class _NotAsItWas(Exception):
    """The attempt is no longer where this request has found it: the transaction is rolled back."""


def _require(changed: Sequence[Row]) -> None:
    if not changed:
        raise _NotAsItWas


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


def _attempt(row: Row) -> Attempt | None:
    """The attempt in a row; None for a row that somebody has made unreadable."""
    if not _has_texts(row):
        return None
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
            auth_overall_score=_score(row.auth_overall_score),
            auth_overall_status=_status(row.auth_overall_status),
            failure=Failure(FailureCode(code), description) if code else None,
        )
    except (ValueError, RecursionError):
        return None
    return attempt if attempt.created_at and attempt.expires_at else None


def _score(text: str | None) -> Json:
    """Raises ValueError for what could not be answered with."""
    score = None if text is None else json.loads(text)
    if not is_usable_score(score):
        raise ValueError("no score")
    return score


def _status(text: str | None) -> str | None:
    """Raises ValueError for what could not be answered with."""
    status = _score(text)
    if status is not None and not isinstance(status, str):
        raise ValueError("no status")
    return status
