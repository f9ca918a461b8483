"""The service keeps house by itself, in small steps.

What has served its time is cleared, and what is old is removed.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from datetime import timedelta
from functools import partial

import structlog

from app.core.domain import Clock
from app.core.errors import DatabaseUnavailable
from app.storage.keeping import SMALL_BATCH, Keeper
from app.telemetry.logs import fault_location

BREATH_SECONDS = 0.05

_log = structlog.stdlib.get_logger("app.housekeeping")


class Housekeeping:
    """Works in small steps, with a breath between them; one process of a deployment at a time."""

    def __init__(self, keeper: Keeper, *, retention: timedelta, clock: Clock) -> None:
        self._keeper = keeper
        self._retention = retention
        self._clock = clock
        self._holder = secrets.token_hex(16)
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """End with the step that is under way."""
        self._stopping.set()

    async def run(self, seconds: float) -> None:
        """Keep house every so many `seconds` until stopped.

        A database that is away is no fault of ours: it is asked again next time.
        """
        while not self._stopping.is_set():
            try:
                if await self._keeper.take_turn(self._holder, self._clock()):
                    await self._keep()
            except DatabaseUnavailable as unavailable:
                _log.warning("housekeeping_postponed", code=unavailable.code)
            except Exception as error:
                # Nobody waits for its end: what nobody foresaw is told, and does not end the keeping for good.
                _log.error("housekeeping_failed", **fault_location(error))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _keep(self) -> None:
        now = self._clock()
        for step in (
            partial(self._keeper.clear_served, now),
            partial(self._keeper.remove_old, now - self._retention, now),
            self._keeper.remove_idle_locks,
        ):
            while not self._stopping.is_set() and await step(batch=SMALL_BATCH):
                await self._breathe()

    async def _breathe(self) -> None:
        """Let logins pass, and keep the turn."""
        await asyncio.sleep(BREATH_SECONDS)
        await self._keeper.take_turn(self._holder, self._clock())
