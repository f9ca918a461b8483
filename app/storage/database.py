"""Connections to one database, and transactions that say whether they read or write."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from sqlalchemy import event, make_url
from sqlalchemy import exc as sqlalchemy_errors
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from app.core.errors import DatabaseUnavailable, TracesRemain
from app.storage import sqlite
from app.storage.sqlite import WRITES
from app.storage.turnstile import Turnstile

# Callers wait 10 s: a database that is held up is told of before, not waited out.
CONNECT_SECONDS = 3
POOL_SECONDS = 5
LOCK_TIMEOUT_MS = 2000
STATEMENT_TIMEOUT_MS = 3000
# A server that is gone without a word answers no statement, and its own time-out does not come either.
ANSWER_SECONDS = 4
# A process that was stopped within a transaction must not keep its locks.
IDLE_IN_TRANSACTION_TIMEOUT_MS = 10_000
CONNECTIONS = 5
MORE_CONNECTIONS_UNDER_LOAD = 10
_FAULTS = (sqlalchemy_errors.DBAPIError, sqlalchemy_errors.TimeoutError, sqlite3.Error, OSError)
# What only a mistake of ours can cause; all else says that the database cannot be used.
_MISTAKES = (sqlalchemy_errors.IntegrityError, sqlalchemy_errors.DataError)


class Database:
    """Connections to one database. Nothing is opened before the first transaction.

    `unhurried` lets a statement take as long as it needs, which is for migrations; a lock is never waited for that long.
    `on_connection` is told of each connection that is taken out of the pool (1) and put back (-1).
    """

    def __init__(self, url: str, *, unhurried: bool = False, on_connection: Callable[[int], None] | None = None) -> None:
        self.engine = make_engine(url, unhurried=unhurried)
        if on_connection:
            event.listen(self.engine.sync_engine, "checkout", lambda *_: on_connection(1))
            event.listen(self.engine.sync_engine, "checkin", lambda *_: on_connection(-1))
        self._reads = self.engine
        self._turnstile = Turnstile()
        self._one_writer = asyncio.Lock()
        self._writes = self.engine.execution_options(**{WRITES: True})

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """A transaction that only reads. Raises DatabaseUnavailable."""
        with _faults_as(DatabaseUnavailable):
            async with (
                self._turnstile.together(),
                AsyncSession(self._reads, expire_on_commit=False) as session,
                session.begin(),
            ):
                yield session

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncSession]:
        """A transaction that writes, committed when the block is left without an exception. Raises DatabaseUnavailable."""
        with _faults_as(DatabaseUnavailable):
            async with (
                self._turnstile.together(),
                self._turn_to_write(),
                AsyncSession(self._writes, expire_on_commit=False) as session,
                session.begin(),
            ):
                yield session

    @asynccontextmanager
    async def _turn_to_write(self) -> AsyncIterator[None]:
        """On SQLite, one writer after the other as they came: SQLite lets some of many wait until their time is over."""
        if self.engine.dialect.name != "sqlite":
            yield
            return
        async with asyncio.timeout(POOL_SECONDS):
            await self._one_writer.acquire()
        try:
            yield
        finally:
            self._one_writer.release()

    async def forget_deleted(self) -> None:
        """On SQLite, write the file anew without what was deleted, and empty the write-ahead log. Raises TracesRemain.

        Deleted rows are overwritten at once (`secure_delete`), but not what SQLite leaves behind when it rebuilds a page.
        """
        if self.engine.dialect.name != "sqlite":
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


@contextmanager
def _faults_as(problem: type[DatabaseUnavailable]) -> Iterator[None]:
    try:
        yield
    except _FAULTS as fault:
        if isinstance(fault, _MISTAKES):
            raise
        raise problem from fault


def make_engine(url: str, *, unhurried: bool = False) -> AsyncEngine:
    """The engine for a database URL; error texts and logs never show parameters, which hold personal data."""
    on_file = url.startswith("sqlite")
    engine = create_async_engine(
        make_url(url),
        hide_parameters=True,
        pool_pre_ping=not on_file,
        pool_size=CONNECTIONS,
        max_overflow=MORE_CONNECTIONS_UNDER_LOAD,
        pool_timeout=POOL_SECONDS,
        connect_args={} if on_file else _postgres_limits(unhurried=unhurried),
    )
    if engine.dialect.name == "sqlite":
        sqlite.prepare(engine.sync_engine)
    return engine


def _postgres_limits(*, unhurried: bool) -> dict[str, Any]:
    limits = {
        "lock_timeout": LOCK_TIMEOUT_MS,
        "statement_timeout": 0 if unhurried else STATEMENT_TIMEOUT_MS,
        "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_TIMEOUT_MS,
    }
    return {
        "timeout": CONNECT_SECONDS,
        "command_timeout": None if unhurried else ANSWER_SECONDS,
        "server_settings": {"application_name": "idv-gateway", **{name: str(value) for name, value in limits.items()}},
    }
