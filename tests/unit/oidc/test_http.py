import asyncio

import pytest

from app.oidc import Endpoint, ProviderUnavailable
from app.oidc.http import MAX_CALLS, Client
from tests.harness.waiting import until
from tests.harness.wire import Call, Script, Wire, dripping, keep_silent, pouring, saying

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
PATIENT = 10.0
# Each with how long a call waits: for the time to give up where nothing else ends it, else for the reason to.
BROKEN: dict[str, tuple[Script, str, float]] = {
    "silent": (keep_silent, "http", 1.0),
    "silent in the TLS handshake": (keep_silent, "https", 1.0),
    "dripping": (dripping(HEAD + b"\r\n", b" "), "http", 1.0),
    "pouring": (pouring(HEAD + b"\r\n", b" " * 32768), "http", PATIENT),
    "compressed": (pouring(HEAD + b"Content-Encoding: gzip\r\n\r\n", b" " * 32768), "http", PATIENT),
}


@pytest.mark.parametrize(("script", "scheme", "seconds"), BROKEN.values(), ids=BROKEN)
async def test_calls_that_were_given_up_leave_every_place_free(script: Script, scheme: str, seconds: float) -> None:
    async with (
        Wire(script).listening() as broken,
        Wire(saying(HEAD + b"\r\n{}")).listening() as sound,
    ):
        client = Client(request_seconds=seconds)
        calls = [client.get_json(broken.url.replace("http:", f"{scheme}:"), Endpoint.KEYS) for _ in range(MAX_CALLS)]
        given_up = await asyncio.gather(*calls, return_exceptions=True)

        assert {type(one) for one in given_up} == {ProviderUnavailable}
        # These servers never hang up: it was this side that closed each connection.
        await until(lambda: broken.ended == broken.opened > 0)
        assert await client.get_json(sound.url, Endpoint.KEYS) == {}


async def test_calls_that_queue_for_a_place_get_no_answer_of_another() -> None:
    own, foreign = (HEAD + b"Content-Length: 11\r\n\r\n" + body for body in (b'{"own":  1}', b'{"other":1}'))

    async def split(call: Call) -> None:
        while True:
            await call.hear()
            await call.say(own + foreign)

    calls = MAX_CALLS + 20
    async with Wire(split).listening() as wire:
        client = Client(request_seconds=PATIENT)
        answers = await asyncio.gather(*(client.get_json(wire.url, Endpoint.KEYS) for _ in range(calls)))

    assert answers == [{"own": 1}] * calls
    assert wire.opened == calls
