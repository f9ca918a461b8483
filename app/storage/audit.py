"""What administrators did, written in the transaction of the act itself."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Executable, insert, or_, select, update

from app.core.domain import AuditAction, AuditEntry
from app.storage.connection import Connection
from app.storage.database import Database
from app.storage.encryption import Unreadable
from app.storage.sealed import Seals
from app.storage.statements import Row, insert_into, text_check
from app.storage.tables import audit, keyring

Position = tuple[datetime, str]
Rows = Callable[[Executable], Awaitable[Sequence[Row]]]
"""Runs a statement, within the transaction of an act where there is one, and gives its rows."""

_DIGEST_KEY = "audit"
_WITHDRAWING = (AuditAction.RESET, AuditAction.RESET_IDENTITY, AuditAction.ERASE)
_KEYS = select(keyring).where(keyring.c.name.startswith(_DIGEST_KEY)).order_by(keyring.c.name)
_has_texts = text_check(audit)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which entries are wanted: from `since` on and before `until`. `after` is where the page before ended."""

    user_id: str | None = None
    action: AuditAction | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 50
    after: Position | None = None


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Entries, and where the next page begins; None at the end."""

    entries: list[AuditEntry]
    next: Position | None


class AuditLog:
    """Reads what administrators did."""

    def __init__(self, database: Database, seals: Seals) -> None:
        self._database = database
        self._seals = seals

    async def entries(self, wanted: AuditFilter) -> AuditPage:
        """A page of entries, newest first. Those of an erased user are found by the same user id."""
        query = select(audit).order_by(audit.c.at.desc(), audit.c.id.desc()).limit(wanted.limit + 1)
        if wanted.action is not None:
            query = query.where(audit.c.action == wanted.action)
        if wanted.since is not None:
            query = query.where(audit.c.at >= wanted.since)
        if wanted.until is not None:
            query = query.where(audit.c.at < wanted.until)
        if wanted.after is not None:
            at, entry_id = wanted.after
            query = query.where(audit.c.at <= at, (audit.c.at < at) | (audit.c.id < entry_id))
        if wanted.user_id is not None:
            opened = await _digest_keys(self._database.read, self._seals)
            digests = [_digest(key, wanted.user_id) for key in opened.keys]
            query = query.where(or_(audit.c.user_id == wanted.user_id, audit.c.user_digest.in_(digests)))
        rows = await self._database.read(query)
        found = [entry for entry in map(_entry, rows) if entry]
        page = found[: wanted.limit]
        more = len(rows) > wanted.limit
        return AuditPage(page, (page[-1].at, page[-1].id) if more and page else None)


async def add(rows: Rows, entry: AuditEntry) -> None:
    """Write an entry within the transaction of the act that it tells of."""
    values = {
        "id": entry.id,
        "at": entry.at,
        "action": entry.action,
        "by": entry.by,
        "user_id": entry.user_id,
        "request_id": entry.request_id,
    }
    await rows(insert(audit).values(values))


async def forget_user(connection: Connection, seals: Seals, user_id: str) -> None:
    """Keep no id of an erased user, but a digest: who knows the id still finds that the erasure took place."""
    while not (opened := await _digest_keys(connection.rows, seals)).keys:
        await _add_key(connection, seals, is_first=not opened.unreadable)
    digest = _digest(opened.keys[0], user_id)
    change = update(audit).where(audit.c.user_id == user_id).values(user_id=None, user_digest=digest)
    await connection.rows(change)


async def withdrawn(rows: Rows, seals: Seals, user_ids: Collection[str]) -> set[str]:
    """Those of the users whom an administrator has ever reset or erased.

    What others kept of them before counts no more. Raises Unreadable where ENCRYPTION_KEYS lack a key, so that nobody
    can tell who was erased.
    """
    opened = await _digest_keys(rows, seals)
    if opened.unreadable:
        raise Unreadable
    digests = {_digest(key, user_id): user_id for key in opened.keys for user_id in user_ids}
    about = or_(audit.c.user_id.in_(user_ids), audit.c.user_digest.in_(digests))
    query = select(audit.c.user_id, audit.c.user_digest).where(audit.c.action.in_(_WITHDRAWING), about)
    return {digests.get(row.user_digest, row.user_id) for row in await rows(query)}


async def unreadable_keys(rows: Rows, seals: Seals) -> list[str]:
    """The names in the keyring of the digests' keys that none of ENCRYPTION_KEYS opens."""
    return (await _digest_keys(rows, seals)).unreadable


@dataclass(frozen=True, slots=True)
class _DigestKeys:
    """The keys of the digests that ENCRYPTION_KEYS open, and the names of those that they do not."""

    keys: list[bytes]
    unreadable: list[str]


async def _digest_keys(rows: Rows, seals: Seals) -> _DigestKeys:
    found = _DigestKeys([], [])
    for row in await rows(_KEYS):
        try:
            found.keys.append(seals.key(row.name, row.sealed_key))
        except Unreadable:
            found.unreadable.append(row.name)
    return found


async def _add_key(connection: Connection, seals: Seals, *, is_first: bool) -> None:
    """Add a key for the digests; of two first ones at once, the first.

    One that cannot be opened now stays beside it: its digests are found again when the key of ENCRYPTION_KEYS is back.
    """
    name = _DIGEST_KEY if is_first else f"{_DIGEST_KEY}-{secrets.token_hex(8)}"
    values = {"name": name, "sealed_key": seals.seal_key(name, secrets.token_bytes(32))}
    await connection.rows(insert_into(keyring, connection.dialect).values(values).on_conflict_do_nothing())


def _digest(key: bytes, user_id: str) -> str:
    return hmac.new(key, user_id.encode(), hashlib.sha256).hexdigest()


def _entry(row: Row) -> AuditEntry | None:
    """The entry in a row; None for a row that somebody has made unreadable."""
    if row.at is None or not _has_texts(row):
        return None
    return AuditEntry(
        id=row.id, at=row.at, action=row.action, by=row.by, user_id=row.user_id, request_id=row.request_id
    )
