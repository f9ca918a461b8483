"""Connections to one database, and transactions that say whether they read or write."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from sqlalchemy import URL, Executable, Row, event
from sqlalchemy import exc as sqlalchemy_errors
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from app.core.errors import CommitInDoubt, DatabaseUnavailable, TracesRemain
from app.storage import postgresql, sqlite
from app.storage.admission import Admission, Overloaded
from app.storage.database_url import DatabaseUrl, read_url
from app.storage.faults import NotUtf8
from app.storage.turnstile import Turnstile

CONNECTIONS = 10


class _ConnectionBroke(Exception):
    """The connection broke before an answer came."""


_FAULTS = (sqlalchemy_errors.DBAPIError, sqlite3.Error, OSError, Overloaded, NotUtf8, _ConnectionBroke)
# What only a mistake of ours can cause; all else says that the database cannot be used.
_MISTAKES = (sqlalchemy_errors.IntegrityError, sqlalchemy_errors.DataError)


class Database:
    """Connections to one database, at `file` where it is SQLite's. Nothing is opened before the first transaction.

    `unhurried` lets a statement take as long as it needs, which is for migrations; a lock is never waited for that
    long. `on_connection` is told of each connection that is taken out of the pool (1) and put back (-1).

    Every method raises DatabaseUnavailable. Who is `patient` is never told that there are too many before 5 seconds are
    over.
    """

    def __init__(
        self, url: str, *, unhurried: bool = False, on_connection: Callable[[int], None] | None = None
    ) -> None:
        address = read_url(url)
        self.file = address.file
        self.engine = make_engine(address, unhurried=unhurried)
        if on_connection:
            event.listen(self.engine.sync_engine, "checkout", lambda *_: on_connection(1))
            event.listen(self.engine.sync_engine, "checkin", lambda *_: on_connection(-1))
        if self.file is not None:
            self._writes = self.engine.execution_options(**{sqlite.BEGIN: sqlite.FOR_WRITING})
            self._statements = self.engine.execution_options(**{sqlite.BEGIN: None})
        else:
            self._writes = self.engine
            self._statements = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        self._turnstile = Turnstile()
        self._places = Admission(CONNECTIONS)
        # SQLite lets some of many writers wait until their time is over: so they come one after the other.
        self._one_writer = Admission(1) if self.file is not None else None

    async def read(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> list[Row[Any]]:
        """The rows of one statement that only reads; asked again, once, where the connection broke meanwhile."""
        try:
            return await self._rows(statement, parameters)
        except DatabaseUnavailable as unavailable:
            if not isinstance(unavailable.__cause__, _ConnectionBroke):
                raise
            return await self._rows(statement, parameters)

    async def _rows(self, statement: Executable, parameters: Mapping[str, Any] | None) -> list[Row[Any]]:
        async with self._connected(self._statements) as connection:
            try:
                return list(await connection.execute(statement, parameters))
            except _FAULTS as fault:
                if _is_lost(fault) and not isinstance(fault, TimeoutError):
                    raise _ConnectionBroke from fault
                raise

    @asynccontextmanager
    async def autocommit(self, *, patient: bool = False) -> AsyncIterator[AsyncConnection]:
        """A connection on which each statement is a transaction of its own, for one that writes.

        Raises CommitInDoubt.
        """
        async with (
            self._turn_to_write(patient=patient),
            self._connected(self._statements, patient=patient) as connection,
        ):
            with _doubt():
                yield connection

    @asynccontextmanager
    async def transaction(self, *, patient: bool = False) -> AsyncIterator[AsyncConnection]:
        """A transaction that writes, committed when the block is left without an exception. Raises CommitInDoubt."""
        async with self._turn_to_write(patient=patient), self._connected(self._writes, patient=patient) as connection:
            await connection.begin()
            yield connection
            with _doubt():
                await connection.commit()

    @asynccontextmanager
    async def _connected(self, engine: AsyncEngine, *, patient: bool = False) -> AsyncIterator[AsyncConnection]:
        with _faults_as(DatabaseUnavailable):
            async with self._places.place(patient=patient), self._turnstile.together(), engine.connect() as connection:
                yield connection

    @asynccontextmanager
    async def _turn_to_write(self, *, patient: bool) -> AsyncIterator[None]:
        if self._one_writer is None:
            yield
            return
        with _faults_as(DatabaseUnavailable):
            async with self._one_writer.place(patient=patient):
                yield

    async def forget_deleted(self) -> None:
        """On SQLite, write the file anew without what was deleted, and empty the write-ahead log. Raises TracesRemain.

        Deleted rows are overwritten at once (`secure_delete`), but not what SQLite leaves behind when it rebuilds a
        page.
        """
        if self.file is None:
            return
        with _faults_as(TracesRemain):
            async with self._turnstile.alone(), self.engine.connect() as connection:
                # On the driver's own connection, outside of any transaction.
                driver = (await connection.get_raw_connection()).driver_connection
                await driver.execute("VACUUM")  # type: ignore[union-attr]
                cursor = await driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # type: ignore[union-attr]
                busy, _, _ = await cursor.fetchone()
                if busy:
                    raise TracesRemain

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()


def _is_lost(fault: BaseException) -> bool:
    """Whether the connection went away, so that nobody knows what became of the statement."""
    return isinstance(fault, OSError) or (
        isinstance(fault, sqlalchemy_errors.DBAPIError) and fault.connection_invalidated
    )


@contextmanager
def _doubt() -> Iterator[None]:
    try:
        yield
    except _FAULTS as fault:
        if _is_lost(fault):
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


def make_engine(url: DatabaseUrl, *, unhurried: bool = False) -> AsyncEngine:
    """The engine for a database's address; error texts and logs never show parameters, which hold personal data."""
    options: dict[str, Any] = {
        "hide_parameters": True,
        "pool_size": CONNECTIONS,
        "max_overflow": 0,
        "pool_use_lifo": True,
    }
    if url.file is not None:
        engine = create_async_engine(URL.create("sqlite+aiosqlite", database=url.file), **options)
        sqlite.prepare(engine.sync_engine)
        return engine
    arguments = postgresql.connect_arguments(url, unhurried=unhurried)
    engine = create_async_engine(
        "postgresql+asyncpg://", connect_args=arguments, isolation_level=postgresql.ISOLATION, **options
    )
    postgresql.prepare(engine.sync_engine, url, unhurried=unhurried)
    return engine
