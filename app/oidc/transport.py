"""An httpx transport that keeps at most one connection (decision 0021).

It belongs to one conversation with the provider.
"""

from __future__ import annotations

import asyncio
from typing import cast

import httptools
import httpx

from app.oidc.trust import tls_context

MAX_BODY_BYTES = 1024 * 1024
# Status lines, headers, chunk sizes, trailers, informational answers: a gush of them would keep the event loop busy for
# seconds. A megabyte in the smallest chunks that anybody sends stays below it.
MAX_FRAMING_BYTES = 256 * 1024


class Unanswered(httpx.RemoteProtocolError):
    """The other side hung up before a byte of its answer came."""


class OneConnection(httpx.AsyncBaseTransport):
    """Opens a connection when it is prepared for or needed, and uses it again for the same origin alone.

    A body is read until it is over MAX_BODY_BYTES, and not to its end.
    """

    def __init__(self) -> None:
        self._origin: tuple[str, bytes, int | None] | None = None
        self._opening: asyncio.Task[_Connection] | None = None

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection that only waits for an answer."""
        return self._opening is not None and self._opening.done() and not self._opening.cancelled()

    def prepare(self, url: httpx.URL) -> asyncio.Task[_Connection]:
        """Begin to open a connection for `url`. Whether that succeeds is told by the first request."""
        self._close()
        self._origin = url.scheme, url.raw_host, url.port
        self._opening = asyncio.create_task(self._open(url))
        # Take note of a failure that nobody may come to wait for; asyncio would write it to the log as a bug.
        self._opening.add_done_callback(lambda done: done.cancelled() or done.exception())
        return self._opening

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request once.

        Raises OSError while connecting, and httpx.RemoteProtocolError for an answer that is none.
        """
        url, opening = request.url, self._opening
        if opening is None or self._origin != (url.scheme, url.raw_host, url.port) or not (await opening).is_usable:
            opening = self.prepare(url)
        connection = await opening
        try:
            return await connection.exchange(request)
        except Unanswered:
            # RFC 9112 section 9.3.1: a server may close a used connection at any time. Reading may be repeated, a code
            # may not.
            if connection.exchanges == 1 or request.method != "GET":
                raise
        return await (await self.prepare(url)).exchange(request)

    async def aclose(self) -> None:
        """Close what is open or being opened."""
        self._close()

    async def _open(self, url: httpx.URL) -> _Connection:
        # As it is written: `xn--strae-oqa.de`, decoded, would be looked up and verified as `strasse.de`.
        encrypted, host = url.scheme == "https", url.raw_host.decode("ascii")
        _, connection = await asyncio.get_running_loop().create_connection(
            _Connection,
            host,
            url.port or (443 if encrypted else 80),
            ssl=tls_context() if encrypted else None,
            server_hostname=host if encrypted else None,
            ssl_shutdown_timeout=1.0 if encrypted else None,
        )
        return connection

    def _close(self) -> None:
        opening, self._opening = self._opening, None
        if opening and not opening.cancel() and not opening.cancelled() and not opening.exception():
            opening.result().stream.close()


class _Connection(asyncio.Protocol):
    """One HTTP/1.1 connection. Bytes that no request asked for make it unusable: they must not be read as an answer."""

    stream: asyncio.Transport

    def __init__(self) -> None:
        self._answer: asyncio.Future[httpx.Response] = asyncio.get_running_loop().create_future()
        self.is_usable, self.exchanges = True, 0

    async def exchange(self, request: httpx.Request) -> httpx.Response:
        """Send a request and read its whole answer. Given up, it takes the connection with it."""
        self.exchanges += 1
        if not self.is_usable:
            raise Unanswered("closed before it was used")
        self._parser, self._answer = httptools.HttpResponseParser(self), asyncio.get_running_loop().create_future()
        self._framing_bytes = 0
        self._expect()
        try:
            self.stream.write(_wire_format(request))
            return await self._answer
        except BaseException:
            self.stream.abort()
            raise

    def _expect(self) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._body, self._ends_with_the_connection = bytearray(), False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.stream = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self.exchanges == 0 or self._answer.done():
            return self._settle(None)
        self._framing_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._settle(httpx.RemoteProtocolError("not HTTP"))
        if self._framing_bytes > MAX_FRAMING_BYTES:
            self._settle(httpx.RemoteProtocolError("framing without end"))
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        if self.exchanges == 0:
            return self._settle(None)
        if exc is None and self._ends_with_the_connection:
            self.on_message_complete()
        return self._settle(httpx.ReadError("closed") if self._framing_bytes else Unanswered("closed"))

    def on_message_begin(self) -> None:
        self.is_usable = self.is_usable and not self._answer.done()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        headers = httpx.Headers(self._headers)
        coding = headers.get("Transfer-Encoding")
        self._ends_with_the_connection = coding is None and "Content-Length" not in headers
        if coding is not None and coding.lower() != "chunked":
            self._settle(httpx.RemoteProtocolError("a transfer coding that nobody asked for"))

    def on_body(self, body: bytes) -> None:
        self._framing_bytes -= len(body)
        self._body += body
        if len(self._body) > MAX_BODY_BYTES:
            self.on_message_complete()
            self._settle(None)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            return self._expect()
        self.is_usable = self.is_usable and self._parser.should_keep_alive()
        if not self._answer.done():
            self._answer.set_result(
                httpx.Response(status, headers=self._headers, stream=httpx.ByteStream(bytes(self._body)))
            )
        return None

    def _settle(self, error: Exception | None) -> None:
        """Nothing more is to come on this connection."""
        self.is_usable = False
        if error and not self._answer.done():
            self._answer.set_exception(error)
        self.stream.abort()


def _wire_format(request: httpx.Request) -> bytes:
    lines = [b"%b %b HTTP/1.1" % (request.method.encode("ascii"), request.url.raw_path)]
    lines += [b"%b: %b" % header for header in request.headers.raw]
    if any(b"\r" in line or b"\n" in line for line in lines):
        raise httpx.LocalProtocolError("a line break in a header")
    return b"\r\n".join([*lines, b"", request.content])
