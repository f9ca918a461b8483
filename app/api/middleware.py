"""What every response gets: security headers, one log line, and a problem answer where the code below failed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import unquote_to_bytes

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.problems import problem_response
from app.core.errors import InternalError, NotFound, PayloadTooLarge, RequestTimeout
from app.telemetry.logs import fault_location
from app.telemetry.metrics import OTHER, Metrics
from app.telemetry.tracing import Tracing

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

# RFC 9110 section 9, and RFC 5789. Whoever invents others must not fill the memory with what is counted by them.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
PROBES = frozenset({"/healthz", "/readyz", "/metrics"})

_log = structlog.stdlib.get_logger("app.http")


class SecurityHeaders:
    """Adds the headers that a route has not set itself. Nothing under `/v1` is ever stored by a cache."""

    def __init__(self, app: ASGIApp, *, strict_transport: bool) -> None:
        self._app = app
        transport = {"Strict-Transport-Security": "max-age=31536000"} if strict_transport else {}
        # As bytes, once: they are on every answer.
        self._headers = [(name.lower().encode(), value.encode()) for name, value in (HEADERS | transport).items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and complete the headers of its response."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message["headers"]}
                message["headers"] += [header for header in self._headers if header[0] not in given]
                if scope["path"].startswith("/v1"):
                    others = [header for header in message["headers"] if header[0] != b"cache-control"]
                    message["headers"] = [*others, (b"cache-control", b"no-store")]
            await send(message)

        await self._app(scope, receive, send_with_headers)


class RequestRecord:
    """Logs, counts and traces each request by its route's template, never by its path.

    Probes that went well are logged at debug level. What nobody caught becomes a problem answer here.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, tracing: Tracing) -> None:
        self._app = app
        self._metrics = metrics
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and record how it ended."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        structlog.contextvars.clear_contextvars()
        method = scope["method"] if scope["method"] in METHODS else OTHER
        began = time.perf_counter()
        self._metrics.in_flight(1)
        try:
            with self._tracing.request(method, scope) as describe:
                status, answered = await self._answer(scope, receive, send)
                seconds = answered - began
                route = getattr(scope.get("route"), "path_format", None)
                describe(route, status)
                log = _log.debug if route in PROBES and status < 400 else _log.info
                log("request", method=method, route=route, status=status, duration_ms=round(seconds * 1000, 1))
        finally:
            self._metrics.in_flight(-1)
        if route:
            self._metrics.request(method, route, status, seconds)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> tuple[int, float]:
        """Let the request be answered; returns the status, and when the answer began."""
        status, answered = 0, 0.0

        async def send_and_note(message: Message) -> None:
            nonlocal status, answered
            if message["type"] == "http.response.start":
                status, answered = message["status"], time.perf_counter()
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except Exception as error:
            # The exception's text may quote what a caller sent or what a provider answered: only its place is logged.
            _log.error("unexpected_error", **fault_location(error))
            if status:
                raise
            await problem_response(InternalError())(scope, receive, send_and_note)
        return status, answered or time.perf_counter()


class RequestBounds:
    """Refuses a path that another would be taken for, and a body that is too large or too slow.

    The framework's routes match a path with a newline at the end as if there were none, and the server replaces bytes
    that are no UTF-8: one user's id would be taken for another's. A body is read when a route asks for it, which is
    after the key was checked; `receive` then raises PayloadTooLarge beyond `max_bytes` (`max_hook_bytes` below
    `/v1/hooks/`), and RequestTimeout where the first byte has not come within `seconds`, or the whole not within
    `seconds` of it. `monotonic` tells the time.
    """

    def __init__(
        self, app: ASGIApp, *, max_bytes: int, max_hook_bytes: int, seconds: float, monotonic: Callable[[], float]
    ) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._max_hook_bytes = max_hook_bytes
        self._seconds = seconds
        self._monotonic = monotonic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with bounds to its body, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif "\n" in scope["path"] or not _is_utf8(scope["raw_path"]):
            await problem_response(NotFound())(scope, receive, send)
        elif any(name in {b"content-length", b"transfer-encoding"} for name, _ in scope["headers"]):
            max_bytes = self._max_hook_bytes if scope["path"].startswith("/v1/hooks/") else self._max_bytes
            body = _BoundedBody(
                Headers(scope=scope),
                receive,
                send,
                max_bytes=max_bytes,
                seconds=self._seconds,
                monotonic=self._monotonic,
            )
            await self._app(scope, body.receive, body.send)
        else:
            await self._app(scope, receive, send)


class _BoundedBody:
    """A request's body, at most so many bytes within so many seconds of the first one.

    That must come within as many seconds of the first look: whoever sends a head alone holds no place for ever.
    """

    def __init__(
        self,
        headers: Headers,
        receive: Receive,
        send: Send,
        *,
        max_bytes: int,
        seconds: float,
        monotonic: Callable[[], float],
    ) -> None:
        self._receive = receive
        self._send = send
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._monotonic = monotonic
        self._deadline: float | None = None
        declared = headers.get("Content-Length", "0")
        self._size = 0
        self._declared = int(declared[:20]) if declared.isdecimal() else 0
        self._whole = "Transfer-Encoding" not in headers and not self._declared

    async def receive(self) -> Message:
        """The next piece of the body. Raises PayloadTooLarge and RequestTimeout."""
        if self._whole:
            return await self._receive()
        if self._declared > self._max_bytes:
            raise PayloadTooLarge
        try:
            message = await self._next()
        except TimeoutError:
            raise RequestTimeout from None
        body = message.get("body", b"")
        if body and not self._size:
            self._deadline = self._monotonic() + self._seconds
        self._size += len(body)
        if self._size > self._max_bytes:
            raise PayloadTooLarge
        if message["type"] == "http.disconnect":
            raise RequestTimeout
        return message

    async def send(self, message: Message) -> None:
        """Send the answer; where the body was not read whole, the connection ends with it.

        The last piece is held back until the rest of the body has come, or its time is over: a connection that is
        closed while the client still sends is reset, and the answer may be lost (RFC 9112 section 9.6).
        """
        if message["type"] == "http.response.start" and not self._whole:
            MutableHeaders(scope=message)["Connection"] = "close"
        if message["type"] == "http.response.body" and not self._whole and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            with suppress(TimeoutError):
                while not self._whole and (await self._next())["type"] != "http.disconnect":
                    pass
            message = {"type": "http.response.body"}
        await self._send(message)

    async def _next(self) -> Message:
        """The next piece, before the deadline. Raises TimeoutError."""
        now = self._monotonic()
        if self._deadline is None:
            self._deadline = now + self._seconds
        async with asyncio.timeout(self._deadline - now):
            message = await self._receive()
        self._whole = not message.get("more_body", False)
        return message


def _is_utf8(raw_path: bytes) -> bool:
    try:
        unquote_to_bytes(raw_path).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
