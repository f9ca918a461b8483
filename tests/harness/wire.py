import asyncio
import contextlib
import ipaddress
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

DROP_SECONDS = 0.05


class Call:
    """One connection that somebody made to us, as a script sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, requests: list[bytes]) -> None:
        self._reader = reader
        self._writer = writer
        self._requests = requests

    async def hear(self) -> bytes:
        """One request, head and body; raises IncompleteReadError when none comes."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = next((line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b"0")
        request = head + await self._reader.readexactly(int(length))
        self._requests.append(request)
        return request

    async def hear_nothing_more(self) -> None:
        """Wait until the other end is gone."""
        while await self._reader.read(1024):
            pass

    async def say(self, words: bytes) -> None:
        self._writer.write(words)
        await self._writer.drain()

    def reset(self) -> None:
        """Hang up with a TCP reset, not with a farewell."""
        connection = self._writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


Script = Callable[[Call], Awaitable[None]]


class Wire:
    """A server below HTTP: what it says on a connection is up to a script, byte by byte.

    `requests` holds what it heard. `opened` and `ended` count its connections; one whose script says things without end
    is ended only when the other end hangs up.
    """

    def __init__(self, script: Script) -> None:
        self.requests: list[bytes] = []
        self.opened = 0
        self.ended = 0
        self.url = ""
        self._script = script
        self._connections: list[asyncio.WriteTransport] = []

    @contextlib.asynccontextmanager
    async def listening(self, tls: ssl.SSLContext | None = None) -> AsyncIterator["Wire"]:
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0, ssl=tls)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server:
            try:
                yield self
            finally:
                # uvloop's server waits for them, and its loop would never close: a test that fails must end.
                for connection in self._connections:
                    connection.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        self._connections.append(writer.transport)
        # A RuntimeError is what uvloop raises for a connection that is gone.
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, RuntimeError):
            await self._script(Call(reader, writer, self.requests))
        writer.close()
        self.ended += 1


def saying(words: bytes) -> Script:
    """Say this and hang up."""

    async def script(call: Call) -> None:
        await call.hear()
        await call.say(words)

    return script


def dripping(words: bytes, drop: bytes) -> Script:
    """Say this, and then a drop at a time, without end."""

    async def script(call: Call) -> None:
        await call.hear()
        await call.say(words)
        while True:
            await asyncio.sleep(DROP_SECONDS)
            await call.say(drop)

    return script


def pouring(words: bytes, gush: bytes) -> Script:
    """Say this, and then the same again and again, as fast as anybody listens, without end."""

    async def script(call: Call) -> None:
        await call.hear()
        await call.say(words)
        while True:
            await call.say(gush)

    return script


def resetting(words: bytes) -> Script:
    """Say this and reset the connection."""

    async def script(call: Call) -> None:
        await call.hear()
        await call.say(words)
        call.reset()

    return script


async def reset_at_once(call: Call) -> None:
    """Reset the connection before anything was heard."""
    call.reset()


async def hang_up_at_once(_: Call) -> None:
    """Hang up before anything was heard."""


async def keep_silent(call: Call) -> None:
    """Take everything and say nothing."""
    await call.hear_nothing_more()


def self_signed(folder: Path) -> ssl.SSLContext:
    """TLS for 127.0.0.1 with a certificate that nobody trusts; the certificate stays in `folder`, as
    certificate.pem.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "key.pem").write_bytes(private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return context
