"""What PostgreSQL needs of its connections: time limits, and that a line which died without a word is noticed soon."""

from __future__ import annotations

import asyncio
import math
import socket
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import asyncpg
from sqlalchemy import Engine, event
from sqlalchemy.engine import Connection, ExceptionContext
from sqlalchemy.pool import ConnectionPoolEntry

from app.storage.connection import FAULTS
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
_IS_READ_ONLY = "SELECT current_setting('transaction_read_only')"
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


class Postgresql:
    """How statements run on asyncpg's connections, and which of them are tried before they are used.

    `unhurried` lets a statement take as long as it needs.
    """

    writes_side_by_side = True

    def __init__(self, url: DatabaseUrl, *, unhurried: bool) -> None:
        limits = _limits(unhurried=unhurried)
        self._transactions_limits = limits if url.pooled else {}
        self.begin = _begin(self._transactions_limits)
        self._lost_at = -math.inf

    def prepare(self, engine: Engine) -> None:
        """Let an engine drop connections that broke without waiting for them."""
        if self._transactions_limits:
            event.listen(engine, "begin", partial(_limit_transaction, self._transactions_limits))
        event.listen(engine, "close", _hang_up)
        event.listen(engine, "handle_error", _note_loss)

    async def rows(self, connection: asyncpg.Connection, text: str, values: Sequence[Any]) -> Sequence[Any]:
        """What a statement has found."""
        rows: Sequence[Any] = await connection.fetch(text, *values)
        return rows

    async def command(self, connection: asyncpg.Connection, text: str) -> None:
        """Run what finds nothing and has no values, such as the end of a transaction."""
        await connection.execute(text)

    def is_lost(self, connection: asyncpg.Connection, fault: BaseException) -> bool:
        """Whether the other end went away, or takes no writes any more: then every connection is tried before use."""
        # The driver stumbles over itself when a connection breaks at the wrong moment.
        broken = isinstance(fault, OSError | asyncpg.InternalClientError) or connection.is_closed()
        lost = broken or _is_read_only(fault)
        if lost:
            self._lost_at = time.monotonic()
        return lost

    async def is_well(self, connection: asyncpg.Connection, used_at: float) -> bool:
        """Whether the other end is there and takes writes; asked of it where nothing was heard of it for a while."""
        if connection.is_closed():
            return False
        if used_at > self._lost_at and time.monotonic() - used_at < TRIED_AFTER_SECONDS:
            return True
        try:
            return bool(await connection.fetchval(_IS_READ_ONLY, timeout=TRIED_FOR_SECONDS) == "off")
        except FAULTS:
            return False


def _begin(limits: Mapping[str, str]) -> str:
    """How a transaction begins. Behind a pooler it brings its limits: the connection may be another one each time."""
    brought = (f"SET LOCAL {name} = '{value}'" for name, value in limits.items())
    return "; ".join([f"BEGIN ISOLATION LEVEL {ISOLATION}", *brought])


def _limit_transaction(limits: Mapping[str, str], connection: Connection) -> None:
    """Set the limits for this transaction alone: the next one on the pooler's connection may be somebody else's."""
    if connection.get_isolation_level() == "AUTOCOMMIT":
        return
    connection.exec_driver_sql(
        "SELECT " + ", ".join(f"set_config('{name}', '{value}', true)" for name, value in limits.items())
    )


def _hang_up(connection: Any, _: ConnectionPoolEntry) -> None:
    # A polite farewell would be waited for, for two seconds, by the request that found the other end gone.
    connection.driver_connection.terminate()


def _note_loss(context: ExceptionContext) -> None:
    fault = context.original_exception
    if isinstance(fault, OSError) or _is_read_only(fault):
        context.is_disconnect = True


def _is_read_only(fault: BaseException) -> bool:
    return getattr(fault, "sqlstate", None) == _READ_ONLY
