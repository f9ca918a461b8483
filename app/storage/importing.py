"""Putting many users' records on file at once: only those of users who have none yet."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Executable, Row, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.domain import AuditEntry, UserRecord
from app.storage import audit
from app.storage.database import Database
from app.storage.sealed import Seals
from app.storage.statements import insert_into
from app.storage.tables import IS_ONLY_A_LOCK, users

_WITHOUT_RECORD = IS_ONLY_A_LOCK & users.c.sealed_record.is_(None)


@dataclass(frozen=True, slots=True)
class Imported:
    """How many users were put on file, and how many were not.

    `on_file` were there before; an administrator had reset or erased the `withdrawn`.
    """

    added: int = 0
    on_file: int = 0
    withdrawn: int = 0

    def __add__(self, other: Imported) -> Imported:
        return Imported(self.added + other.added, self.on_file + other.on_file, self.withdrawn + other.withdrawn)


class Importer:
    """Puts records on file in small transactions, while the service runs."""

    def __init__(self, database: Database, seals: Seals) -> None:
        self._database = database
        self._seals = seals

    async def add(self, records: Mapping[str, UserRecord], entry: AuditEntry | None) -> Imported:
        """Put the records on file of those users who have none, and were neither reset nor erased.

        `entry` says in the audit who did it. Raises Unreadable, with nothing written, where nobody can tell who was
        erased.
        """
        # In one order everywhere, so that two imports never wait for each other's locks.
        wanted = sorted(records)
        async with self._database.bulk() as connection:
            withdrawn = await audit.withdrawn(partial(_rows, connection), self._seals, wanted)
            rows = [
                {"user_id": user_id, **self._seals.record_columns(user_id, records[user_id], revision=1)}
                for user_id in wanted
                if user_id not in withdrawn
            ]
            insert = insert_into(users, connection.dialect)
            new = insert.on_conflict_do_update(
                index_elements=[users.c.user_id],
                set_={name: insert.excluded[name] for name in users.c.keys() if name != "user_id"},  # noqa: SIM118
                where=_WITHOUT_RECORD,
            )
            taken = (await connection.execute(new.returning(users.c.user_id), rows)).scalars().all() if rows else []
            meanwhile = await self._give_back_withdrawn(connection, taken)
            if entry:
                await audit.add(partial(_rows, connection), entry)
        return Imported(len(taken) - meanwhile, len(rows) - len(taken), len(withdrawn) + meanwhile)

    async def _give_back_withdrawn(self, connection: AsyncConnection, taken: Collection[str]) -> int:
        """Remove the rows of users who were reset or erased since it was asked; returns how many.

        From now on the rows are held: whoever resets or erases one of these users waits, and comes after the import.
        """
        withdrawn = await audit.withdrawn(partial(_rows, connection), self._seals, taken) if taken else set()
        if withdrawn:
            await connection.execute(delete(users).where(users.c.user_id.in_(withdrawn)))
        return len(withdrawn)

    async def look(self, user_ids: Collection[str]) -> Imported:
        """What `add` would come to for these users, with nothing written. Raises Unreadable as it does."""
        async with self._database.bulk() as connection:
            withdrawn = await audit.withdrawn(partial(_rows, connection), self._seals, user_ids)
            others = [user_id for user_id in user_ids if user_id not in withdrawn]
            query = select(users.c.user_id).where(users.c.user_id.in_(others), ~_WITHOUT_RECORD)
            on_file = len((await connection.execute(query)).all())
        return Imported(len(others) - on_file, on_file, len(withdrawn))


async def _rows(connection: AsyncConnection, statement: Executable) -> Sequence[Row[Any]]:
    found = await connection.execute(statement)
    return found.all() if found.returns_rows else []
