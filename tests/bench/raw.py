"""The yardstick: an answer of 400 bytes, by the same web server and nothing else."""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

BODY = b'{"raw":"' + b"x" * 390 + b'"}'
_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())],
}
_END = {"type": "http.response.body", "body": BODY}


async def app(scope: Scope, _receive: Receive, send: Send) -> None:
    """The same answer to every request."""
    if scope["type"] != "http":
        raise RuntimeError("nothing is to be done at the start")
    await send(_START)
    await send(_END)
