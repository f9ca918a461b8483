"""Callers that cost little themselves: each is a connection on which one request at a time is under way.

Written by hand on bytes, since a client library takes longer for a request than the web server for a raw answer.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import cast

import uvloop

from tests.bench.figures import percentile

PATIENCE = 60.0
"""Seconds after which a load that does not end is given up."""
TICK = 0.001
"""Seconds between two looks at what has come due: the event loop's timers tell no shorter time."""


class WrongAnswer(Exception):
    """The service did not answer as it must: what was measured counts for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Requests, and words that stand in the body of each right answer. `may_refuse`: 503 with Retry-After is right,
    too.
    """

    requests: Iterable[bytes]
    expected: bytes
    may_refuse: bool = False


@dataclass(slots=True)
class Outcome:
    """What came of a load; the times of what was answered and of what was refused are in seconds."""

    seconds: float = 0.0
    took: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Requests answered a second."""
        return len(self.took) / self.seconds

    def ms(self, percent: float) -> float:
        """How long an answer took at most for so many in a hundred, in milliseconds."""
        return percentile(self.took, percent) * 1000


def drive(
    port: int,
    work: Work,
    *,
    callers: int,
    seconds: float = PATIENCE,
    rate: float | None = None,
    keep: bool = False,
) -> Outcome:
    """Load the server at a port of loopback for some seconds, or until there are no more requests. Raises WrongAnswer.

    Without a `rate` each caller asks again as soon as it is answered. With one, so many requests a second come due
    whether or not a caller is free, and their times count from then. `keep` keeps the bodies of the answers.
    """
    gc.disable()
    try:
        return uvloop.run(_Load(port, work, callers, seconds, rate, keep).run())
    finally:
        gc.enable()


class _Load:
    def __init__(self, port: int, work: Work, callers: int, seconds: float, rate: float | None, keep: bool) -> None:
        self._port = port
        self._work = work
        self._callers = callers
        self._seconds = seconds
        self._rate = rate
        self._keep = keep
        self._requests: Iterator[bytes] = iter(work.requests)
        self._idle: deque[_Caller] = deque()
        self._due: Iterator[float] = iter(())
        self._outcome = Outcome()
        self._under_way = 0
        self._until = 0.0

    async def run(self) -> Outcome:
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        callers = [await self._connected() for _ in range(self._callers)]
        self._idle.extend(callers)
        try:
            began = time.perf_counter()
            self._until = began + self._seconds
            self._begin(began)
            async with asyncio.timeout(self._seconds + PATIENCE):
                await self._over
            self._outcome.seconds = time.perf_counter() - began
        finally:
            await asyncio.gather(*(caller.close() for caller in callers))
        return self._outcome

    async def _connected(self) -> _Caller:
        _, caller = await asyncio.get_running_loop().create_connection(lambda: _Caller(self), "127.0.0.1", self._port)
        return caller

    def _begin(self, now: float) -> None:
        if self._rate is None:
            for _ in range(len(self._idle)):
                self._ask(self._idle.popleft(), now)
            self._end_if_over()
            return
        count = int(self._seconds * self._rate)
        self._due = iter([now + number / self._rate for number in range(count)])
        self._waiting: deque[float] = deque()
        self._next_due = next(self._due, None)
        self._tick()

    def _tick(self) -> None:
        """Hand what has come due to whoever is idle."""
        now = time.perf_counter()
        while self._next_due is not None and self._next_due <= now:
            if self._idle:
                self._ask(self._idle.popleft(), self._next_due)
            else:
                self._waiting.append(self._next_due)
            self._next_due = next(self._due, None)
        if self._next_due is not None:
            asyncio.get_running_loop().call_later(TICK, self._tick)
        self._end_if_over()

    def _ask(self, caller: _Caller, since: float) -> None:
        request = next(self._requests, None)
        if request is None:
            self._until = 0.0
            self._idle.append(caller)
        else:
            self._under_way += 1
            caller.send(request, since)

    def answered(self, caller: _Caller, head: bytes, body: bytes) -> None:
        """One answer has come: judge it, and let the caller go on."""
        now = time.perf_counter()
        self._under_way -= 1
        if head.startswith(b"HTTP/1.1 200") and self._work.expected in body:
            self._outcome.took.append(now - caller.since)
        elif self._work.may_refuse and head.startswith(b"HTTP/1.1 503") and b"\r\nretry-after:" in head.lower():
            self._outcome.refused.append(now - caller.since)
        else:
            status = head.partition(b"\r\n")[0].decode()
            self.fail(f"{status}: {body[:300].decode(errors='replace')}")
            return
        if self._keep:
            self._outcome.bodies.append(body)
        self._go_on(caller, now)

    def _go_on(self, caller: _Caller, now: float) -> None:
        if self._rate is None and now < self._until:
            self._ask(caller, now)
        elif self._rate is not None and self._waiting:
            self._ask(caller, self._waiting.popleft())
        else:
            self._idle.append(caller)
        self._end_if_over()

    def _end_if_over(self) -> None:
        nothing_due = self._rate is None or (self._next_due is None and not self._waiting)
        if self._under_way == 0 and nothing_due and not self._over.done():
            self._over.set_result(None)

    def fail(self, why: str) -> None:
        """End the load at once."""
        if not self._over.done():
            self._over.set_exception(WrongAnswer(why))


class _Caller(asyncio.Protocol):
    """One connection."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._data = b""
        self._asking = False
        self.since = 0.0
        self._gone = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def send(self, request: bytes, since: float) -> None:
        self.since = since
        self._asking = True
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        if found and len(body) >= _content_length(head):
            self._data = b""
            self._asking = False
            self._load.answered(self, head, body)

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone.set_result(None)
        if self._asking:
            self._load.fail("the connection was closed before an answer came")

    async def close(self) -> None:
        self._transport.abort()
        await self._gone


def _content_length(head: bytes) -> int:
    return int(head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])


def request(method: str, path: str, key: str, body: bytes = b"") -> bytes:
    """A request with an API key, and with a JSON body unless it is empty."""
    lines = [f"{method} {path} HTTP/1.1", "Host: service.test", f"Authorization: Bearer {key}"]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body
