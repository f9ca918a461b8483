"""What every response gets: security headers, one log line, and a problem answer where the code below failed."""

from __future__ import annotations

import time
from urllib.parse import unquote_to_bytes

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.problems import problem_response
from app.core.errors import InternalError, NotFound, PayloadTooLarge
from app.telemetry.logs import fault_location
from app.telemetry.metrics import Metrics
from app.telemetry.tracing import Tracing, describe_response

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

_log = structlog.stdlib.get_logger("app.http")


class SecurityHeaders:
    """Adds the headers that a route has not set itself. Nothing under `/v1` is ever stored by a cache."""

    def __init__(self, app: ASGIApp, *, strict_transport: bool) -> None:
        self._app = app
        self._headers = dict(HEADERS)
        if strict_transport:
            self._headers["Strict-Transport-Security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and complete the headers of its response."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                if scope["path"].startswith("/v1"):
                    headers["Cache-Control"] = "no-store"
            await send(message)

        await self._app(scope, receive, send_with_headers)


class RequestRecord:
    """Logs, counts and traces each request by its route's template, never by its path.

    What nobody caught becomes a problem answer here.
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
        method, began = scope["method"], time.perf_counter()
        with self._metrics.in_flight(), self._tracing.request(method, Headers(scope=scope)) as span:
            status = await self._answer(scope, receive, send)
            seconds = time.perf_counter() - began
            route = getattr(scope.get("route"), "path_format", None)
            describe_response(span, method, route, status)
            _log.info("request", method=method, route=route, status=status, duration_ms=round(seconds * 1000, 1))
        if route:
            self._metrics.request(method, route, status, seconds)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> int:
        """Let the request be answered; returns the status."""
        status = 0

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except Exception as error:
            # The exception's text may quote what a caller sent or what a provider answered: only its place is logged.
            _log.error("unexpected_error", **fault_location(error))
            if status:
                raise
            await problem_response(InternalError())(scope, receive, send_and_note)
        return status


class RequestBounds:
    """Refuses what no route may see: a body of more than `max_bytes`, and a path that another path would be taken for.

    The framework's own limit answers outside of these middlewares, as plain text without the headers of every response. Its
    routes match a path with a newline at the end as if there were none, and the server replaces bytes that are no UTF-8: one
    user's id would be taken for another's.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its body at hand, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if "\n" in scope["path"] or not _is_utf8(scope["raw_path"]):
            await problem_response(NotFound())(scope, receive, send)
            return
        messages = await self._read(scope, receive)
        if messages is None:
            await problem_response(PayloadTooLarge())(scope, receive, send)
            return
        kept = iter(messages)

        async def replay() -> Message:
            return next(kept, None) or await receive()

        await self._app(scope, replay, send)

    async def _read(self, scope: Scope, receive: Receive) -> list[Message] | None:
        """The messages that make up the body, or None when it is too large; what a header declares is not even read."""
        declared = Headers(scope=scope).get("Content-Length", "")
        if declared.isdecimal() and int(declared[:20]) > self._max_bytes:
            return None
        messages: list[Message] = []
        size, more = 0, True
        while more:
            message = await receive()
            messages.append(message)
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
            if size > self._max_bytes:
                return None
        return messages


def _is_utf8(raw_path: bytes) -> bool:
    try:
        unquote_to_bytes(raw_path).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
