"""The callers of `make bench`: what they take for an answer, and what ends a run."""

import itertools
import socket
import threading
from collections.abc import Iterator

import pytest
from starlette.types import Receive, Scope, Send

from tests.bench.load import Outcome, Work, WrongAnswer, drive, request
from tests.harness.provider import ProviderHost

REQUEST = request("POST", "/asked", "key", b'{"user_id":"ana"}')
TIMES = 20


class Answering:
    """Answers every request alike, and notes the bodies that came."""

    def __init__(self, status: int, body: bytes, **headers: str) -> None:
        self._start = {
            "type": "http.response.start",
            "status": status,
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
            + [(b"content-length", str(len(body)).encode())],
        }
        self._body = {"type": "http.response.body", "body": body}
        self.bodies: list[bytes] = []

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        self.bodies.append((await receive())["body"])
        await send(self._start)
        await send(self._body)


@pytest.fixture(scope="module")
def host() -> Iterator[ProviderHost]:
    with ProviderHost().running() as running:
        yield running


def driven(
    host: ProviderHost, app: Answering, *, may_refuse: bool = False, rate: float | None = None, seconds: float = 60
) -> Outcome:
    host.app = app
    requests = itertools.repeat(REQUEST, TIMES)
    work = Work(requests=requests, expected=b'"verified":true', may_refuse=may_refuse)
    return drive(int(host.url.rpartition(":")[2]), work, callers=4, rate=rate, seconds=seconds)


@pytest.mark.parametrize("rate", [None, 1000.0])
def test_each_request_is_sent_once_and_its_answer_timed(host: ProviderHost, rate: float | None) -> None:
    app = Answering(200, b'{"verified":true}')
    outcome = driven(host, app, rate=rate, seconds=TIMES / rate if rate else 60)
    assert len(outcome.took) == TIMES
    assert app.bodies == [b'{"user_id":"ana"}'] * TIMES
    assert outcome.rate > 0


@pytest.mark.parametrize("app", [Answering(500, b'{"verified":true}'), Answering(200, b'{"verified":false}')])
def test_a_wrong_answer_ends_the_run(host: ProviderHost, app: Answering) -> None:
    with pytest.raises(WrongAnswer):
        driven(host, app)


def test_who_is_told_to_come_back_under_overload_is_counted_apart(host: ProviderHost) -> None:
    outcome = driven(host, Answering(503, b"{}", retry_after="1"), may_refuse=True)
    assert (len(outcome.took), len(outcome.refused)) == (0, TIMES)


@pytest.mark.parametrize(("headers", "may_refuse"), [({}, True), ({"retry_after": "1"}, False)])
def test_any_other_refusal_ends_the_run(host: ProviderHost, headers: dict[str, str], *, may_refuse: bool) -> None:
    with pytest.raises(WrongAnswer, match="503"):
        driven(host, Answering(503, b"{}", **headers), may_refuse=may_refuse)


def test_a_connection_that_is_closed_without_an_answer_ends_the_run() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            listener.accept()[0].close()

        hanging_up = threading.Thread(target=hang_up)
        hanging_up.start()
        work = Work(requests=[REQUEST], expected=b"")
        with pytest.raises(WrongAnswer, match="closed"):
            drive(listener.getsockname()[1], work, callers=1)
        hanging_up.join()
