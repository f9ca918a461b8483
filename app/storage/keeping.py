"""What an operator does with the stored data as a whole: remove what is old, and encrypt everything again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.orm import InstrumentedAttribute

from app.storage.database import Database
from app.storage.encryption import Cipher, Unreadable
from app.storage.tables import UserRow, VerificationRow

Column = InstrumentedAttribute[Any]
Progress = Callable[[int], None]
_BATCH = 500
_SEALED: tuple[tuple[type[UserRow | VerificationRow], Column, tuple[Column, ...]], ...] = (
    (UserRow, UserRow.user_id, (UserRow.sealed_evidence,)),
    (
        VerificationRow,
        VerificationRow.id,
        (
            VerificationRow.sealed_request,
            VerificationRow.sealed_outcome,
            VerificationRow.sealed_return,
            VerificationRow.sealed_answer,
        ),
    ),
)


def ignore(_: int) -> None:
    """Tell nobody how far the work has come."""


@dataclass(frozen=True, slots=True)
class Resealed:
    """How many values were sealed again, and how many no key opens."""

    resealed: int = 0
    unreadable: int = 0

    def __add__(self, other: Resealed) -> Resealed:
        return Resealed(self.resealed + other.resealed, self.unreadable + other.unreadable)


class Keeper:
    """Works through the tables in small transactions, while the service runs."""

    def __init__(self, database: Database, cipher: Cipher) -> None:
        self._database = database
        self._cipher = cipher

    async def purge_attempts(self, before: datetime, now: datetime, progress: Progress = ignore) -> int:
        """Remove the attempts that began before a time and have ended; returns how many. The users' records stay."""
        row = VerificationRow
        old = select(row.id).where(row.created_at < before, row.expires_at <= now).order_by(row.created_at).limit(_BATCH)
        removed = 0
        while True:
            async with self._database.writing() as session:
                ids = (await session.scalars(old)).all()
                await session.execute(delete(row).where(row.id.in_(ids)))
            removed += len(ids)
            progress(removed)
            if len(ids) < _BATCH:
                await self._database.forget_deleted()
                return removed

    async def reseal(self, progress: Progress = ignore) -> Resealed:
        """Seal every value again with the newest key, in small transactions, while the service runs."""
        total = Resealed()
        for table, key, columns in _SEALED:
            total = await self._reseal_table(table, key, columns, total, progress)
        await self._database.forget_deleted()
        return total

    async def _reseal_table(
        self,
        table: type[UserRow | VerificationRow],
        key: Column,
        columns: Sequence[Column],
        total: Resealed,
        progress: Progress,
    ) -> Resealed:
        last = ""
        while True:
            async with self._database.reading() as session:
                query = select(key, *columns).where(key > last).order_by(key).limit(_BATCH)
                rows = (await session.execute(query)).all()
            for row in rows:
                last = row[0]
                for column, sealed in zip(columns, row[1:], strict=True):
                    if sealed is not None:
                        total += await self._reseal_value(table, key == last, column, sealed)
            progress(total.resealed)
            if len(rows) < _BATCH:
                return total

    async def _reseal_value(
        self, table: type[UserRow | VerificationRow], same_row: ColumnElement[bool], column: Column, sealed: bytes
    ) -> Resealed:
        try:
            resealed = self._cipher.reseal(sealed)
        except Unreadable:
            return Resealed(unreadable=1)
        if resealed is None:
            return Resealed()
        # Only where it is still the same: what the service has written meanwhile is sealed with the newest key already.
        change = update(table).where(same_row, column == sealed).values({column.key: resealed})
        async with self._database.writing() as session:
            await session.execute(change, execution_options={"synchronize_session": False})
        return Resealed(resealed=1)
