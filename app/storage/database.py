"""The engine, the tables, and transactions that say whether they read or write."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    DateTime,
    Dialect,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
    event,
    make_url,
)
from sqlalchemy import exc as sqlalchemy_errors
from sqlalchemy.engine import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.types import TypeEngine

from app.core.errors import DatabaseUnavailable, TracesRemain
from app.storage.turnstile import Turnstile

BUSY_TIMEOUT_MS = 3000
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
_WRITES = "idv_writes"
_FAULTS = (sqlalchemy_errors.DBAPIError, sqlalchemy_errors.TimeoutError, sqlite3.Error, OSError)
# What only a mistake of ours can cause; all else says that the database cannot be used.
_MISTAKES = (sqlalchemy_errors.IntegrityError, sqlalchemy_errors.DataError)


class UtcTimestamp(TypeDecorator[datetime]):
    """A moment in UTC: `timestamptz`, or on SQLite a text that sorts. A text that is no moment reads as None."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The column type of the database at hand."""
        return dialect.type_descriptor(String(32) if dialect.name == "sqlite" else DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """To the database; a naive moment is a bug, and `astimezone` would hide it."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment without a time zone")
        moment = value.astimezone(UTC)
        return moment.isoformat(timespec="microseconds") if dialect.name == "sqlite" else moment

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """From the database."""
        if dialect.name != "sqlite" or value is None:
            return value  # type: ignore[no-any-return]  # timestamptz comes as an aware datetime
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return None
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


class Base(DeclarativeBase):
    """The tables. Constraint names are fixed, so that migrations can name them on every database."""

    metadata = MetaData(naming_convention={"pk": "pk_%(table_name)s", "ck": "ck_%(table_name)s_%(constraint_name)s"})
    type_annotation_map = {datetime: UtcTimestamp(), str: Text(), bytes: LargeBinary()}  # noqa: RUF012  read once by the mapper


class UserRow(Base):
    """What is on file about a user. `revision` counts the writes; a row of revision 0 is only a lock."""

    __tablename__ = "users"

    user_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    revision: Mapped[int] = mapped_column(Integer, default=0)
    completed: Mapped[bool | None] = mapped_column(Boolean(name="completed_is_boolean", create_constraint=True))
    completed_at: Mapped[datetime | None]
    interview_id: Mapped[str | None]
    identity_id: Mapped[str | None]
    error: Mapped[str | None]
    sealed_evidence: Mapped[bytes | None]
    reset_at: Mapped[datetime | None]


class VerificationRow(Base):
    """One attempt. `sealed_request` is there until the code is exchanged, `sealed_answer` from then on.

    In the hosted flow `sealed_outcome` waits for its confirmation, and `sealed_return` is where the browser was sent back to.
    """

    __tablename__ = "verifications"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[str] = mapped_column(String(255))
    flow: Mapped[str] = mapped_column(String(16))
    purpose: Mapped[str] = mapped_column(String(16))
    status: Mapped[str] = mapped_column(String(16))
    started_by: Mapped[str] = mapped_column(String(255))
    finished_by: Mapped[str | None] = mapped_column(String(255))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    exchange_started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    callback_fingerprint: Mapped[str | None] = mapped_column(String(64))
    interview_id: Mapped[str | None]
    identity_id: Mapped[str | None]
    auth_overall_score: Mapped[str | None]
    auth_overall_status: Mapped[str | None]
    failure_code: Mapped[str | None] = mapped_column(String(64))
    failure_description: Mapped[str | None]
    browser_digest: Mapped[str | None] = mapped_column(String(64))
    returned_at: Mapped[datetime | None]
    sealed_request: Mapped[bytes | None]
    sealed_outcome: Mapped[bytes | None]
    sealed_return: Mapped[bytes | None]
    sealed_answer: Mapped[bytes | None]

    __table_args__ = (
        Index("ix_verifications_user_id_created_at", "user_id", "created_at"),
        Index("ix_verifications_created_at_id", "created_at", "id"),
    )


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
        self._writes = self.engine.execution_options(**{_WRITES: True})

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
    sqlite = url.startswith("sqlite")
    engine = create_async_engine(
        make_url(url),
        hide_parameters=True,
        pool_pre_ping=not sqlite,
        pool_size=CONNECTIONS,
        max_overflow=MORE_CONNECTIONS_UNDER_LOAD,
        pool_timeout=POOL_SECONDS,
        connect_args={} if sqlite else _postgres_limits(unhurried=unhurried),
    )
    if engine.dialect.name == "sqlite":
        event.listen(engine.sync_engine, "do_connect", _open_sqlite_once)
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
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


def _open_sqlite_once(_: Dialect, __: ConnectionPoolEntry, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    # SQLite opens what it may not write for reading alone, and makes a log that nobody may write beside it, for ever.
    for file in (arguments[0], f"{arguments[0]}-wal", f"{arguments[0]}-shm"):
        if os.path.exists(file) and not os.access(file, os.W_OK):
            raise PermissionError(errno.EACCES, "the database may not be written")
    # The driver tells of a file that it cannot open from a thread that may outlive the event loop: so it is tried before.
    sqlite3.connect(*arguments, **options).close()


def _prepare_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    # The driver must not begin transactions by itself: it would begin late, and a write could then find the file changed.
    connection.isolation_level = None
    cursor = connection.cursor()
    try:
        for pragma in (f"busy_timeout = {BUSY_TIMEOUT_MS}", "journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"):
            cursor.execute(f"PRAGMA {pragma}")
    except Exception:
        # The pool never sees this connection, and its thread would outlive the event loop.
        connection.close()
        raise
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
