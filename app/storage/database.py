"""Connections to one database, and transactions that say whether they read or write.

Single statements and short transactions run on the driver's own connection: SQLAlchemy's way to run one took most of a
short request's time. What works through many rows uses SQLAlchemy's connection.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg
from sqlalchemy import URL, Executable, NullPool, text
from sqlalchemy import exc as sqlalchemy_errors
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from app.core.errors import CommitInDoubt, DatabaseUnavailable, TracesRemain
from app.storage import postgresql
from app.storage.admission import Admission, Overloaded
from app.storage.connection import FAULTS, NOTHING, Connection, Driver, went_away
from app.storage.database_url import DatabaseUrl, read_url
from app.storage.faults import NotUtf8
from app.storage.pool import Pool
from app.storage.postgresql import Postgresql
from app.storage.reader import Reader
from app.storage.sqlite import Sqlite
from app.storage.statements import Parameters, Row, Statement

CONNECTIONS = 10
# An operator waits longer than a login.
PATIENT_SECONDS = 5


class _ConnectionBroke(Exception):
    """The connection broke before an answer came."""


# The second is what SQLAlchemy raises where no connection can be had.
_FAULTS = (*FAULTS, AsyncAdapt_asyncpg_dbapi.Error, sqlalchemy_errors.DBAPIError, Overloaded, NotUtf8, _ConnectionBroke)
# What only a mistake of ours can cause; all else says that the database cannot be used.
_MISTAKES = (
    sqlalchemy_errors.IntegrityError,
    sqlalchemy_errors.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.DataError,
    sqlite3.IntegrityError,
    sqlite3.DataError,
)
_EMPTY_THE_LOG = text("PRAGMA wal_checkpoint(TRUNCATE)")


class Database:
    """Connections to one database, at `file` where it is SQLite's. Nothing is opened before the first transaction.

    `unhurried` lets a statement take as long as it needs, which is for migrations; a lock is never waited for that
    long. `on_connection` is told of each connection that is taken out of the pool (1) and put back (-1).

    Every method raises DatabaseUnavailable. Who brings what must not be lost is not told that there are too many
    `until` a moment of the event loop's clock.
    """

    def __init__(
        self, url: str, *, unhurried: bool = False, on_connection: Callable[[int], None] = lambda _: None
    ) -> None:
        address = read_url(url)
        self.file = address.file
        self._driver: Driver = Sqlite(self.file) if self.file is not None else Postgresql(address, unhurried=unhurried)
        self.engine = _make_engine(address, unhurried=unhurried)
        self._driver.prepare(self.engine.sync_engine)
        self.reader = Reader(self.file) if self.file is not None else None
        self.pool = Pool(self.engine, self._driver)
        self._on_connection = on_connection
        self._places = Admission(CONNECTIONS)
        self._one_writer = None if self._driver.writes_side_by_side else Admission(1)

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is a file of SQLite's."""
        return self.file is not None

    async def read(
        self, statement: Statement | Executable, parameters: Parameters = NOTHING, *, until: float | None = None
    ) -> list[Row]:
        """The rows of one statement that only reads; asked again, once, where the connection broke meanwhile."""
        if self.reader and isinstance(statement, Statement) and statement.is_short:
            made = statement.on(self.engine.dialect)
            found = self.reader.rows(made.text, made.values(parameters))
            if found is not None:
                return made.rows(found)
        try:
            return await self._read(statement, parameters, until)
        except DatabaseUnavailable as unavailable:
            if not isinstance(unavailable.__cause__, _ConnectionBroke):
                raise
            return await self._read(statement, parameters, until)

    async def _read(self, statement: Statement | Executable, parameters: Parameters, until: float | None) -> list[Row]:
        async with self._connection(until) as connection:
            try:
                return await connection.rows(statement, parameters)
            except FAULTS as fault:
                if connection.is_usable or isinstance(fault, TimeoutError):
                    raise
                raise _ConnectionBroke from fault

    async def write(
        self, statement: Statement | Executable, parameters: Parameters = NOTHING, *, until: float | None = None
    ) -> list[Row]:
        """The rows that a statement returns which writes, and is a transaction by itself. Raises CommitInDoubt."""
        async with self._turn_to_write(until), self._connection(until) as connection:
            with _doubt():
                return await connection.rows(statement, parameters)

    async def write_together(
        self, statements: Sequence[Statement], parameters: Parameters, *, until: float | None = None
    ) -> list[Row]:
        """On SQLite, the rows of the first of some statements, which are one transaction.

        None is run where it has none. Raises CommitInDoubt.
        """
        async with self._turn_to_write(until), self._connection(until) as connection:
            with _doubt():
                return await connection.rows_together(statements, parameters)

    @asynccontextmanager
    async def transaction(self, *, until: float | None = None) -> AsyncIterator[Connection]:
        """A short transaction that writes, committed when the block is left without an exception.

        Raises CommitInDoubt.
        """
        async with self._turn_to_write(until), self._connection(until) as connection:
            await connection.command(self._driver.begin)
            try:
                yield connection
                with _doubt():
                    await connection.command("COMMIT")
            except BaseException:
                await connection.roll_back()
                raise

    @asynccontextmanager
    async def bulk(self) -> AsyncIterator[AsyncConnection]:
        """A transaction for many rows, and for what SQLAlchemy alone can do. Raises CommitInDoubt."""
        until = asyncio.get_running_loop().time() + PATIENT_SECONDS
        async with self._turn_to_write(until):
            with _faults_as(DatabaseUnavailable):
                async with self._places.place(until=until), self.engine.connect() as connection:
                    await connection.begin()
                    yield connection
                    with _doubt():
                        await connection.commit()

    @asynccontextmanager
    async def _connection(self, until: float | None) -> AsyncIterator[Connection]:
        """A connection of one's own while the block runs."""
        try:
            await self._places.enter(until=until)
            try:
                connection = await self.pool.take()
                self._on_connection(1)
                try:
                    yield connection
                finally:
                    self._on_connection(-1)
                    await self.pool.give_back(connection)
            finally:
                self._places.leave()
        except _MISTAKES:
            raise
        except _FAULTS as fault:
            raise DatabaseUnavailable from fault

    @asynccontextmanager
    async def _turn_to_write(self, until: float | None) -> AsyncIterator[None]:
        if self._one_writer is None:
            yield
            return
        with _faults_as(DatabaseUnavailable):
            async with self._one_writer.place(until=until):
                yield

    async def forget_deleted(self) -> None:
        """On SQLite, write the file anew without what was deleted, and empty the write-ahead log. Raises TracesRemain.

        Deleted rows are overwritten at once (`secure_delete`), but not what SQLite leaves behind when it rebuilds a
        page.
        """
        if self.file is None:
            return
        with _faults_as(TracesRemain):
            async with self._places.alone():
                connection = await self.pool.take()
                try:
                    # Outside of any transaction.
                    await connection.command("VACUUM")
                    [(busy, _, _)] = await connection.rows(_EMPTY_THE_LOG)
                finally:
                    await self.pool.give_back(connection)
                if busy:
                    raise TracesRemain

    async def close(self) -> None:
        """Close every connection."""
        if self.reader:
            self.reader.close()
        await self.pool.close()
        await self.engine.dispose()


@contextmanager
def _doubt() -> Iterator[None]:
    try:
        yield
    except _FAULTS as fault:
        lost = fault.connection_invalidated if isinstance(fault, sqlalchemy_errors.DBAPIError) else went_away(fault)
        if lost:
            raise CommitInDoubt from fault
        raise


@contextmanager
def _faults_as(problem: type[DatabaseUnavailable]) -> Iterator[None]:
    try:
        yield
    except _FAULTS as fault:
        if isinstance(fault, _MISTAKES):
            raise
        raise problem from fault


def _make_engine(url: DatabaseUrl, *, unhurried: bool) -> AsyncEngine:
    # Error texts and logs never show parameters, which hold personal data.
    options: dict[str, Any] = {
        "hide_parameters": True,
        "poolclass": NullPool,
        # Whoever has begun a transaction ends it.
        "pool_reset_on_return": None,
    }
    if url.file is not None:
        return create_async_engine(URL.create("sqlite+aiosqlite", database=url.file), **options)
    arguments = postgresql.connect_arguments(url, unhurried=unhurried)
    return create_async_engine(
        "postgresql+asyncpg://", connect_args=arguments, isolation_level=postgresql.ISOLATION, **options
    )
