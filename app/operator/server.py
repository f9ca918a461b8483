"""Serving the application, from one process or from several."""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
from typing import Any

import uvicorn
from uvicorn.supervisors import Multiprocess

from app.telemetry.metrics import FOLDER

GRACE_SECONDS = 10
# Longer than load balancers and clients keep a connection that nobody uses: a request must not meet a server that closes it.
KEEP_ALIVE_SECONDS = 75


class _Supervisor(Multiprocess):
    """Keeps the workers alive. When they are told to end, new connections are refused, not left to wait for nobody."""

    def terminate_all(self) -> None:
        for listener in self.sockets:
            listener.close()
        super().terminate_all()


def run(host: str, port: int, workers: int) -> None:
    """Serve until a signal ends it. Requests that are being answered then have 10 seconds."""
    # The server raises the signal again once it has ended well, which would make that look like a failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    options: dict[str, Any] = {
        "app": "app.main:from_environment",
        "factory": True,
        "host": host,
        "port": port,
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "timeout_graceful_shutdown": GRACE_SECONDS,
        "timeout_keep_alive": KEEP_ALIVE_SECONDS,
    }
    if workers == 1:
        # Said, lest WEB_CONCURRENCY be asked.
        uvicorn.run(**options, workers=1)
        return
    config = uvicorn.Config(**options, workers=workers)
    with tempfile.TemporaryDirectory(prefix="idv-metrics-") as folder:
        # Each worker finds the others' metrics there; the library looks at it when it is imported.
        os.environ[FOLDER] = folder
        _Supervisor(config, sockets=[shared_listener(config)]).run()


def shared_listener(config: uvicorn.Config) -> socket.socket:
    """A socket for several workers, whose connections send each piece of an answer at once."""
    listener = config.bind_socket()
    # The event loop sees to that for sockets of its own alone. Elsewhere the second piece waits 40 ms for the first's receipt.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
