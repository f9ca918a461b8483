"""Recording what must not be lost: a code was spent for it, and there is no second one (decision 0036)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from app.core.errors import DatabaseUnavailable
from app.oidc import Deadline
from app.storage.faults import Cause, diagnose

T = TypeVar("T")
_log = structlog.stdlib.get_logger("app.recording")

PAUSE_SECONDS = 0.1
# The last try may wait for a lock as long as the database lets it, and must end before the caller gives up.
MARGIN_SECONDS = 0.5
# What a provider that took its whole share leaves.
AT_LEAST_SECONDS = 1.0


async def insist(write: Callable[[float], Awaitable[T]], deadline: Deadline) -> T:
    """What `write` amounts to. Where the database refuses it, it is tried again until shortly before `deadline`.

    Each try is told until when it may stand in line, on the event loop's clock. Nobody knows what became of a try whose
    connection broke: one more must then change nothing and amount to the same. Raises DatabaseUnavailable.
    """
    loop = asyncio.get_running_loop()
    until = max(deadline.at - MARGIN_SECONDS, loop.time() + AT_LEAST_SECONDS)
    while True:
        try:
            return await write(until)
        except DatabaseUnavailable as unavailable:
            cause = diagnose(unavailable)
            # Each try at a server that is silent takes seconds.
            if loop.time() + PAUSE_SECONDS >= until or cause is Cause.SILENT:
                raise
            _log.warning("recorded_again", cause=cause.code)
        await asyncio.sleep(PAUSE_SECONDS)
