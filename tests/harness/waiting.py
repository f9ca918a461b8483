import asyncio
from collections.abc import Callable

from app.sandbox import Gate


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Return once `condition` holds; a test that waits in vain fails here."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not condition():
        assert loop.time() < deadline, "waited in vain"
        await asyncio.sleep(0.01)


async def arrivals(gate: Gate, n: int = 1) -> None:
    """Return once `n` requests wait at the gate."""
    await asyncio.to_thread(gate.wait_for_arrivals, n)
