"""Serving the application, from one process or from several."""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import structlog
import uvicorn
from httptools import HttpParserUpgrade
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.supervisors import Multiprocess

from app.telemetry.metrics import FOLDER

GRACE_SECONDS = 10
# Longer than load balancers and clients keep a connection that nobody uses: a request must not meet a server that
# closes it.
KEEP_ALIVE_SECONDS = 75
# A worker that gives no sign for so long is ended; a slow machine needs some of it to start one.
START_SECONDS = 30
BACKLOG = 2048
MAX_FRAMING_BYTES = 64 * 1024

_log = structlog.stdlib.get_logger("app.server")


class CannotServe(Exception):
    """Why the service cannot be started, in one line for its operator."""


class BoundedProtocol(HttpToolsProtocol):
    """Ends a connection whose request holds more than 64 KB besides its body: head, framing of chunks, trailers.

    The parser keeps them for as long as they come, and no application could stop that. A request that offers another
    protocol, as Java's own client offers HTTP/2, would lose its body, too: such a connection is handed to the other
    parser, which goes on in HTTP/1.1 (RFC 9110 section 7.8).
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.ws_protocol_class = H11Protocol
        self._framing = 0
        self._data = b""

    def _should_upgrade(self) -> bool:
        return True

    def handle_websocket_upgrade(self) -> None:
        """Hand the request over, with what the parser has not read of it."""
        if self.cycle and not self.cycle.response_complete:
            self.transport.close()
            return
        parsed = cast(HttpParserUpgrade, sys.exc_info()[1]).args[0]
        super().handle_websocket_upgrade()
        # Nothing at all would tell the other parser that the connection has ended, and it would never stop to say so.
        if rest := self._data[parsed:]:
            cast(H11Protocol, self.transport.get_protocol()).data_received(rest)

    def data_received(self, data: bytes) -> None:
        """Read on, unless it has been too much."""
        self._framing += len(data)
        self._data = data
        super().data_received(data)
        self._data = b""
        if self._framing > MAX_FRAMING_BYTES and not self.transport.is_closing():
            self.transport.close()

    def on_body(self, body: bytes) -> None:
        """A piece of the body, whose size the application bounds."""
        self._framing -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The next request begins anew."""
        self._framing = 0
        super().on_message_complete()


class _Supervisor(Multiprocess):
    """Keeps the workers alive. When they are told to end, new connections are refused, not left to wait for nobody."""

    def terminate_all(self) -> None:
        for listener in self.sockets:
            listener.close()
        super().terminate_all()


def application() -> ASGIApp:
    """The service, as each process makes it for itself. Raises SettingsInvalid."""
    # Nothing of what is imported goes away again: to look for that took a fifth of the start.
    gc.disable()
    from app.main import from_environment

    app = from_environment()
    # What is there now stays: a full collection that walks over it holds every request up for 90 ms.
    gc.collect()
    gc.freeze()
    # And what a request makes is nearly all freed without the collector: looking for the rest at each 700th object took
    # an eighth of a request's time.
    gc.set_threshold(50_000, 20, 50)
    gc.enable()
    return app


def run(host: str, port: int, workers: int) -> None:
    """Serve until a signal ends it. Requests that are being answered then have 10 seconds. Raises CannotServe."""
    # The server raises the signal again once it has ended well, which would make that look like a failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    options: dict[str, Any] = {
        "app": "app.operator.server:application",
        "factory": True,
        "loop": "uvloop",
        "http": BoundedProtocol,
        "ws": "none",
        "lifespan": "on",
        "workers": workers,  # said even where it is one: the server would ask WEB_CONCURRENCY
        "backlog": BACKLOG,
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,  # nothing asks where a request came from
        "timeout_graceful_shutdown": GRACE_SECONDS,
        "timeout_keep_alive": KEEP_ALIVE_SECONDS,
        "timeout_worker_healthcheck": START_SECONDS,
    }
    config = uvicorn.Config(**options)
    with listener(host, port) as listening:
        _log.info("listening", address=f"http://{bracketed(host)}:{listening.getsockname()[1]}", workers=workers)
        if workers == 1:
            uvicorn.Server(config).run([listening])
            return
        with _folder_for_metrics() as folder:
            # Each worker finds the others' metrics there; the library looks at it when it is imported.
            os.environ[FOLDER] = folder
            _Supervisor(config, sockets=[listening]).run()


def listener(host: str, port: int) -> socket.socket:
    """A socket at the address, whose connections send each piece of an answer at once.

    `::` is every address of both families. Raises CannotServe.
    """
    bound = None
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        bound = socket.socket(family)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host != "::")
        bound.bind(address)
    except OSError as error:
        if bound:
            bound.close()
        raise CannotServe(f"cannot listen on {bracketed(host)}:{port}: {error.strerror}") from None
    # The event loop sees to that for sockets of its own alone. Elsewhere the second piece waits 40 ms for the first's
    # receipt.
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    bound.set_inheritable(True)
    return bound


def bracketed(host: str) -> str:
    """The host as it stands in an address (RFC 3986 section 3.2.2)."""
    return f"[{host}]" if ":" in host else host


@contextmanager
def _folder_for_metrics() -> Iterator[str]:
    try:
        folder = tempfile.TemporaryDirectory(prefix="idv-metrics-")
    except OSError:
        raise CannotServe(
            "several workers need a temporary folder to count together: make /tmp writable, or set TMPDIR"
        ) from None
    with folder as name:
        yield name
