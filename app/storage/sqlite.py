"""What SQLite needs of its connections: one writer that begins at once, a log, and files that may be written."""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import suppress
from functools import partial
from typing import Any

from sqlalchemy import Dialect, Engine, event
from sqlalchemy.engine import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry

BUSY_TIMEOUT_MS = 3000
OWNER_ONLY = 0o600
BEGIN = "idv_begin"
"""The execution option that says how a transaction begins; None for a statement that is one by itself."""
FOR_READING, FOR_WRITING = "BEGIN", "BEGIN IMMEDIATE"


def prepare(engine: Engine) -> None:
    """Let every connection of a SQLite engine be opened, set up and begun as the service needs it."""
    event.listen(engine, "do_connect", _open_once)
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    event.listen(engine, "checkout", partial(_refuse_what_may_not_be_written, str(engine.url.database)))


def _refuse_what_may_not_be_written(file: str, *_: object) -> None:
    # An open connection would go on writing, and a new one would be refused: one file has one answer.
    if os.path.exists(file) and not os.access(file, os.W_OK):
        raise DisconnectionError


def _open_once(_: Dialect, __: ConnectionPoolEntry, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    # SQLite opens what it may not write for reading alone, and makes a log that nobody may write beside it, for ever.
    for file in (arguments[0], f"{arguments[0]}-wal", f"{arguments[0]}-shm"):
        if os.path.exists(file):
            if not os.access(file, os.W_OK):
                raise PermissionError(errno.EACCES, "the database may not be written")
            _keep_from_others(file)
    # SQLite gives its log and its index the modes of the file. One that is there is not opened: closing it would end
    # its locks.
    with suppress(FileExistsError):
        os.close(os.open(arguments[0], os.O_CREAT | os.O_EXCL | os.O_WRONLY, OWNER_ONLY))
    # The driver tells of a file that it cannot open from a thread that may outlive the event loop: so it is tried
    # before.
    sqlite3.connect(*arguments, **options).close()


def _keep_from_others(file: str) -> None:
    """Take the group's and others' rights away; who may write another's file leaves its modes to its owner."""
    status = os.stat(file)
    if status.st_mode & 0o077 and status.st_uid == os.geteuid():
        os.chmod(file, OWNER_ONLY)


def _prepare(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    # The driver must not begin transactions by itself: it would begin late, and a write could then find the file
    # changed.
    connection.isolation_level = None
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


def _begin(connection: Connection) -> None:
    if begin := connection.get_execution_options().get(BEGIN, FOR_READING):
        connection.exec_driver_sql(begin)
