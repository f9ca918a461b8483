"""What PostgreSQL needs of its connections: time limits, and that a line which died without a word is noticed soon."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import asyncpg
from sqlalchemy import Engine, event
from sqlalchemy.engine import Connection, ExceptionContext
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError, InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.util import await_only

from app.storage.database_url import DatabaseUrl
from app.storage.faults import NotUtf8

# Callers wait 10 s: a database that is held up is told of before, not waited out.
CONNECT_SECONDS = 3
LOCK_TIMEOUT_MS = 2000
STATEMENT_TIMEOUT_MS = 3000
# A server that is gone without a word answers no statement, and its own time-out does not come either.
ANSWER_SECONDS = 4
# A process that was stopped within a transaction must not keep its locks.
IDLE_IN_TRANSACTION_TIMEOUT_MS = 10_000
# The server's own default may be another, and what is decided under a lock must be read after it was taken.
ISOLATION = "READ COMMITTED"
# Firewalls and address translators forget a connection that was silent, and tell nobody.
TRIED_AFTER_SECONDS = 5
TRIED_FOR_SECONDS = 1
_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
_USED_AT = "idv_used_at"
_READ_ONLY = "25006"


class _KeptAlive(asyncpg.Connection):  # type: ignore[misc]
    """A connection that asks by itself, while nobody uses it, whether the other end is still there."""

    def __init__(self, protocol: Any, transport: asyncio.Transport, *rest: Any) -> None:
        super().__init__(protocol, transport, *rest)
        line = transport.get_extra_info("socket")
        if line.family == socket.AF_UNIX:
            return
        line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE.items():
            if option := getattr(socket, name, None):
                line.setsockopt(socket.IPPROTO_TCP, option, value)


def connect_arguments(url: DatabaseUrl, *, unhurried: bool) -> dict[str, Any]:
    """What the driver is given. `unhurried` lets a statement take as long as it needs."""
    limits = _limits(unhurried=unhurried)
    seconds = min(CONNECT_SECONDS, url.connect_seconds or CONNECT_SECONDS)
    arguments: dict[str, Any] = {
        "async_creator_fn": partial(_connect, {} if url.pooled else limits),
        "dsn": url.dsn,
        "connection_class": _KeptAlive,
        "timeout": seconds,
        "command_timeout": None if unhurried else ANSWER_SECONDS,
        "target_session_attrs": "read-write",
        "server_settings": {"application_name": "idv-gateway", **url.server_settings},
    }
    if url.tls:
        arguments["ssl"] = url.tls
    if url.pooled:
        # A statement that was prepared on one connection is not there on the next one that the pooler lends.
        arguments |= {
            "statement_cache_size": 0,
            "prepared_statement_cache_size": 0,
            "prepared_statement_name_func": str,
        }
    return arguments


def _limits(*, unhurried: bool) -> dict[str, str]:
    return {
        "lock_timeout": str(LOCK_TIMEOUT_MS),
        "statement_timeout": "0" if unhurried else str(STATEMENT_TIMEOUT_MS),
        "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_TIMEOUT_MS),
        "default_transaction_isolation": ISOLATION.lower(),
    }


async def _connect(limits: Mapping[str, str], **arguments: Any) -> asyncpg.Connection:
    """A connection to a server that can be used. Raises NotUtf8 and the driver's errors."""
    connection = await asyncpg.connect(**arguments)
    try:
        _refuse_other_encodings(connection)
        if limits:
            # As statements: poolers refuse most parameters at the start.
            await connection.execute("; ".join(f"SET {name} = '{value}'" for name, value in limits.items()))
    except BaseException:
        connection.terminate()
        raise
    return connection


def _refuse_other_encodings(connection: asyncpg.Connection) -> None:
    if getattr(connection.get_settings(), "server_encoding", "UTF8") != "UTF8":
        raise NotUtf8


def prepare(engine: Engine, url: DatabaseUrl, *, unhurried: bool) -> None:
    """Let an engine try connections that were silent before they are used.

    It drops those that broke without waiting for them.
    """
    if url.pooled:
        event.listen(engine, "begin", partial(_limit_transaction, _limits(unhurried=unhurried)))
    event.listen(engine, "checkin", _note_use)
    event.listen(engine, "checkout", _try)
    event.listen(engine, "close", _hang_up)
    event.listen(engine, "handle_error", _note_loss)


def _limit_transaction(limits: Mapping[str, str], connection: Connection) -> None:
    """Set the limits for this transaction alone: the next one on the pooler's connection may be somebody else's."""
    if connection.get_isolation_level() == "AUTOCOMMIT":
        return
    connection.exec_driver_sql(
        "SELECT " + ", ".join(f"set_config('{name}', '{value}', true)" for name, value in limits.items())
    )


def _note_use(_: DBAPIConnection | None, entry: ConnectionPoolEntry) -> None:
    entry.info[_USED_AT] = time.monotonic()


def _try(connection: Any, entry: ConnectionPoolEntry, _: object) -> None:
    driver = connection.driver_connection
    if driver.is_closed():
        raise DisconnectionError
    if time.monotonic() - entry.info.get(_USED_AT, time.monotonic()) < TRIED_AFTER_SECONDS:
        return
    try:
        await_only(driver.execute("SELECT 1", timeout=TRIED_FOR_SECONDS))
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as fault:
        raise InvalidatePoolError from fault


def _hang_up(connection: Any, _: ConnectionPoolEntry) -> None:
    # A polite farewell would be waited for, for two seconds, by the request that found the other end gone.
    connection.driver_connection.terminate()


def _note_loss(context: ExceptionContext) -> None:
    fault = context.original_exception
    lost = isinstance(fault, OSError) or getattr(fault, "sqlstate", None) == _READ_ONLY
    if lost:
        context.is_disconnect = True
