"""What SQLite needs of its connections: one writer that begins at once, a log, and files that may be written."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import aiosqlite
from sqlalchemy import Dialect, Engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

BUSY_TIMEOUT_MS = 3000
OWNER_ONLY = 0o600


class Sqlite:
    """How statements run on aiosqlite's connections: each call is answered by a thread, so each does all at once."""

    # It lets some of many writers wait until their time is over: so they come one after the other.
    writes_side_by_side = False
    begin = "BEGIN IMMEDIATE"

    def __init__(self, file: str) -> None:
        self._file = file

    def prepare(self, engine: Engine) -> None:
        """Let every connection of an engine be opened, set up and begun as the service needs it."""
        event.listen(engine, "do_connect", _open_once)
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(self.begin))

    async def rows(self, connection: aiosqlite.Connection, text: str, values: Sequence[Any]) -> Sequence[Any]:
        """What a statement has found."""
        return list(await connection.execute_fetchall(text, values))

    async def command(self, connection: aiosqlite.Connection, text: str) -> None:
        """Run what finds nothing and has no values, such as the end of a transaction."""
        await connection.execute_fetchall(text)

    async def is_well(self, _: aiosqlite.Connection, __: float) -> bool:
        """Whether the file may still be written: an open connection would go on, and a new one would be refused."""
        return may_be_written(self._file)

    def is_lost(self, _: aiosqlite.Connection, fault: BaseException) -> bool:
        """Whether the file went away."""
        return isinstance(fault, OSError)


async def together(connection: aiosqlite.Connection, statements: Sequence[tuple[str, Sequence[Any]]]) -> Sequence[Any]:
    """Run statements as one transaction, in one call of the driver's thread; what the first has found.

    Where that is nothing, none of the others is run.
    """
    # The driver has no public call for more than one statement; each call wakes its thread and waits for it.
    run_in_its_thread: Callable[..., Awaitable[Sequence[Any]]] = connection._execute
    return await run_in_its_thread(_run, connection._conn, statements)


def _run(connection: sqlite3.Connection, statements: Sequence[tuple[str, Sequence[Any]]]) -> Sequence[Any]:
    connection.execute(Sqlite.begin)
    try:
        [first, *others] = statements
        found = connection.execute(*first).fetchall()
        for each in others if found else ():
            connection.execute(*each)
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise
    return found


def may_be_written(file: str) -> bool:
    """Whether the file may be written, or is not there yet."""
    return os.access(file, os.W_OK) or not os.path.exists(file)


def _open_once(_: Dialect, __: ConnectionPoolEntry, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    # SQLite opens what it may not write for reading alone, and makes a log that nobody may write beside it, for ever.
    for file in (arguments[0], f"{arguments[0]}-wal", f"{arguments[0]}-shm"):
        if not may_be_written(file):
            raise PermissionError(errno.EACCES, "the database may not be written")
        if os.path.exists(file):
            _keep_from_others(file)
    # SQLite gives its log and its index the modes of the file. One that is there is not opened: closing it would end
    # its locks.
    with suppress(FileExistsError):
        os.close(os.open(arguments[0], os.O_CREAT | os.O_EXCL | os.O_WRONLY, OWNER_ONLY))
    # The driver tells of a file that it cannot open from a thread that may outlive the event loop: so it is tried
    # before.
    sqlite3.connect(*arguments, **options).close()


def _keep_from_others(file: str) -> None:
    """Take the group's and others' rights away; who may write another's file leaves its modes to its owner.

    A folder or a device, which was named by mistake, is everybody's.
    """
    status = os.stat(file)
    if stat.S_ISREG(status.st_mode) and status.st_mode & 0o077 and status.st_uid == os.geteuid():
        os.chmod(file, OWNER_ONLY)


def _prepare(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    # The driver must not begin transactions by itself: it would begin late, and a write could then find the file
    # changed.
    connection.isolation_level = None
    connection.driver_connection.text_factory = _text
    cursor = connection.cursor()
    try:
        for pragma in (
            f"busy_timeout = {BUSY_TIMEOUT_MS}",
            "journal_mode = WAL",
            "synchronous = FULL",
            "secure_delete = ON",
        ):
            cursor.execute(f"PRAGMA {pragma}")
    except Exception:
        # The pool never sees this connection, and its thread would outlive the event loop.
        connection.close()
        raise
    cursor.close()


def _text(stored: bytes) -> str | bytes:
    """A text as it is; what is no UTF-8 stays bytes, so that one such row does not fail all that are read with it."""
    try:
        return stored.decode()
    except UnicodeDecodeError:
        return stored
