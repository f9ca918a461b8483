"""A connection as its driver has it, on which single statements and short transactions run."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import asyncpg
from sqlalchemy import Dialect, Engine, Executable, PoolProxiedConnection

from app.storage import sqlite
from app.storage.statements import Compiled, Parameters, Row, Statement

FAULTS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, sqlite3.Error, OSError)
"""What the drivers raise."""
NOTHING: Parameters = {}


class Driver(Protocol):
    """How statements run on one driver's connections."""

    begin: str
    """The command that begins a transaction that writes."""
    writes_side_by_side: bool
    """Whether two connections can write at once."""

    def prepare(self, engine: Engine, /) -> None:
        """Let an engine's connections be opened and closed as the service needs it."""

    async def is_well(self, connection: Any, used_at: float, /) -> bool:
        """Whether a connection that was used before, at that time of the monotonic clock, can be used again."""

    async def rows(self, connection: Any, text: str, values: Sequence[Any], /) -> Sequence[Any]:
        """What a statement has found."""

    async def command(self, connection: Any, text: str, /) -> None:
        """Run what finds nothing and has no values."""

    def is_lost(self, connection: Any, fault: BaseException, /) -> bool:
        """Whether the connection is of no use any more after this fault."""


@dataclass(slots=True)
class Connection:
    """Runs one statement after the other. `is_usable` is false once the connection must be given up."""

    lent: PoolProxiedConnection
    dialect: Dialect
    driver: Driver
    own: Any
    used_at: float
    is_usable: bool = True

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is a file of SQLite's."""
        return self.dialect.name == "sqlite"

    async def rows(self, statement: Statement | Executable, parameters: Parameters = NOTHING) -> list[Row]:
        """The rows of a statement; none where it returns nothing. Raises FAULTS."""
        made = statement.on(self.dialect) if isinstance(statement, Statement) else Compiled.of(statement, self.dialect)
        values = made.values(parameters)
        with self._watched():
            found = await self.driver.rows(self.own, made.text, values)
        return made.rows(found)

    async def rows_together(self, statements: Sequence[Statement], parameters: Parameters) -> list[Row]:
        """The rows of the first of some statements, which are one transaction; none is run where it has none.

        SQLite's alone: its driver's thread is asked once for all. Raises FAULTS.
        """
        made = [statement.on(self.dialect) for statement in statements]
        with self._watched():
            found = await sqlite.together(self.own, [(each.text, each.values(parameters)) for each in made])
        return made[0].rows(found)

    async def command(self, text: str) -> None:
        """Run what is no query, such as the end of a transaction. Raises FAULTS."""
        with self._watched():
            await self.driver.command(self.own, text)

    @contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except FAULTS as fault:
            self.is_usable = not self.driver.is_lost(self.own, fault)
            raise
        except BaseException:
            # Broken off half way: the server may still be at it, and nobody knows whether the transaction is open.
            self.is_usable = False
            raise

    async def roll_back(self) -> None:
        """End the transaction, or give the connection up with it."""
        if self.is_usable:
            try:
                await self.command("ROLLBACK")
            except FAULTS:
                self.is_usable = False


def went_away(fault: BaseException) -> bool:
    """Whether the connection broke under a statement, so that nobody knows what became of it.

    What the server has refused was not done. That it is stopped (class 57P) it may say before or after.
    """
    if isinstance(fault, OSError | asyncpg.InterfaceError | asyncpg.PostgresConnectionError):
        return True
    return str(getattr(fault, "sqlstate", None)).startswith("57P")
