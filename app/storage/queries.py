"""The statements that users and attempts are read and changed with at every login, made once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BindParameter,
    Boolean,
    ColumnElement,
    Integer,
    ScalarSelect,
    Select,
    Table,
    Update,
    bindparam,
    case,
    exists,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from app.core.domain import Attempt, FailureCode, Purpose, Status
from app.core.lifetimes import AHEAD_AT_MOST, INTERRUPTED_AFTER
from app.storage.connection import Connection
from app.storage.statements import Row, Statement
from app.storage.tables import users, verifications

_OF_USER = users.c.user_id == bindparam("of_user")
USER = Statement(select(users).where(_OF_USER), is_short=True)
ATTEMPT = Statement(select(verifications).where(verifications.c.id == bindparam("attempt_id")), is_short=True)


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


def counting(purpose: Purpose, since: datetime, limit: int, now: datetime) -> dict[str, Any]:
    """What the statements are told which count attempts."""
    return {
        "of_purpose": purpose,
        "since": since,
        "ahead": now + AHEAD_AT_MOST,
        "interrupted_before": now - INTERRUPTED_AFTER,
        "before_it": max(limit - 1, 0),
        "is_limited": limit > 0,
    }


_ONE_ROW = select(literal_column("1").label("one")).subquery()
FOR_START = Statement(
    select(*users.c, _filled_at().label("filled_at")).select_from(_ONE_ROW.outerjoin(users, _OF_USER)),
    is_short=True,
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
    taken = update(users).where(_OF_USER, users.c.stamp == bindparam("seen")).values(stamp=bindparam("new_stamp"))
    return select(*new).select_from(taken.returning(users.c.user_id).cte("taken"))


def _user_is_as_seen() -> ColumnElement[bool]:
    """The user's row has the stamp that was seen; or there was no row, and there is none."""
    stamp = select(users.c.stamp).where(_OF_USER).scalar_subquery()
    return stamp.is_not_distinct_from(bindparam("seen", type_=users.c.stamp.type))


def _where_as_it_was(*new: Any) -> Select[Any]:
    """Nothing has changed since the reading. SQLite looks with the right to write in its hands."""
    is_free = ~bindparam("is_limited", type_=Boolean) | _filled_at().is_(None)
    return select(*new).where(_user_is_as_seen(), is_free)


BEGIN_FIRST = _add_attempt(_where_taken_first)
BEGIN = _add_attempt(_where_taken)
BEGIN_ON_SQLITE = _add_attempt(_where_as_it_was)
BIND_BROWSER = Statement(
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


CONSUME = Statement(
    update(verifications)
    .where(verifications.c.id == bindparam("attempt_id"), _is_open())
    # One that had lapsed is under way again, to be told so.
    .values(failure_code=None)
    .returning(verifications),
    columns=("status", "exchange_started_at", "callback_fingerprint", "finished_by", "clear_at"),
)


def _change_as_found() -> Update:
    """Change an attempt, while it is still at the step where this request has found or put it.

    One that a success or a reset has cleared never counts towards the limit again.
    """
    row = verifications.c
    began = row.exchange_started_at.is_not_distinct_from(bindparam("found_exchange_started_at"))
    return (
        update(verifications)
        .where(row.id == bindparam("attempt_id"), row.status == bindparam("found_status"), began)
        .values(counted=row.counted & bindparam("still_counts", type_=Boolean), sealed_request=None)
        .returning(row.id)
    )


def as_found(attempt: Attempt) -> dict[str, Any]:
    """What the statements are told which change an attempt only while it is as this request has found it."""
    return {
        "attempt_id": attempt.id,
        "found_status": attempt.status,
        "found_exchange_started_at": attempt.exchange_started_at,
    }


KEEP_RETURN = Statement(
    _change_as_found(), columns=("status", "returned_at", "clear_at", "sealed_outcome", "sealed_return")
)
FINISHED = (
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
# Attempts without success, but the one that succeeds, which is changed by itself.
_FORGET = (
    update(verifications)
    .where(
        verifications.c.user_id == bindparam("of_user"),
        verifications.c.purpose == bindparam("of_purpose"),
        verifications.c.counted,
        verifications.c.id != bindparam("attempt_id"),
    )
    .values(counted=False)
)
_RECORD = [name for name in users.c.keys() if name != "user_id"]  # noqa: SIM118  its items are columns
WRITE_RECORD = Statement(update(users).where(_OF_USER), columns=_RECORD)


def _set(table: Table, names: Iterable[str]) -> dict[str, BindParameter[Any]]:
    """These columns' new values, by parameters that are named for the table, too."""
    return {name: bindparam(f"{table.name}_{name}", type_=table.c[name].type) for name in names}


def outcome(finished: Mapping[str, Any], record: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the statements are told which record an outcome: the attempt's columns, and the record's if it changes."""
    columns = record or dict.fromkeys(_RECORD)
    return {
        **{f"{verifications.name}_{name}": finished[name] for name in FINISHED},
        **{f"{users.name}_{name}": columns[name] for name in _RECORD},
        "writes": record is not None,
    }


def _record_outcome() -> Statement:
    """Finish an attempt and write the user's record, if both are as they were seen.

    The user's row is taken first, and then is looked at as it is by then: whoever resets or erases the user takes it
    first, too.
    """
    taken = (
        select(users.c.user_id)
        .where(_OF_USER, users.c.stamp.is_not_distinct_from(bindparam("seen", type_=users.c.stamp.type)))
        .with_for_update()
        .cte("taken")
    )
    finish = _change_as_found().where(exists(select(taken.c.user_id))).values(_set(verifications, FINISHED))
    finished = finish.cte("finished")
    is_finished = exists(select(finished.c.id))
    forget = _FORGET.where(bindparam("succeeds", type_=Boolean), is_finished)
    write = update(users).where(_OF_USER, bindparam("writes", type_=Boolean), is_finished).values(_set(users, _RECORD))
    return Statement(select(finished.c.id).add_cte(forget.cte("forgotten"), write.cte("written")))


def _record_outcome_on_sqlite() -> tuple[Statement, ...]:
    """The same, as statements of one transaction, of which the others are run only where the first finds the row."""
    finish = _change_as_found().where(_user_is_as_seen()).values(_set(verifications, FINISHED))
    forget = _FORGET.where(bindparam("succeeds", type_=Boolean))
    new = select(bindparam("of_user"), *_set(users, _RECORD).values()).where(bindparam("writes", type_=Boolean))
    write = sqlite.insert(users).from_select(["user_id", *_RECORD], new)
    overwrite = write.on_conflict_do_update(
        index_elements=[users.c.user_id], set_={name: write.excluded[name] for name in _RECORD}
    )
    return Statement(finish), Statement(forget), Statement(overwrite)


RECORD_OUTCOME = _record_outcome()
RECORD_OUTCOME_ON_SQLITE = _record_outcome_on_sqlite()


def _lock(into: sqlite.Insert | postgresql.Insert) -> Statement:
    locked = into.on_conflict_do_update(
        index_elements=[users.c.user_id], set_={"user_id": into.excluded.user_id}
    ).returning(users)
    return Statement(locked, columns=("user_id", "revision"))


_LOCK_ON_SQLITE, _LOCK_ON_POSTGRESQL = _lock(sqlite.insert(users)), _lock(postgresql.insert(users))


async def lock_user(connection: Connection, user_id: str) -> Row:
    """The user's row, locked until the transaction ends; a new one, of revision 0, for a user we have never met."""
    lock = _LOCK_ON_SQLITE if connection.is_sqlite else _LOCK_ON_POSTGRESQL
    [locked] = await connection.rows(lock, {"user_id": user_id, "revision": 0})
    return locked


def _withdraw() -> Statement:
    """Withdraw every attempt of a user's: one that waits or is under way is ended, and nobody is answered again.

    One statement for all of them: a callback may take an attempt to its next step at the same time, and each is ended
    at the step where it is by then.
    """
    row = verifications.c
    under_way = (row.status == Status.EXCHANGING) | (row.status == Status.RETURNED)
    goes_on = under_way | (row.status == Status.PENDING)
    holds_something = row.counted | row.clear_at.is_not(None)
    withdrawn_at = bindparam("withdrawn_at", type_=row.finished_at.type)
    return Statement(
        update(verifications)
        .where(row.user_id == bindparam("of_user"), goes_on | holds_something)
        .values(
            status=case((goes_on, Status.EXPIRED), else_=row.status),
            failure_code=case((goes_on, FailureCode.VERIFICATION_EXPIRED), else_=row.failure_code),
            finished_at=case((under_way, withdrawn_at), else_=row.finished_at),
            counted=False,
            clear_at=None,
            sealed_request=None,
            sealed_outcome=None,
            sealed_return=None,
            sealed_answer=None,
        )
    )


WITHDRAW = _withdraw()
