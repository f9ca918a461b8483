"""Each cause of a failed connection by its own words, from what really fails."""

import asyncio
import datetime
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import NoReturn

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from app.oidc import Endpoint, ProviderUnavailable, Reason
from app.oidc.http import Client
from tests.harness.waiting import until
from tests.harness.wire import Call, Script, Wire, hang_up_at_once, keep_silent, saying, self_signed

ENVIRONMENT = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
DAY = datetime.timedelta(days=1)


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


async def cause(url: str, seconds: float = 10.0) -> Reason:
    with pytest.raises(ProviderUnavailable) as failed:
        await Client(request_seconds=seconds).get(url, Endpoint.DISCOVERY)
    assert str(failed.value) == f"discovery: {failed.value.reason}"
    return failed.value.reason


@asynccontextmanager
async def listening(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[Wire]:
    """A server on which, in the end, no connection is open."""
    async with Wire(script).listening(tls) as wire:
        yield wire
        await until(lambda: wire.ended == wire.opened)


@contextmanager
def port_that_nobody_listens_at() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def certificate(folder: Path, *, address: str, days: int) -> ssl.SSLContext:
    """TLS with a certificate for an address that ends in so many days; it stays in `folder`, as certificate.pem."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - 9 * DAY)
        .not_valid_after(now + days * DAY)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "certificate.pem").write_bytes(signed.public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return context


async def test_a_name_that_nobody_knows() -> None:
    assert await cause("https://provider.invalid/") is Reason.NAME_UNKNOWN


def test_an_international_name_is_looked_up_as_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoded, it would be straße.example, which the event loop looks up as strasse.example: somebody else's."""
    asked = []

    def look_up(host: str, *_: object, **__: object) -> NoReturn:
        asked.append(host)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert asyncio.run(cause("https://xn--strae-oqa.example/")) is Reason.NAME_UNKNOWN
    assert asked == ["xn--strae-oqa.example"]


async def test_a_port_that_nobody_listens_at() -> None:
    with port_that_nobody_listens_at() as port:
        for host in ("127.0.0.1", "localhost"):
            assert await cause(f"http://{host}:{port}/") is Reason.REFUSED


async def test_a_server_that_hangs_up_is_silent_or_speaks_another_protocol() -> None:
    async with listening(hang_up_at_once) as wire:
        assert await cause(wire.url) is Reason.CLOSED
    async with listening(saying(b"SSH-2.0-OpenSSH_9.7\r\n")) as wire:
        assert await cause(wire.url) is Reason.NOT_HTTP
    async with listening(keep_silent) as wire:
        assert await cause(wire.url, 0.5) is Reason.LATE
        assert await cause(wire.url.replace("http:", "https:"), 0.5) is Reason.CONNECTION_LATE


async def test_a_port_without_tls() -> None:
    async def speak(call: Call) -> None:
        await call.say(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await call.hear_nothing_more()

    async with listening(speak) as wire:
        assert await cause(wire.url.replace("http:", "https:")) is Reason.NO_TLS


async def test_a_certificate_that_nobody_vouches_for(tmp_path: Path) -> None:
    async with listening(keep_silent, self_signed(tmp_path)) as wire:
        assert await cause(wire.url) is Reason.CERTIFICATE_UNTRUSTED
        assert wire.requests == []


@pytest.mark.parametrize(
    ("address", "days", "reason"),
    [("127.0.0.1", -1, Reason.CERTIFICATE_EXPIRED), ("127.0.0.2", 1, Reason.CERTIFICATE_OF_ANOTHER)],
)
async def test_a_certificate_that_is_trusted_and_does_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, days: int, reason: Reason
) -> None:
    async with listening(keep_silent, certificate(tmp_path, address=address, days=days)) as wire:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
        assert await cause(wire.url) is reason
        assert wire.requests == []


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
async def test_trusted_certificates_that_are_not_there(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "/nowhere/at-all")
    assert await cause("https://127.0.0.1:9/") is Reason.TRUST_STORE


async def test_a_file_of_trusted_certificates_that_holds_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty.pem").write_text("no certificate")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "empty.pem"))
    assert await cause("https://127.0.0.1:9/") is Reason.TRUST_STORE


async def test_a_proxy_that_is_away_and_one_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    with port_that_nobody_listens_at() as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        assert await cause("https://provider.example/") is Reason.PROXY_AWAY
    async with listening(saying(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        assert await cause("https://provider.example/") is Reason.PROXY_REFUSED
        assert proxy.requests[0].startswith(b"CONNECT provider.example:443")


@pytest.mark.parametrize(
    "proxy",
    [
        "socks5://u:SECRET@127.0.0.1:1080",
        "ftp://u:SECRET@x",
        "http://u:SECRET@[::1",
        "http://u:SECRET@x:port",
        "http://",
    ],
)
async def test_a_proxy_that_cannot_be_used_stops_no_constructor_and_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(ProviderUnavailable) as failed:
        await Client(request_seconds=10.0).get("https://provider.example/", Endpoint.DISCOVERY)
    assert failed.value.reason in {Reason.PROXY_UNUSABLE, Reason.PROXY_AWAY}
    assert "SECRET" not in str(failed.value)
    assert failed.value.__cause__ is None


@pytest.mark.parametrize("exempt", ["127.0.0.1", "127.0.0.1,::1,[::1],fe80::/10", "*", "localhost, 127.0.0.1"])
async def test_an_exempted_host_is_asked_directly(monkeypatch: pytest.MonkeyPatch, exempt: str) -> None:
    with port_that_nobody_listens_at() as port:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("NO_PROXY", exempt)
        async with listening(saying(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{}")) as wire:
            assert await Client(request_seconds=10.0).get_json(wire.url, Endpoint.DISCOVERY) == {}


async def test_what_a_proxy_brings_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening(saying(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{}")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.removeprefix("http://"))
        assert await Client(request_seconds=10.0).get_json("http://provider.example/x", Endpoint.DISCOVERY) == {}
        assert proxy.requests[0].startswith(b"GET http://provider.example/x ")
