import asyncio
from collections.abc import Callable

from app.sandbox import Gate

PATIENCE = 60.0
"""Seconds that a test waits for what must come, on a machine as slow as you like: it decides nothing but when to give
up.
"""


async def until(condition: Callable[[], bool]) -> None:
    """Return once `condition` holds; a test that waits in vain fails here."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE
    while not condition():
        assert loop.time() < deadline, "waited in vain"
        await asyncio.sleep(0.01)


async def arrivals(gate: Gate, n: int = 1) -> None:
    """Return once `n` requests wait at the gate."""
    await asyncio.to_thread(gate.wait_for_arrivals, n, PATIENCE)
