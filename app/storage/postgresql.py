"""What PostgreSQL needs of its connections: time limits, and that a line which died without a word is noticed soon."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import asyncpg
from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError, InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.util import await_only

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


def connect_arguments(*, unhurried: bool) -> dict[str, Any]:
    """What the driver is given beside the address. `unhurried` lets a statement take as long as it needs."""
    limits = {
        "lock_timeout": LOCK_TIMEOUT_MS,
        "statement_timeout": 0 if unhurried else STATEMENT_TIMEOUT_MS,
        "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_TIMEOUT_MS,
        "default_transaction_isolation": ISOLATION.lower(),
    }
    return {
        "connection_class": _KeptAlive,
        "timeout": CONNECT_SECONDS,
        "command_timeout": None if unhurried else ANSWER_SECONDS,
        "server_settings": {"application_name": "idv-gateway", **{name: str(value) for name, value in limits.items()}},
    }


def prepare(engine: Engine) -> None:
    """Let an engine try connections that were silent before they are used, and drop those that broke without waiting for them."""
    event.listen(engine, "checkin", _note_use)
    event.listen(engine, "checkout", _try)
    event.listen(engine, "close", _hang_up)
    event.listen(engine, "handle_error", _note_loss)


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
