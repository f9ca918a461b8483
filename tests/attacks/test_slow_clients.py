"""Clients that send as slowly as they can, against the real server: they lose their place, and nobody else does."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from tests.harness.waiting import PATIENCE
from tests.system.processes import IDP_KEY, Workplace, serving
from tests.system.test_raw_http import answer, connected_to

HEAD = (
    b"POST /v1/verifications HTTP/1.1\r\nHost: service.test\r\n"
    b"Content-Type: application/json\r\nContent-Length: 1000\r\n"
)
KEY = f"Authorization: Bearer {IDP_KEY}\r\n".encode()
CLIENTS = 60


@pytest.fixture
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(Workplace(tmp_path_factory.mktemp("slow"))) as (service, address):
        yield address
        assert service.errors == ""
        assert "Traceback" not in service.output


def everybody_else_is_served(url: str) -> None:
    for _ in range(3):
        answered = httpx.get(f"{url}/v1/users/ana", headers={"Authorization": f"Bearer {IDP_KEY}"}, timeout=PATIENCE)
        assert answered.status_code == httpx.codes.OK


def crowd(stack: ExitStack, url: str, sent: bytes) -> list[socket.socket]:
    """Many connections, each of which has sent so much and no more."""
    connections = [stack.enter_context(connected_to(url)) for _ in range(CLIENTS)]
    for connection in connections:
        connection.sendall(sent)
    return connections


def test_a_body_that_never_ends_is_given_up(url: str) -> None:
    with ExitStack() as stack:
        slow = crowd(stack, url, HEAD + KEY + b'\r\n{"user_id": ')
        everybody_else_is_served(url)
        assert {answer(connection)[0] for connection in slow} == {httpx.codes.REQUEST_TIMEOUT}


def test_without_a_key_no_body_is_waited_for(url: str) -> None:
    with ExitStack() as stack:
        strangers = crowd(stack, url, HEAD + b"\r\n{")
        assert {answer(connection)[0] for connection in strangers} == {httpx.codes.UNAUTHORIZED}
        everybody_else_is_served(url)


def test_heads_that_never_end_keep_nobody_out(url: str) -> None:
    with ExitStack() as stack:
        crowd(stack, url, HEAD + b"X-Slow: ")
        everybody_else_is_served(url)
