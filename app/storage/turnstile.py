"""Work that goes side by side, and work that must be alone, in one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turnstile:
    """Lets any number in together, until somebody asks to be alone: then nobody new enters before that one is done."""

    def __init__(self) -> None:
        self._inside = 0
        self._nobody_inside = asyncio.Event()
        self._nobody_inside.set()
        self._open = asyncio.Event()
        self._open.set()
        # Not re-entrant: whoever is alone and asks to be so again, or to be together with others, waits for itself for
        # ever.
        self._one_alone = asyncio.Lock()

    @asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        """Be inside with others."""
        while not self._open.is_set():
            await self._open.wait()
        self._inside += 1
        self._nobody_inside.clear()
        try:
            yield
        finally:
            self._inside -= 1
            if not self._inside:
                self._nobody_inside.set()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Be inside without anybody else."""
        async with self._one_alone:
            self._open.clear()
            try:
                await self._nobody_inside.wait()
                yield
            finally:
                self._open.set()
