"""Keeping the stored data as a whole.

What has served its time is cleared, and what is old removed; values are sealed again, and looked at for tampering.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Row,
    Select,
    Table,
    Update,
    bindparam,
    case,
    delete,
    exists,
    select,
    update,
)

from app.core.domain import FailureCode, Status
from app.core.lifetimes import ATTEMPT_LASTS_AT_MOST, horizon
from app.storage import audit
from app.storage.database import Database
from app.storage.encryption import Cipher, Unreadable
from app.storage.sealed import Seals
from app.storage.statements import insert_into
from app.storage.tables import IS_ONLY_A_LOCK, SEALED, leases, users, verifications

BATCH = 500
# A step that no login notices: so many rows are a few milliseconds of the database's time.
SMALL_BATCH = 100
LEASE = timedelta(seconds=150)

Progress = Callable[[int], None]


def ignore(_: int) -> None:
    """Tell nobody how far the work has come."""


@dataclass(frozen=True, slots=True)
class Resealed:
    """How many values were sealed again, and how many no key opens."""

    resealed: int = 0
    unreadable: int = 0

    def __add__(self, other: Resealed) -> Resealed:
        return Resealed(self.resealed + other.resealed, self.unreadable + other.unreadable)


@dataclass(frozen=True, slots=True)
class Examined:
    """How many records were looked at, and whose do not hold."""

    looked_at: int = 0
    not_authentic: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class KeysInUse:
    """Which of ENCRYPTION_KEYS open nothing of what is stored, by number (the newest is 1).

    `unreadable` is how many values none opens.
    """

    idle: list[int]
    unreadable: int


class Keeper:
    """Works through the tables in small transactions, while the service runs."""

    def __init__(self, database: Database, cipher: Cipher) -> None:
        self._database = database
        self._cipher = cipher
        self._seals = Seals(cipher)

    async def take_turn(self, holder: str, now: datetime) -> bool:
        """Whether `holder` is the one process that keeps house for the next two and a half minutes."""
        values = {"holder": holder, "held_until": now + LEASE}
        take = (
            insert_into(leases, self._database.engine.dialect)
            .values(name="housekeeping", **values)
            .on_conflict_do_update(
                index_elements=[leases.c.name],
                set_=values,
                # A lease from beyond the horizon was taken by a clock that has been set back since.
                where=(leases.c.holder == holder)
                | (leases.c.held_until <= now)
                | (leases.c.held_until > now + 2 * LEASE),
            )
            .returning(leases.c.holder)
        )
        return bool(await self._database.write(take))

    async def clear_served(self, now: datetime, batch: int = BATCH, *, waits: bool = False) -> int:
        """Clear the sealed values of some attempts whose time is over; returns of how many.

        What nobody finished, expires. So does what began by a clock that has been set back since. An attempt that
        somebody else holds is left for later, unless this `waits`.
        """
        clear_at = verifications.c.clear_at
        for is_due in (clear_at <= now, clear_at > horizon(now) + ATTEMPT_LASTS_AT_MOST):
            if cleared := await self._clear(is_due, batch, waits=waits):
                return cleared
        return 0

    async def _clear(self, is_due: ColumnElement[bool], batch: int, *, waits: bool) -> int:
        row = verifications.c
        waiting = row.status.in_((Status.PENDING, Status.RETURNED))
        due = _held(select(row.id).where(is_due).order_by(row.clear_at).limit(batch), waits=waits)
        clear = (
            update(verifications)
            .where(row.id.in_(due), is_due)
            .values(
                status=case((waiting, Status.EXPIRED), else_=row.status),
                failure_code=case((waiting, FailureCode.VERIFICATION_EXPIRED), else_=row.failure_code),
                clear_at=None,
                sealed_request=None,
                sealed_outcome=None,
                sealed_return=None,
                sealed_answer=None,
            )
            .returning(row.id)
        )
        return len(await self._database.write(clear))

    async def remove_old(self, before: datetime, now: datetime, batch: int = BATCH, *, waits: bool = False) -> int:
        """Remove some attempts that began before a time and have ended; returns how many. The users' records stay.

        An attempt that somebody else holds is left for later, unless this `waits`.
        """
        row = verifications.c
        ended = select(row.id).where(row.created_at < before, row.expires_at <= now)
        old = _held(ended.order_by(row.created_at).limit(batch), waits=waits)
        return len(await self._database.write(delete(verifications).where(row.id.in_(old)).returning(row.id)))

    async def remove_idle_locks(self, batch: int = BATCH) -> int:
        """Remove some rows that were only locks; returns how many.

        Their users were never verified, and have no attempt on file any more.
        """
        has_attempts = exists().where(verifications.c.user_id == users.c.user_id)
        idle = (
            select(users.c.user_id).where(IS_ONLY_A_LOCK, users.c.sealed_record.is_(None), ~has_attempts).limit(batch)
        )
        remove = delete(users).where(users.c.user_id.in_(idle), IS_ONLY_A_LOCK).returning(users.c.user_id)
        return len(await self._database.write(remove))

    async def purge(self, before: datetime, now: datetime, progress: Progress = ignore) -> int:
        """Do at once all that housekeeping does; returns how many attempts were removed."""
        await _to_the_end(partial(self.clear_served, now), ignore)
        removed = await _to_the_end(partial(self.remove_old, before, now), progress)
        while await self.remove_idle_locks():
            pass
        return removed

    async def reseal(self, progress: Progress = ignore) -> Resealed:
        """Seal every value again with the newest key, in small transactions, while the service runs."""
        total = Resealed()
        for table, key, columns in SEALED:
            total = await self._reseal_table(table, key, columns, total, progress)
        return total

    async def forget_deleted(self) -> None:
        """Leave nothing in SQLite's file of what was removed or replaced. Raises TracesRemain."""
        await self._database.forget_deleted()

    async def examine_records(self, limit: int | None = None, progress: Progress = ignore) -> Examined:
        """Look whether the users' records hold: all of them, or the first `limit`."""
        looked_at, last, found = 0, "", list[str]()
        while limit is None or looked_at < limit:
            query = select(users).where(users.c.user_id > last).order_by(users.c.user_id).limit(BATCH)
            rows = await self._database.read(query)
            if not rows:
                break
            for row in rows:
                record = self._seals.record(row)
                if record and not record.authentic:
                    found.append(str(row.user_id))  # SQLite takes any value into any column
            looked_at, last = looked_at + len(rows), rows[-1].user_id
            progress(looked_at)
        return Examined(looked_at, found)

    async def unreadable_digest_keys(self) -> list[str]:
        """The names in the keyring of the keys for erased users' digests that none of ENCRYPTION_KEYS opens."""
        return await audit.unreadable_keys(self._database.read, self._seals)

    async def keys_in_use(self, progress: Progress = ignore) -> KeysInUse:
        """Look at every sealed value, and which key opens it."""
        opened = Counter[int | None]()
        for _, key, columns in SEALED:
            last = ""
            while rows := await self._database.read(select(key, *columns).where(key > last).order_by(key).limit(BATCH)):
                sealed = [value for row in rows for value in tuple(row)[1:] if value is not None]
                opened.update(map(self._cipher.opened_by, sealed))
                last = rows[-1][0]
                progress(opened.total())
        return KeysInUse([number + 1 for number in range(self._cipher.keys) if not opened[number]], opened[None])

    async def _reseal_table(
        self, table: Table, key: Column[str], columns: Sequence[Column[bytes]], total: Resealed, progress: Progress
    ) -> Resealed:
        last = ""
        while True:
            query = select(key, *columns).where(key > last).order_by(key).limit(BATCH)
            rows = await self._database.read(query)
            if not rows:
                return total
            total += await self._reseal_rows(table, key, columns, rows)
            last = rows[-1][0]
            progress(total.resealed)

    async def _reseal_rows(
        self, table: Table, key: Column[str], columns: Sequence[Column[bytes]], rows: Sequence[Row[Any]]
    ) -> Resealed:
        """Seal the values of these rows again: each row is written once, with those of its columns that change."""
        changes = defaultdict[tuple[str, ...], list[dict[str, Any]]](list)
        unreadable = 0
        for row in rows:
            change: dict[str, Any] = {}
            sealed: Sequence[bytes | None] = row[1:]
            for column, before in zip(columns, sealed, strict=True):
                try:
                    after = self._cipher.reseal(before) if before is not None else None
                except Unreadable:
                    unreadable += 1
                    continue
                if after is not None:
                    change |= {f"{column.name}_before": before, f"{column.name}_after": after}
            names = tuple(column.name for column in columns if f"{column.name}_after" in change)
            changes[names].append({"row_key": row[0], **change})
        changes.pop((), None)
        if changes:
            async with self._database.bulk() as connection:
                for names, changed in changes.items():
                    await connection.execute(_replace_where_unchanged(table, key, names), changed)
        return Resealed(sum(len(names) * len(changed) for names, changed in changes.items()), unreadable)


def _held(attempts: Select[str], *, waits: bool) -> Select[str]:
    """These attempts, locked until the transaction ends.

    An outcome locks one user's attempts in another order: who holds some of them must not wait for the others.
    """
    return attempts.with_for_update(skip_locked=not waits)


async def _to_the_end(step: Callable[..., Awaitable[int]], progress: Progress) -> int:
    """Take steps until nothing is left; returns of how many rows. One by one, rows are waited for without harm."""
    done = 0
    for options in ({"batch": BATCH}, {"batch": 1, "waits": True}):
        while found := await step(**options):
            done += found
            progress(done)
    return done


def _replace_where_unchanged(table: Table, key: Column[str], names: Sequence[str]) -> Update:
    """Replace those values that are still the same.

    What the service has written meanwhile is sealed with the newest key already.
    """
    values = {}
    for name in names:
        column = table.c[name]
        after = bindparam(f"{name}_after", type_=column.type)
        values[name] = case((column == bindparam(f"{name}_before"), after), else_=column)
    return update(table).where(key == bindparam("row_key")).values(values)
