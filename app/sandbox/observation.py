"""What a test sees of the provider, and how it makes a request wait."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Literal

Endpoint = Literal["discovery", "authorize", "token", "userinfo", "jwks"]

LONGEST_HOLD: Final = 30.0


@dataclass(frozen=True)
class RecordedRequest:
    """One request that arrived; `authentication` names the methods that came with it."""

    endpoint: Endpoint
    method: str
    parameters: dict[str, str]
    authentication: str | None


class Gate:
    """Makes requests wait until it is opened, though they are served in another thread.

    A gate that nobody opens lets them go after 30 seconds, so that a failing test cannot hang its server.
    """

    def __init__(self) -> None:
        self._opened: Future[None] = Future()
        self._arrivals = 0
        self._changed = threading.Condition()

    def __enter__(self) -> Gate:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.open()

    def open(self) -> None:
        """Let everybody through, now and later."""
        with self._changed:
            if not self._opened.done():
                self._opened.set_result(None)

    def wait_for_arrivals(self, n: int, timeout: float = 10.0) -> None:
        """Block the calling thread until n requests have arrived.

        Raises:
            TimeoutError: fewer arrived in `timeout` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._arrivals >= n, timeout):
                raise TimeoutError(f"{self._arrivals} of {n} requests arrived")

    async def passage(self) -> None:
        """Report an arrival and wait, without blocking the event loop."""
        with self._changed:
            self._arrivals += 1
            self._changed.notify_all()
        await asyncio.wait([asyncio.wrap_future(self._opened)], timeout=LONGEST_HOLD)
