"""A cached document of the provider: one fetch at a time, and the last good one while the provider is away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from app.oidc.errors import ProtocolError

FRESH_SECONDS = 300.0
USABLE_SECONDS = 24 * 3600.0
FORCED_REFETCH_SECONDS = 60.0
PAUSE_AFTER_FAILURE_SECONDS = 5.0
# A callback has seconds, and its code is spent once: one that has a usable document must not lose them to a silent
# provider.
PATIENCE_SECONDS = 1.0

T = TypeVar("T")


class Cached(Generic[T]):
    """A document fetched by `load`, fresh for 300 s and usable for a day when it cannot be fetched again.

    `monotonic` gives seconds; `on_refetch` is told of each fetch on demand.
    """

    def __init__(
        self,
        load: Callable[[], Awaitable[T]],
        monotonic: Callable[[], float],
        on_refetch: Callable[[], None] | None = None,
    ) -> None:
        self._load = load
        self._on_refetch = on_refetch
        self._monotonic = monotonic
        self._value: T | None = None
        self._loaded_at = float("-inf")
        self._tried_at = float("-inf")
        self._forced_at = float("-inf")
        self._fetching: asyncio.Task[T] | None = None

    @property
    def at_hand(self) -> T | None:
        """The document as it was fetched last, however long ago; None before the first time."""
        return self._value

    async def get(self) -> T:
        """The document. Raises ProtocolError when there is none to be had."""
        value, now = self._value, self._monotonic()
        if value is None or now - self._loaded_at >= USABLE_SECONDS:
            return await self._fetch()
        if now - self._loaded_at < FRESH_SECONDS or now - self._tried_at < PAUSE_AFTER_FAILURE_SECONDS:
            return value
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await self._fetch()
        except (ProtocolError, TimeoutError):
            return value

    async def refetch(self) -> T:
        """The document, fetched again unless that was done less than a minute ago.

        So unknown key ids cost one request a minute at most.
        """
        now = self._monotonic()
        if self._fetching is None:
            if now - self._forced_at < FORCED_REFETCH_SECONDS:
                return await self.get()
            # Stamped before fetching: a fetch that fails must not open the way to the next one.
            self._forced_at = now
            if self._on_refetch:
                self._on_refetch()
        return await self._fetch()

    async def _fetch(self) -> T:
        if self._fetching is None:
            self._tried_at = self._monotonic()
            self._fetching = asyncio.create_task(self._load_once())
            self._fetching.add_done_callback(_forget_failure)
        # Shielded: the caller who gives up must not take the document from the others who wait for it.
        return await asyncio.shield(self._fetching)

    async def _load_once(self) -> T:
        try:
            value = await self._load()
            self._value, self._loaded_at = value, self._monotonic()
            return value
        finally:
            self._fetching = None


def _forget_failure(done: asyncio.Task[Any]) -> None:
    """Take note of a failure that nobody waited for; asyncio would write it to the log as a bug."""
    if not done.cancelled():
        done.exception()
