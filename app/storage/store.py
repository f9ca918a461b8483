"""Queries named by intent. What is personal is sealed on the way in and opened on the way out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Integer,
    ScalarSelect,
    Select,
    bindparam,
    delete,
    insert,
    literal_column,
    select,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

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
from app.core.failures import counts_towards_the_limit
from app.core.lifetimes import AHEAD_AT_MOST, CONFIRMABLE_FOR, INTERRUPTED_AFTER, REPEATABLE_FOR
from app.storage import audit
from app.storage.connection import Connection
from app.storage.database import Database
from app.storage.encryption import Unreadable
from app.storage.sealed import Returned, Seals, new_stamp
from app.storage.statements import Row, Statement
from app.storage.tables import users, verifications

T = TypeVar("T")
Decide = Callable[[UserRecord | None], Ruling]
Position = tuple[datetime, str]

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
        rows = await self._database.read(_USER, {"of_user": user_id})
        return self._seals.record(rows[0]) if rows else None

    async def read_for_start(
        self, user_id: str, purpose: Purpose, *, since: datetime, limit: int, now: datetime
    ) -> Reading:
        """What is on file about a user, and whether `limit` attempts of this purpose have begun without success."""
        [row] = await self._database.read(_FOR_START, {"of_user": user_id, **_counting(purpose, since, limit, now)})
        record = self._seals.record(row) if row.revision is not None else None
        return Reading(record=record, filled_at=row.filled_at, stamp=row.stamp, limit=limit, since=since)

    async def begin_attempt(self, new: NewAttempt, reading: Reading) -> bool:
        """Put an attempt on file. False, with nothing written, where what it was decided by is no longer so.

        One statement, so that nothing can come between the look and the write: on PostgreSQL it holds the user's row,
        on SQLite it is the only one that writes.
        """
        attempt = new.attempt
        begin = _BEGIN_ON_SQLITE
        if not self._database.is_sqlite:
            begin = _BEGIN_FIRST if reading.stamp is None else _BEGIN
        expected = {
            "of_user": attempt.user_id,
            "seen": reading.stamp,
            "new_stamp": new_stamp(),
            **_counting(attempt.purpose, reading.since, reading.limit, attempt.created_at),
        }
        return bool(await self._database.write(begin, self._attempt_columns(new) | expected))

    async def adopt(self, user_id: str, record: UserRecord) -> None:
        """Put a record on file for a user who has none, and was neither reset nor erased."""
        async with self._database.transaction() as connection:
            row = await _lock_user(connection, user_id)
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
        values = {
            "attempt_id": attempt.id,
            "browser_digest": digest,
            "sealed_request": self._seals.seal_request(bound, secrets),
            "sealed_way_back": self._seals.seal_way_back(bound, way_back),
        }
        return bool(await self._database.write(_BIND_BROWSER, values))

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
        rows = await self._database.write(_CONSUME, values)
        row = rows[0] if rows else None
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
        values = {
            **_as_found(attempt),
            "status": Status.RETURNED,
            "returned_at": now,
            "still_counts": not isinstance(outcome, Failure) or counts_towards_the_limit(outcome),
            "clear_at": now + CONFIRMABLE_FOR,
            "sealed_outcome": self._seals.seal_returned(back, returned),
            "sealed_return": self._seals.seal_return_location(back, location),
        }
        # Whoever has exchanged a code has no second one: what came of it is not lost to a queue.
        return bool(await self._database.write(_KEEP_RETURN, values, patient=True))

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
                    own = {"of_user": attempt.user_id, "of_purpose": attempt.purpose}
                    await connection.rows(_FORGET_ATTEMPTS_WITHOUT_SUCCESS, own)
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
            await connection.rows(update(verifications).where(under_way).values(**gone, finished_at=entry.at))
            await connection.rows(
                update(verifications).where(own, verifications.c.status == Status.PENDING).values(gone)
            )
            await connection.rows(update(verifications).where(own, _holds_something()).values(_FORGOTTEN))
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
            await _lock_user(connection, user_id)
            await connection.rows(delete(verifications).where(verifications.c.user_id == user_id))
            await connection.rows(delete(users).where(users.c.user_id == user_id))
            await audit.add(connection.rows, entry)
            await audit.forget_user(connection, self._seals, user_id)
        await self._database.forget_deleted()

    async def note(self, entry: AuditEntry) -> None:
        """Enter in the audit an act that changes nothing."""
        async with self._database.transaction() as connection:
            await audit.add(connection.rows, entry)
            if entry.user_id is not None:
                await self._keep_no_id_of_a_stranger(connection, entry.user_id)

    async def _keep_no_id_of_a_stranger(self, connection: Connection, user_id: str) -> None:
        """Of a user who is not on file the audit keeps a digest: asking must not bring an erased id back."""
        for known in (users.c.user_id, verifications.c.user_id):
            if await connection.rows(select(known).where(known == user_id).limit(1)):
                return
        await audit.forget_user(connection, self._seals, user_id)

    async def _row(self, attempt_id: str) -> Row | None:
        if not ATTEMPT_ID.fullmatch(attempt_id):
            return None
        rows = await self._database.read(_ATTEMPT, {"attempt_id": attempt_id})
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

    async def _finish(self, connection: Connection, before: Attempt, finished: Attempt, decision: Decision) -> None:
        failure = finished.failure
        values = {
            **_as_found(before),
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
            "still_counts": failure is not None and counts_towards_the_limit(failure),
            "clear_at": (finished.finished_at or finished.created_at) + REPEATABLE_FOR,
            "sealed_outcome": None,
            "sealed_answer": self._seals.seal_answer(finished, decision),
        }
        if not await connection.rows(_FINISH, values):
            raise _NotAsItWas

    async def _write(self, connection: Connection, row: Row, record: UserRecord) -> None:
        columns = self._seals.record_columns(row.user_id, record, row.revision + 1)
        await connection.rows(_WRITE_RECORD, {"of_user": row.user_id, **columns})


class _NotAsItWas(Exception):
    """The attempt is no longer where this request has found it: the transaction is rolled back."""


_USER = Statement(select(users).where(users.c.user_id == bindparam("of_user")))
_ATTEMPT = Statement(select(verifications).where(verifications.c.id == bindparam("attempt_id")))


def _filled_at() -> ScalarSelect[datetime]:
    """When the attempt began that has filled the limit, of those of this purpose which have not succeeded."""
    row = verifications.c
    # An exchange that was interrupted is nobody's fault but ours. What began in the future began by a clock set back
    # since.
    interrupted = (row.status == Status.EXCHANGING) & (row.exchange_started_at <= bindparam("interrupted_before"))
    return (
        select(row.created_at)
        .where(row.user_id == bindparam("of_user"), row.purpose == bindparam("of_purpose"), row.counted, ~interrupted)
        .where(row.created_at > bindparam("since"), row.created_at <= bindparam("ahead"))
        .order_by(row.created_at.desc())
        .limit(1)
        .offset(bindparam("before_it", type_=Integer))
        .scalar_subquery()
    )


def _counting(purpose: Purpose, since: datetime, limit: int, now: datetime) -> dict[str, Any]:
    return {
        "of_purpose": purpose,
        "since": since,
        "ahead": now + AHEAD_AT_MOST,
        "interrupted_before": now - INTERRUPTED_AFTER,
        "before_it": max(limit - 1, 0),
        "is_limited": limit > 0,
    }


_ONE_ROW = select(literal_column("1").label("one")).subquery()
_FOR_START = Statement(
    select(*users.c, _filled_at().label("filled_at")).select_from(
        _ONE_ROW.outerjoin(users, users.c.user_id == bindparam("of_user"))
    )
)


def _add_attempt(selected: Callable[..., Select[Any]]) -> Statement:
    """Put an attempt on file where a selection finds a row."""
    new = selected(*(bindparam(f"new_{column.name}", type_=column.type) for column in verifications.c))
    return Statement(insert(verifications).from_select(list(verifications.c), new).returning(verifications.c.id))


def _where_taken_first(*new: Any) -> Select[Any]:
    """The user's row gets a new stamp: a new row, or one without a stamp. Another start waits for it."""
    row = postgresql.insert(users).values(
        user_id=bindparam("of_user"), revision=0, stamp=bindparam("new_stamp", type_=users.c.stamp.type)
    )
    taken = row.on_conflict_do_update(
        index_elements=[users.c.user_id], set_={"stamp": row.excluded.stamp}, where=users.c.stamp.is_(None)
    )
    return select(*new).select_from(taken.returning(users.c.user_id).cte("taken"))


def _where_taken(*new: Any) -> Select[Any]:
    """The user's row gets a new stamp, where it has the one that was seen. Another start waits for it."""
    taken = (
        update(users)
        .where(users.c.user_id == bindparam("of_user"), users.c.stamp == bindparam("seen"))
        .values(stamp=bindparam("new_stamp"))
    )
    return select(*new).select_from(taken.returning(users.c.user_id).cte("taken"))


def _where_as_it_was(*new: Any) -> Select[Any]:
    """Nothing has changed since the reading. SQLite looks with the right to write in its hands."""
    stamp = select(users.c.stamp).where(users.c.user_id == bindparam("of_user")).scalar_subquery()
    is_free = ~bindparam("is_limited", type_=Boolean) | _filled_at().is_(None)
    return select(*new).where(stamp.is_not_distinct_from(bindparam("seen", type_=users.c.stamp.type)), is_free)


_BEGIN_FIRST = _add_attempt(_where_taken_first)
_BEGIN = _add_attempt(_where_taken)
_BEGIN_ON_SQLITE = _add_attempt(_where_as_it_was)
_BIND_BROWSER = Statement(
    update(verifications)
    .where(
        verifications.c.id == bindparam("attempt_id"),
        verifications.c.status == Status.PENDING,
        verifications.c.browser_digest.is_(None),
    )
    .returning(verifications.c.id),
    columns=("browser_digest", "sealed_request", "sealed_way_back"),
)


def _is_open() -> ColumnElement[bool]:
    """The rows of attempts that wait for their callback, or have waited in vain and were never answered."""
    row = verifications.c
    lapsed = (row.status == Status.EXPIRED) & row.finished_at.is_(None) & row.returned_at.is_(None)
    return (row.status == Status.PENDING) | lapsed


_CONSUME = Statement(
    update(verifications)
    .where(verifications.c.id == bindparam("attempt_id"), _is_open())
    # One that had lapsed is under way again, to be told so.
    .values(failure_code=None)
    .returning(verifications),
    columns=("status", "exchange_started_at", "callback_fingerprint", "finished_by", "clear_at"),
)


def _change_as_found(*columns: str) -> Statement:
    """Change these columns of an attempt, while it is still at the step where this request has found or put it.

    One that a success or a reset has cleared never counts towards the limit again.
    """
    row = verifications.c
    began = row.exchange_started_at.is_not_distinct_from(bindparam("found_exchange_started_at"))
    change = (
        update(verifications)
        .where(row.id == bindparam("attempt_id"), row.status == bindparam("found_status"), began)
        .values(counted=row.counted & bindparam("still_counts", type_=Boolean), sealed_request=None)
        .returning(row.id)
    )
    return Statement(change, columns=columns)


def _as_found(attempt: Attempt) -> dict[str, Any]:
    return {
        "attempt_id": attempt.id,
        "found_status": attempt.status,
        "found_exchange_started_at": attempt.exchange_started_at,
    }


_KEEP_RETURN = _change_as_found("status", "returned_at", "clear_at", "sealed_outcome", "sealed_return")
_FINISH = _change_as_found(
    "status",
    "finished_at",
    "finished_by",
    "callback_fingerprint",
    "interview_id",
    "identity_id",
    "auth_overall_score",
    "auth_overall_status",
    "failure_code",
    "failure_description",
    "clear_at",
    "sealed_outcome",
    "sealed_answer",
)
_FORGET_ATTEMPTS_WITHOUT_SUCCESS = Statement(
    update(verifications)
    .where(
        verifications.c.user_id == bindparam("of_user"),
        verifications.c.purpose == bindparam("of_purpose"),
        verifications.c.counted,
    )
    .values(counted=False)
)
_WRITE_RECORD = Statement(
    update(users).where(users.c.user_id == bindparam("of_user")),
    columns=[name for name in users.c.keys() if name != "user_id"],  # noqa: SIM118  its items are columns
)


def _lock(into: sqlite.Insert | postgresql.Insert) -> Statement:
    locked = into.on_conflict_do_update(
        index_elements=[users.c.user_id], set_={"user_id": into.excluded.user_id}
    ).returning(users)
    return Statement(locked, columns=("user_id", "revision"))


_LOCK_ON_SQLITE, _LOCK_ON_POSTGRESQL = _lock(sqlite.insert(users)), _lock(postgresql.insert(users))


async def _lock_user(connection: Connection, user_id: str) -> Row:
    """The user's row, locked until the transaction ends; a new one, of revision 0, for a user we have never met."""
    lock = _LOCK_ON_SQLITE if connection.is_sqlite else _LOCK_ON_POSTGRESQL
    [locked] = await connection.rows(lock, {"user_id": user_id, "revision": 0})
    return locked


_FORGOTTEN: dict[str, Any] = {
    "counted": False,
    "clear_at": None,
    "sealed_request": None,
    "sealed_outcome": None,
    "sealed_return": None,
    "sealed_answer": None,
}


def _holds_something() -> ColumnElement[bool]:
    """The rows that have something which a reset withdraws."""
    return verifications.c.counted | verifications.c.clear_at.is_not(None)


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


def _attempt(row: Row) -> Attempt | None:
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
