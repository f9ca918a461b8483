"""Connections that stay open between requests."""

from __future__ import annotations

import time
from contextlib import suppress

from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import greenlet_spawn

from app.storage.connection import FAULTS, Connection, Driver


class Pool:
    """Keeps the connections that an engine has opened; how many there are at most, others see to.

    SQLAlchemy's own lends each by way of a greenlet, an event and three objects, which took a fifth of a short
    request's time.
    """

    def __init__(self, engine: AsyncEngine, driver: Driver) -> None:
        self._engine = engine
        self._driver = driver
        self._idle: list[Connection] = []

    async def take(self) -> Connection:
        """The connection that was used last, of those that can be used, or a new one. Raises FAULTS."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable and await self._driver.is_well(connection.own, connection.used_at):
                return connection
            if connection.is_usable:
                # What has become of one has become of those that were silent for longer.
                self.leave_all()
            await self._close(connection)
        lent = await greenlet_spawn(self._engine.sync_engine.raw_connection)
        return Connection(lent, self._engine.dialect, self._driver, lent.driver_connection, time.monotonic())

    async def give_back(self, connection: Connection) -> None:
        """Keep a connection for the next one who comes, or close it."""
        if connection.is_usable:
            connection.used_at = time.monotonic()
            self._idle.append(connection)
        else:
            await self._close(connection)

    def leave_all(self) -> None:
        """Use none again of those that are idle."""
        for connection in self._idle:
            connection.is_usable = False

    async def close(self) -> None:
        """Close those that are idle."""
        while self._idle:
            await self._close(self._idle.pop())

    async def _close(self, connection: Connection) -> None:
        with suppress(*FAULTS):
            await greenlet_spawn(connection.lent.close)
