"""Who may use the database now, who waits, and who is told at once that there are too many."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

# Callers wait 10 s. When the first in the line has waited this long, whoever comes now would wait longer still.
FULL_AFTER_SECONDS = 1.0
WAIT_SECONDS = 2


class Overloaded(Exception):
    """More wants to use the database than it serves in time."""


class Admission:
    """So many `places` at once; the others wait in the order in which they came."""

    def __init__(self, places: int, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._number = places
        self._places = asyncio.Semaphore(places)
        self._monotonic = monotonic
        self._arrivals: dict[object, float] = {}
        # Not re-entrant. Two who each hold some of the places would wait for each other for ever.
        self._one_alone = asyncio.Lock()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._arrivals)

    async def enter(self, *, until: float | None = None) -> None:
        """Take a place, to be left again. Raises Overloaded after 2 seconds; at once where the line does not move.

        Who brings what must not be lost waits in any line, `until` a moment of the event loop's clock.
        """
        if self._places.locked():
            await self._wait(until)
        else:
            await self._places.acquire()

    def leave(self) -> None:
        """Give a place back."""
        self._places.release()

    @asynccontextmanager
    async def place(self, *, until: float | None = None) -> AsyncIterator[None]:
        """Hold a place while the block runs. Raises Overloaded."""
        await self.enter(until=until)
        try:
            yield
        finally:
            self.leave()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Hold every place while the block runs."""
        async with self._one_alone, AsyncExitStack() as places:
            for _ in range(self._number):
                await self._places.acquire()
                places.callback(self._places.release)
            yield

    async def _wait(self, until: float | None) -> None:
        now, me = self._monotonic(), object()
        if until is None and now - next(iter(self._arrivals.values()), now) > FULL_AFTER_SECONDS:
            raise Overloaded
        self._arrivals[me] = now
        try:
            async with asyncio.timeout(WAIT_SECONDS) if until is None else asyncio.timeout_at(until):
                await self._places.acquire()
        except TimeoutError as late:
            raise Overloaded from late
        finally:
            del self._arrivals[me]
