"""Every fault of the transport at each of the provider's endpoints, and what a login then comes to.

Each login here is begun while the provider is well, and finished by a process that has asked the provider nothing yet:
so discovery, token endpoint, keys and userinfo are asked in this order, up to the one that is at fault. What a
verification comes to does not depend on the database, so one engine is enough.
"""

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
from starlette.responses import JSONResponse, Response, StreamingResponse

from tests.conftest import MakeService
from tests.harness.clock import Clock
from tests.harness.loopback import NO_TLS
from tests.harness.provider import CLIENT_SECRET, ProviderHost
from tests.harness.service import CLAIM, EMAIL, USER, Json, Service, gist
from tests.harness.tables import on_sqlite_only
from tests.harness.tampering import PATHS, TamperedProvider
from tests.harness.waiting import PATIENCE, until
from tests.harness.wire import (
    DROP_SECONDS,
    Call,
    Script,
    Wire,
    dripping,
    hang_up_at_once,
    keep_silent,
    pouring,
    reset_at_once,
    resetting,
    saying,
    self_signed,
)

pytestmark = on_sqlite_only

MIB = 1024 * 1024
LONGEST_TIMEOUT = 7.0
"""The most that HTTP_TIMEOUT_SECONDS may be."""

BackChannel = Literal["discovery", "token", "jwks", "userinfo"]
ORDER: tuple[BackChannel, ...] = ("discovery", "token", "jwks", "userinfo")
SPOKEN: dict[BackChannel, str] = {
    "discovery": "discovery",
    "token": "token endpoint",
    "jwks": "keys",
    "userinfo": "userinfo",
}
MEMBER: dict[BackChannel, str] = {"token": "token_endpoint", "jwks": "jwks_uri", "userinfo": "userinfo_endpoint"}

at_each_endpoint = pytest.mark.parametrize("endpoint", ORDER)


@dataclass(frozen=True)
class Login:
    """A login of a user who is verified, up to the callback; `before` is the decision that verified the user."""

    before: Json
    started: Json
    back: dict[str, str]

    async def finish(self, service: Service) -> httpx.Response:
        return await service.send_callback(USER, self.started, **self.back)


@pytest.fixture
async def login(make_service: MakeService, provider: TamperedProvider, clock: Clock) -> Login:
    service = await make_service()
    before = await service.verify(USER, email=EMAIL)
    assert gist(before) == ("continue", "verified")
    clock.advance(minutes=1)
    started = await service.start(USER, force=True)
    begun = Login(before, started, await service.visit(started))
    provider.asked.clear()
    return begun


def asked_up_to(endpoint: BackChannel) -> dict[str, int]:
    """Each endpoint once and in its turn, and no other path: never again, nowhere else."""
    return {PATHS[one]: 1 for one in ORDER[: ORDER.index(endpoint) + 1]}


async def assert_the_fault_is_an_outcome(service: Service, login: Login, endpoint: BackChannel, words: str) -> None:
    """The decision, what was stored, and that the same callback again gets the same answer."""
    response = await login.finish(service)
    assert response.status_code == 200
    for secret in (login.back["code"], CLIENT_SECRET):
        assert secret not in response.text
    if endpoint == "userinfo":
        await _assert_verified_without_userinfo(service, login, response.json())
    else:
        await _assert_unavailable(service, login, response.json(), f"{SPOKEN[endpoint]}: {words}")
    assert (await login.finish(service)).json() == response.json()


async def _assert_unavailable(service: Service, login: Login, decision: Json, detail: str) -> None:
    assert gist(decision) == ("continue", "provider_unavailable")
    assert decision["error"]["detail"].endswith(f"({detail})")
    assert decision["claims"] == {}
    attempt = await _attempt(service, login)
    assert (attempt["status"], attempt["error"]) == ("failed", decision["error"])
    # It says nothing about the person: what stood before stands.
    status = await service.status(USER)
    assert (status["verified"], status["claims"]) == (True, login.before["claims"])
    stored = {**login.before["app_metadata"], "incode_idv_error": f"provider_unavailable: {detail}"}
    assert status["app_metadata"] == stored


async def _assert_verified_without_userinfo(service: Service, login: Login, decision: Json) -> None:
    assert gist(decision) == ("continue", "verified")
    assert decision["claims"][CLAIM]["pii"] == login.before["claims"][CLAIM]["pii"]
    assert (await _attempt(service, login))["status"] == "completed"
    before, now = (one["app_metadata"]["incode_idv"] for one in (login.before, await service.status(USER)))
    assert now["userinfo"] == before["userinfo"]
    assert now["interview_id"] != before["interview_id"]


async def _attempt(service: Service, login: Login) -> Json:
    response = await service.admin.get(f"/v1/verifications/{login.started['verification']['id']}")
    assert response.status_code == 200
    attempt: Json = response.json()
    return attempt


async def assert_no_login_starts(service: Service, words: str) -> None:
    decision = await service.start("auth0|bob")
    assert gist(decision) == ("continue", "provider_unavailable")
    assert decision["error"]["detail"].endswith(f"(discovery: {words})")
    assert decision["verification"] is None


# --- Answers that a web server can give ---

Answer = Callable[[bytes], Response]


def as_json(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(body, status, headers, "application/json")


def labelled_as_text(body: bytes) -> Response:
    return Response(body, media_type="text/plain")


def compressed(body: bytes, *codings: str) -> Response:
    response = as_json(body)
    for coding in codings:
        response.headers.append("Content-Encoding", coding)
    return response


GZIP_BOMB = gzip.compress(bytes(16 * MIB), 1)
DEFLATE_BOMB = zlib.compress(bytes(16 * MIB), 1)

NOT_LABELLED, NO_OBJECT, COMPRESSED = "not labelled as JSON", "not a JSON object", "compressed though not asked to"
ANSWERS: dict[str, tuple[Answer, str]] = {
    "labelled as HTML": (lambda body: Response(body, media_type="text/html"), NOT_LABELLED),
    "labelled as JavaScript": (lambda body: Response(body, media_type="text/javascript"), NOT_LABELLED),
    "labelled as a form": (lambda body: Response(body, media_type="application/x-www-form-urlencoded"), NOT_LABELLED),
    "labelled as nearly JSON": (lambda body: Response(body, media_type="application/jsonp"), NOT_LABELLED),
    "labelled twice": (lambda body: Response(body, media_type="text/html, application/json"), NOT_LABELLED),
    "not labelled": (Response, NOT_LABELLED),
    "an array": (lambda body: as_json(b"[" + body + b"]"), NO_OBJECT),
    "an empty array": (lambda _: as_json(b"[]"), NO_OBJECT),
    "a string": (lambda _: as_json(b'"{}"'), NO_OBJECT),
    "a number": (lambda _: as_json(b"7"), NO_OBJECT),
    "true": (lambda _: as_json(b"true"), NO_OBJECT),
    "null": (lambda _: as_json(b"null"), NO_OBJECT),
    "nothing": (lambda _: as_json(b""), NO_OBJECT),
    "cut off": (lambda body: as_json(body[:-1]), NO_OBJECT),
    "two of them": (lambda body: as_json(body + body), NO_OBJECT),
    "a name twice": (lambda body: as_json(body[:-1] + b',"a":1,"a":2}'), NO_OBJECT),
    "NaN": (lambda body: as_json(body[:-1] + b',"a":NaN}'), NO_OBJECT),
    "not UTF-8": (lambda body: as_json(body[:-1] + b',"a":"\xff"}'), NO_OBJECT),
    "nested without end": (lambda body: as_json(body[:-1] + b',"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    NO_OBJECT),
    "a number without end": (lambda body: as_json(body[:-1] + b',"a":' + b"9" * 500_000 + b"}"), NO_OBJECT),
    "a byte over 1 MiB": (lambda body: as_json(body.ljust(MIB + 1)), "answer over 1 MiB"),
    "compressed": (lambda body: compressed(gzip.compress(body), "gzip"), COMPRESSED),
    "a bomb of gzip": (lambda _: compressed(GZIP_BOMB, "gzip"), COMPRESSED),
    "a bomb of deflate": (lambda _: compressed(DEFLATE_BOMB, "deflate"), COMPRESSED),
    "labelled as brotli": (lambda body: compressed(body, "br"), COMPRESSED),
    "labelled as zstd": (lambda body: compressed(body, "zstd"), COMPRESSED),
    "a bomb in a list": (lambda _: compressed(GZIP_BOMB, "identity, gzip"), COMPRESSED),
    "a bomb in a second header": (lambda _: compressed(GZIP_BOMB, "identity", "gzip"), COMPRESSED),
    "a bomb in capitals": (lambda _: compressed(GZIP_BOMB, "GZIP"), COMPRESSED),
    "a bomb that says identity": (lambda _: compressed(GZIP_BOMB, "identity"), NO_OBJECT),
    "HTTP 201": (lambda body: as_json(body, 201), "HTTP 201"),
    "HTTP 204": (lambda _: Response(status_code=204), "HTTP 204"),
    "HTTP 206": (lambda body: as_json(body, 206), "HTTP 206"),
    "HTTP 304": (lambda _: Response(status_code=304), "HTTP 304"),
    "HTTP 404": (lambda body: as_json(body, 404), "HTTP 404"),
    "HTTP 429": (lambda body: as_json(body, 429, {"Retry-After": "0"}), "HTTP 429"),
    "HTTP 500": (lambda body: as_json(body, 500), "HTTP 500"),
    "HTTP 503": (lambda body: as_json(body, 503, {"Retry-After": "0"}), "HTTP 503"),
}  # fmt: skip


@at_each_endpoint
@pytest.mark.parametrize(("answer", "words"), ANSWERS.values(), ids=ANSWERS)
async def test_an_answer_that_is_none(
    make_service: MakeService,
    provider: TamperedProvider,
    login: Login,
    endpoint: BackChannel,
    answer: Answer,
    words: str,
) -> None:
    service = await make_service()
    provider.rewrite(endpoint, answer)

    await assert_the_fault_is_an_outcome(service, login, endpoint, words)

    assert provider.asked == asked_up_to(endpoint)
    if endpoint == "discovery":
        await assert_no_login_starts(service, words)


@pytest.mark.parametrize("endpoint", [one for one in ORDER if one != "jwks"])
async def test_text_is_no_answer(
    make_service: MakeService, provider: TamperedProvider, login: Login, endpoint: BackChannel
) -> None:
    service = await make_service()
    provider.rewrite(endpoint, labelled_as_text)
    await assert_the_fault_is_an_outcome(service, login, endpoint, NOT_LABELLED)


async def test_a_key_set_that_is_labelled_as_text_is_one(service: Service, provider: TamperedProvider) -> None:
    provider.rewrite("jwks", labelled_as_text)
    assert gist(await service.verify(USER)) == ("continue", "verified")


FINE: dict[str, Answer] = {
    "1 MiB": lambda body: as_json(body.ljust(MIB)),
    "with a charset": lambda body: Response(body, media_type="application/json; charset=UTF-8"),
    "labelled as some kind of JSON": lambda body: Response(body, media_type="Application/Something+JSON"),
    "not compressed, and saying so": lambda body: compressed(body, "Identity"),
}


@pytest.mark.parametrize("answer", FINE.values(), ids=FINE)
async def test_an_unusual_answer_that_is_fine(service: Service, provider: TamperedProvider, answer: Answer) -> None:
    for endpoint in ORDER:
        provider.rewrite(endpoint, answer)

    decision = await service.verify(USER, email=EMAIL)

    assert gist(decision) == ("continue", "verified")
    assert decision["claims"][CLAIM]["pii"]["email"] == EMAIL


ERRORS_WITH_200: dict[BackChannel, tuple[str, str | None]] = {
    "discovery": ("provider_unavailable", "discovery: another issuer than the configured one"),
    "token": ("token_exchange_failed", None),
    "jwks": ("provider_unavailable", "keys: not a key set"),
    "userinfo": ("verified", None),
}


@at_each_endpoint
async def test_an_error_with_200_is_no_answer_either(
    make_service: MakeService, provider: TamperedProvider, login: Login, endpoint: BackChannel
) -> None:
    provider.replace(endpoint, JSONResponse({"error": "server_error", "error_description": "SECRET-OF-THE-PROVIDER"}))

    response = await login.finish(await make_service())

    reason, detail = ERRORS_WITH_200[endpoint]
    assert gist(response.json()) == ("continue", reason)
    assert detail is None or response.json()["error"]["detail"].endswith(f"({detail})")
    assert "SECRET-OF-THE-PROVIDER" not in response.text
    assert provider.asked == asked_up_to(endpoint)


# --- Redirects ---


@at_each_endpoint
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(
    make_service: MakeService, provider: TamperedProvider, login: Login, endpoint: BackChannel, status: int
) -> None:
    service = await make_service()
    async with Wire(saying(b"HTTP/1.1 200 OK\r\n\r\n")).listening() as elsewhere:
        provider.rewrite(endpoint, lambda body: as_json(body, status, {"Location": f"{elsewhere.url}/elsewhere"}))
        await assert_the_fault_is_an_outcome(service, login, endpoint, f"HTTP {status}")

    assert elsewhere.opened == 0
    assert provider.asked == asked_up_to(endpoint)


@at_each_endpoint
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_to_the_same_server_is_not_followed(
    make_service: MakeService, provider: TamperedProvider, login: Login, endpoint: BackChannel, status: int
) -> None:
    service = await make_service()
    provider.rewrite(
        endpoint, lambda body: as_json(body, status, {"Location": "/elsewhere", "Refresh": "0; url=/elsewhere"})
    )

    await assert_the_fault_is_an_outcome(service, login, endpoint, f"HTTP {status}")

    assert provider.asked == asked_up_to(endpoint)


# --- Answers that only a broken server gives ---

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
LARGE = HEAD + b"Content-Length: 1000000000000\r\n\r\n"
CLOSED, NOT_HTTP = "the connection was closed", "not an HTTP answer"
LATE, OVERSIZED = "no answer in time", "answer over 1 MiB"


async def _hang_up_after_the_request(call: Call) -> None:
    await call.hear()


ENDLESS: dict[str, Script] = {
    "keeping silent": keep_silent,
    "a body drop by drop": dripping(LARGE, b" "),
    "a chunked body drop by drop": dripping(CHUNKED, b"1\r\n \r\n"),
    "a body of no stated length drop by drop": dripping(HEAD + b"\r\n", b" "),
    "a status line drop by drop": dripping(b"HTTP/1.1 200 ", b"O"),
    "headers drop by drop": dripping(HEAD, b"X: y\r\n"),
    "one header drop by drop": dripping(HEAD + b"X: ", b"y"),
    "trailers drop by drop": dripping(CHUNKED + b"2\r\n{}\r\n0\r\n", b"X: y\r\n"),
    "informational answers drop by drop": dripping(b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
}
BROKEN: dict[str, tuple[Script, str]] = {
    "a body without end": (pouring(HEAD + b"\r\n", b" " * 32768), OVERSIZED),
    "a chunked body without end": (pouring(CHUNKED, b"8000\r\n" + b" " * 0x8000 + b"\r\n"), OVERSIZED),
    "small chunks without end": (pouring(CHUNKED, (b"20\r\n" + b" " * 0x20 + b"\r\n") * 1000), OVERSIZED),
    "a body of a terabyte": (pouring(LARGE, b" " * 32768), OVERSIZED),
    "a header without end": (pouring(HEAD + b"X: ", b"y" * 32768), NOT_HTTP),
    "headers without end": (pouring(HEAD, b"X: y\r\n" * 1000), NOT_HTTP),
    "a chunk size without end": (pouring(CHUNKED, b"0" * 32768), NOT_HTTP),
    "trailers without end": (pouring(CHUNKED + b"2\r\n{}\r\n0\r\n", b"X: y\r\n" * 1000), NOT_HTTP),
    "informational answers in a gush": (pouring(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100), NOT_HTTP),
    "a body shorter than stated": (saying(HEAD + b"Content-Length: 3\r\n\r\n{}"), CLOSED),
    "a chunk cut off": (saying(CHUNKED + b"10\r\n{}"), CLOSED),
    "no last chunk": (saying(CHUNKED + b"2\r\n{}\r\n"), CLOSED),
    "headers cut off": (saying(HEAD), CLOSED),
    "hanging up at once": (hang_up_at_once, CLOSED),
    "hanging up after the request": (_hang_up_after_the_request, CLOSED),
    "a reset at once": (reset_at_once, CLOSED),
    "a reset after the request": (resetting(b""), CLOSED),
    "a reset in the headers": (resetting(HEAD), CLOSED),
    "a reset in the body": (resetting(LARGE + b"{"), CLOSED),
    "no HTTP": (saying(b"SSH-2.0-OpenSSH_9.7\r\n"), NOT_HTTP),
    "zeros": (saying(bytes(1000)), NOT_HTTP),
    "HTTP 0.9": (saying(b'{"keys": []}'), NOT_HTTP),
    "HTTP 2": (saying(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00"), NOT_HTTP),
    "two lengths": (saying(HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} "), NOT_HTTP),
    "a negative length": (saying(HEAD + b"Content-Length: -2\r\n\r\n{}"), NOT_HTTP),
    "a compressed transfer": (saying(HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), NOT_HTTP),
    "a header of no name": (saying(HEAD + b": x\r\n\r\n{}"), NOT_HTTP),
    "another protocol": (saying(b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"), NOT_HTTP),
}  # fmt: skip


async def service_with(
    make_service: MakeService,
    provider: TamperedProvider,
    host: ProviderHost,
    endpoint: BackChannel,
    wire: Wire,
    **settings: Any,
) -> Service:
    """A service that finds one of the provider's endpoints at `wire`."""
    if endpoint == "discovery":
        return await make_service(incode_server_url=wire.url, incode_issuer=host.url, **settings)
    provider.alter("discovery", lambda document: {**document, MEMBER[endpoint]: f"{wire.url}/{endpoint}"})
    return await make_service(**settings)


async def assert_asked_once(provider: TamperedProvider, endpoint: BackChannel, wire: Wire) -> None:
    """The provider up to the endpoint, the endpoint once, and that nothing of it stays open."""
    assert wire.opened == 1
    assert provider.asked == {path: n for path, n in asked_up_to(endpoint).items() if path != PATHS[endpoint]}
    await until(lambda: wire.ended == wire.opened)


@at_each_endpoint
@pytest.mark.parametrize(("script", "words"), BROKEN.values(), ids=BROKEN)
async def test_a_connection_that_breaks(
    make_service: MakeService,
    provider_host: ProviderHost,
    provider: TamperedProvider,
    login: Login,
    endpoint: BackChannel,
    script: Script,
    words: str,
) -> None:
    async with Wire(script).listening() as wire:
        service = await service_with(
            make_service, provider, provider_host, endpoint, wire, http_timeout_seconds=LONGEST_TIMEOUT
        )
        await assert_the_fault_is_an_outcome(service, login, endpoint, words)
        await assert_asked_once(provider, endpoint, wire)
        if endpoint == "discovery":
            await assert_no_login_starts(service, words)


@at_each_endpoint
@pytest.mark.parametrize("script", ENDLESS.values(), ids=ENDLESS)
async def test_an_answer_without_end_is_given_up(
    make_service: MakeService,
    provider_host: ProviderHost,
    provider: TamperedProvider,
    login: Login,
    endpoint: BackChannel,
    script: Script,
) -> None:
    # Nothing but our own time-out can end this.
    async with Wire(script).listening() as wire:
        service = await service_with(make_service, provider, provider_host, endpoint, wire, http_timeout_seconds=1.0)
        await assert_the_fault_is_an_outcome(service, login, endpoint, LATE)
        await assert_asked_once(provider, endpoint, wire)


# --- TLS ---


async def _answer_in_plain_text(call: Call) -> None:
    await call.say(HEAD + b"Content-Length: 2\r\n\r\n{}")
    await call.hear_nothing_more()


HANDSHAKES: dict[str, tuple[Script, str]] = {
    "one without end": (keep_silent, "no connection in time"),
    "an answer in plain text": (_answer_in_plain_text, "the port does not speak TLS"),
    "hanging up": (hang_up_at_once, CLOSED),
    "a reset": (reset_at_once, CLOSED),
}


@at_each_endpoint
@pytest.mark.parametrize(("script", "words"), HANDSHAKES.values(), ids=HANDSHAKES)
async def test_a_tls_handshake_that_fails(
    make_service: MakeService,
    provider_host: ProviderHost,
    provider: TamperedProvider,
    login: Login,
    endpoint: BackChannel,
    script: Script,
    words: str,
) -> None:
    async with Wire(script).listening() as wire:
        wire.url = wire.url.replace("http:", "https:")
        service = await service_with(make_service, provider, provider_host, endpoint, wire, http_timeout_seconds=1.0)
        await assert_the_fault_is_an_outcome(service, login, endpoint, words)
        await assert_asked_once(provider, endpoint, wire)


@at_each_endpoint
async def test_a_certificate_that_nobody_vouches_for_hears_nothing(
    make_service: MakeService,
    provider_host: ProviderHost,
    provider: TamperedProvider,
    login: Login,
    endpoint: BackChannel,
    tmp_path: Path,
) -> None:
    async with (
        Wire(saying(b"HTTP/1.1 200 OK\r\n\r\n")).listening() as elsewhere,
        Wire(saying(b"HTTP/1.1 307 Temporary\r\nLocation: " + elsewhere.url.encode() + b"\r\n\r\n")).listening(
            self_signed(tmp_path)
        ) as wire,
    ):
        service = await service_with(make_service, provider, provider_host, endpoint, wire)
        await assert_the_fault_is_an_outcome(service, login, endpoint, "the certificate is not trusted")
        assert (wire.requests, elsewhere.opened) == ([], 0)


async def test_a_certificate_that_the_machine_trusts_is_heard(
    make_service: MakeService,
    provider_host: ProviderHost,
    provider: TamperedProvider,
    login: Login,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with Wire(saying(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")).listening(self_signed(tmp_path)) as wire:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
        service = await service_with(make_service, provider, provider_host, "token", wire)
        await assert_the_fault_is_an_outcome(service, login, "token", "HTTP 503")
        await assert_asked_once(provider, "token", wire)


# --- The limit of the whole callback ---


def after(drops: int) -> Answer:
    """The same answer, after so many drops of white space."""

    def answer(body: bytes) -> Response:
        async def stream() -> AsyncIterator[bytes]:
            for _ in range(drops):
                yield b" "
                await asyncio.sleep(DROP_SECONDS)
            yield body

        return StreamingResponse(stream(), media_type="application/json")

    return answer


async def test_slow_tokens_and_keys_without_end_end_with_the_whole_callback(
    make_service: MakeService, provider_host: ProviderHost, provider: TamperedProvider, login: Login
) -> None:
    provider.rewrite("token", after(40))
    async with Wire(dripping(LARGE, b" ")).listening() as wire:
        service = await service_with(
            make_service, provider, provider_host, "jwks", wire, http_timeout_seconds=LONGEST_TIMEOUT
        )
        decision = (await login.finish(service)).json()

        # The keys' own time-out, which would have named them, came too late.
        assert decision["error"]["detail"].endswith("(no answer in time)")
        assert (provider.asked_at("token"), wire.opened, provider.asked_at("userinfo")) == (1, 1, 0)
        # The fetch is not any callback's: it goes on, and ends by its own limit.
        await until(lambda: wire.ended == 1)


async def test_slow_tokens_and_userinfo_without_end_end_with_the_whole_callback(
    make_service: MakeService, provider_host: ProviderHost, provider: TamperedProvider, login: Login
) -> None:
    drops = 80
    provider.rewrite("token", after(drops))
    async with Wire(dripping(LARGE, b" ")).listening() as wire:
        service = await service_with(
            make_service, provider, provider_host, "userinfo", wire, http_timeout_seconds=LONGEST_TIMEOUT
        )
        loop = asyncio.get_running_loop()
        began = loop.time()
        decision = (await login.finish(service)).json()
        # Userinfo's own time-out begins when the tokens are there: an end before it is the whole callback's.
        assert loop.time() - began < drops * DROP_SECONDS + LONGEST_TIMEOUT
        assert gist(decision) == ("continue", "verified")
        await assert_asked_once(provider, "userinfo", wire)


async def test_discovery_without_end_is_waited_for_once_where_the_response_names_no_issuer(
    make_service: MakeService, provider_host: ProviderHost, provider: TamperedProvider, login: Login
) -> None:
    del login.back["iss"]
    async with Wire(dripping(LARGE, b" ")).listening() as wire:
        service = await service_with(
            make_service, provider, provider_host, "discovery", wire, http_timeout_seconds=LONGEST_TIMEOUT
        )
        await assert_the_fault_is_an_outcome(service, login, "discovery", LATE)
        await assert_asked_once(provider, "discovery", wire)


# --- What one call leaves for the next ---


async def test_after_fifty_callbacks_that_were_given_up_the_next_is_verified(
    make_service: MakeService, provider: TamperedProvider
) -> None:
    service = await make_service(http_timeout_seconds=1.0, attempt_limit=0)
    provider.rewrite("token", after(1_000_000))
    for _ in range(5):
        attempts = [await service.start(USER) for _ in range(10)]
        visits = [await service.visit(one) for one in attempts]
        callbacks = (service.finish(USER, one, **back) for one, back in zip(attempts, visits, strict=True))
        assert {gist(decision) for decision in await asyncio.gather(*callbacks)} == {
            ("continue", "provider_unavailable")
        }

    provider.rewrite("token", as_json)
    assert gist(await service.verify(USER)) == ("continue", "verified")


async def test_bytes_after_an_answer_are_not_the_next_answer(
    make_service: MakeService, provider_host: ProviderHost, provider: TamperedProvider, login: Login
) -> None:
    async with httpx.AsyncClient(base_url=provider_host.url, timeout=PATIENCE, verify=NO_TLS) as client:
        document = (await client.get(PATHS["discovery"])).json()
        keys = (await client.get(PATHS["jwks"])).content

    def whole(body: bytes) -> bytes:
        return HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body

    async def split(call: Call) -> None:
        while True:
            about_keys = PATHS["jwks"].encode() in await call.hear()
            discovery = json.dumps({**document, "jwks_uri": wire.url + PATHS["jwks"]}).encode()
            await call.say(whole(keys) if about_keys else whole(discovery) + whole(b'{"keys": []}'))

    async with Wire(split).listening() as wire:
        service = await service_with(make_service, provider, provider_host, "discovery", wire)
        assert gist((await login.finish(service)).json()) == ("continue", "verified")
        assert len(wire.requests) == wire.opened == 2


async def test_a_cookie_of_the_provider_is_not_sent_back(
    make_service: MakeService, provider_host: ProviderHost, provider: TamperedProvider
) -> None:
    answer = b"HTTP/1.1 503 Service Unavailable\r\nSet-Cookie: session=of-ana; Path=/\r\n\r\n"
    async with Wire(saying(answer)).listening() as wire:
        service = await service_with(make_service, provider, provider_host, "userinfo", wire)
        for user in (USER, "auth0|bob"):
            assert gist(await service.verify(user)) == ("continue", "verified")

    assert len(wire.requests) == 2
    assert not any(b"cookie" in request.lower() for request in wire.requests)
