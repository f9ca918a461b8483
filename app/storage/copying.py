"""A whole SQLite deployment, copied into an empty PostgreSQL database in one transaction.

Sealed values stay as they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, Table, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.storage.database import Database
from app.storage.revisions import current_revision, newest_revision
from app.storage.tables import audit, keyring, users, verifications

BATCH = 1000
# Leases are those of processes that run: nobody holds one in a new database.
TABLES = (users, verifications, audit, keyring)
_KEEP_OTHERS_OUT = text(f"LOCK TABLE {', '.join(table.name for table in TABLES)} IN SHARE ROW EXCLUSIVE MODE")

Progress = Callable[[int], None]


class CopyRefused(Exception):
    """The databases are not fit to be copied from and to, or the copy is not the same; the text says why.

    Nothing was copied.
    """


@dataclass(slots=True)
class _Sum:
    """How many rows, and the sum of their digests, which is the same in whatever order they come."""

    rows: int = 0
    digests: int = 0

    def add(self, rows: Sequence[Row[Any]]) -> None:
        self.rows += len(rows)
        for row in rows:
            self.digests += int.from_bytes(hashlib.sha256(repr(tuple(row)).encode()).digest())


async def copy_all(source: Database, target: Database, progress: Progress) -> dict[str, int]:
    """Copy every row, compare what has arrived, and return how many rows each table has.

    Nobody can write to either database meanwhile. Raises CopyRefused and DatabaseUnavailable, with nothing copied.
    """
    if source.file is None or target.file is not None:
        raise CopyRefused("copies from SQLite (DATABASE_URL) to PostgreSQL (--to) only")
    for database, name, remedy in (
        (source, "DATABASE_URL", "Start this version of the service on it once, which migrates it, and stop it again"),
        (target, "--to", "Run idv migrate with DATABASE_URL set to it"),
    ):
        if await current_revision(database) != newest_revision():
            raise CopyRefused(f"{name} is not migrated to {newest_revision()}. {remedy}")
    async with source.bulk() as reading, target.bulk() as writing:
        await writing.execute(_KEEP_OTHERS_OUT)
        for table in TABLES:
            if (await writing.execute(select(func.count()).select_from(table))).scalar_one():
                raise CopyRefused(
                    f"--to is not empty: the table {table.name} has rows. Copy into an empty, migrated database"
                )
        sent = {table: _Sum() for table in TABLES}
        for table in TABLES:
            await _copy_table(table, reading, writing, sent, progress)
        for table in TABLES:
            if await _sum_of(table, writing) != sent[table]:
                raise CopyRefused(f"what arrived in the table {table.name} is not what was sent")
    return {table.name: sent[table].rows for table in TABLES}


async def _copy_table(
    table: Table, reading: AsyncConnection, writing: AsyncConnection, sent: dict[Table, _Sum], progress: Progress
) -> None:
    async for rows in (await reading.stream(select(table))).partitions(BATCH):
        await writing.execute(insert(table), [dict(row._mapping) for row in rows])
        sent[table].add(rows)
        progress(sum(each.rows for each in sent.values()))


async def _sum_of(table: Table, connection: AsyncConnection) -> _Sum:
    found = _Sum()
    async for rows in (await connection.stream(select(table))).partitions(BATCH):
        found.add(rows)
    return found
