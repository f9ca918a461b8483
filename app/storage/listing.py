"""Which attempts are wanted, and the query that finds a page of them by an index."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, select, union_all

from app.core.domain import Status
from app.core.lifetimes import AHEAD_AT_MOST, CONFIRMABLE_FOR, INTERRUPTED_AFTER
from app.storage.tables import verifications

Position = tuple[datetime, str]


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


def page_query(wanted: AttemptFilter, now: datetime) -> Select[Any]:
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
