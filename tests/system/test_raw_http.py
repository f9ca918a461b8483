"""What only bytes on the wire show: requests that a proxy would read otherwise, and such as have no end."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.harness.waiting import PATIENCE
from tests.system.processes import ADMIN_KEY, IDP_KEY, IDV, SETTINGS, Workplace, free_port, serving

BODY = b'{"user_id": "ana", "purpose": "step_up"}'  # answered from the record, without a provider
HEAD = b"Host: service.test\r\n"
KEY = f"Authorization: Bearer {IDP_KEY}\r\nContent-Type: application/json\r\n".encode()
START = b"POST /v1/verifications HTTP/1.1\r\n" + HEAD


@contextmanager
def connected_to(url: str) -> Iterator[socket.socket]:
    host, _, port = url.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
        yield connection


def answer(connection: socket.socket) -> tuple[int, bytes, bytes]:
    """The next answer: status, head, body; 0 where the server closes or resets the connection instead."""
    received = b""
    try:
        while b"\r\n\r\n" not in received:
            if not (piece := connection.recv(65536)):
                return 0, b"", b""
            received += piece
        head, _, body = received.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        while len(body) < length:
            body += connection.recv(65536)
    except ConnectionError:
        return 0, b"", b""
    return int(head[9:12]), head.lower(), body


def is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(65536) == b""
    except ConnectionError:
        return True


AMBIGUOUS = {
    "a length and chunks": b"Content-Length: 40\r\nTransfer-Encoding: chunked\r\n\r\n28\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunks and a length": b"Transfer-Encoding: chunked\r\nContent-Length: 40\r\n\r\n28\r\n" + BODY + b"\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 40\r\nContent-Length: 41\r\n\r\n" + BODY,
    "a length that is no number": b"Content-Length: +40\r\n\r\n" + BODY,
    "an encoding that we do not have": b"Transfer-Encoding: xchunked\r\n\r\n" + BODY,
    "chunked, but not last": b"Transfer-Encoding: chunked, identity\r\n\r\n" + BODY,
    "a chunk's size that is none": b"Transfer-Encoding: chunked\r\n\r\n0x28\r\n" + BODY + b"\r\n0\r\n\r\n",
    "a space before the colon": b"Content-Length : 40\r\n\r\n" + BODY,
    "a line that goes on": b"X-A: b\r\n c: d\r\nContent-Length: 40\r\n\r\n" + BODY,
    "a bare line feed": b"X-A: b\nContent-Length: 40\r\n\r\n" + BODY,
    "a null byte": b"X-A: \x00\r\nContent-Length: 40\r\n\r\n" + BODY,
}
SMUGGLED = b"GET /healthz HTTP/1.1\r\n" + HEAD + b"\r\n"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server for all of these tests, which must have said nothing of an error when they are over."""
    with serving(Workplace(tmp_path_factory.mktemp("raw"))) as (service, address):
        yield address
        assert httpx.get(f"{address}/readyz", timeout=PATIENCE).status_code == 200
        assert service.errors == ""
        assert "Traceback" not in service.output


def test_a_request_that_two_readers_read_differently_ends_its_connection(url: str) -> None:
    for what, sent in AMBIGUOUS.items():
        with connected_to(url) as connection:
            connection.sendall(START + KEY + sent + SMUGGLED)
            status, _, _ = answer(connection)
            assert status in {0, 400, 422}, what
            assert is_closed(connection), what


def test_a_method_that_nobody_knows_is_refused(url: str) -> None:
    for method in (b"X" * 60_000, b"PROPFIN", b"get", b"GET\x00"):
        with connected_to(url) as connection:
            connection.sendall(method + b" /healthz HTTP/1.1\r\n" + HEAD + b"\r\n")
            assert answer(connection)[0] == 400
            assert is_closed(connection)
    metrics = httpx.get(f"{url}/metrics", headers={"Authorization": f"Bearer {ADMIN_KEY}"}, timeout=PATIENCE).text
    assert "XXX" not in metrics
    assert len(metrics) < 30_000


def test_a_head_without_end_is_given_up(url: str) -> None:
    for line in (
        b"GET /" + b"x" * 1000,
        b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 1000,
        b"GET /healthz HTTP/1.1\r\nX: y\r\n",
    ):
        with connected_to(url) as connection:
            ended = False
            try:
                connection.sendall(line)
                for _ in range(2000):
                    connection.sendall(b"X: y\r\n" * 100 if line.endswith(b"\n") else b"x" * 1000)
            except ConnectionError:
                ended = True
            assert ended or is_closed(connection)


def test_trailers_without_end_are_given_up(url: str) -> None:
    with connected_to(url) as connection:
        connection.sendall(START + KEY + b"Transfer-Encoding: chunked\r\n\r\n28\r\n" + BODY + b"\r\n0\r\n")
        ended = False
        try:
            for _ in range(2000):
                connection.sendall(b"X: y\r\n" * 100)
        except ConnectionError:
            ended = True
        assert ended or is_closed(connection)


def test_a_stranger_is_not_asked_to_go_on(url: str) -> None:
    with connected_to(url) as connection:
        connection.sendall(START + b"Content-Length: 40\r\nExpect: 100-continue\r\n\r\n")
        status, head, _ = answer(connection)
        assert status == 401
        assert b"connection: close" in head


def test_a_caller_is_asked_to_go_on(url: str) -> None:
    with connected_to(url) as connection:
        connection.sendall(START + KEY + b"Content-Length: 40\r\nExpect: 100-continue\r\n\r\n")
        assert answer(connection)[0] == 100
        connection.sendall(BODY)
        assert answer(connection)[0] == 200


def test_a_stranger_with_a_slow_body_has_his_answer_at_once(url: str) -> None:
    with connected_to(url) as connection:
        connection.sendall(START + b"Content-Length: 40\r\n\r\n" + BODY[:1])
        status, head, _ = answer(connection)
        assert (status, b"connection: close" in head) == (401, True)
        connection.sendall(BODY[1:])
        assert is_closed(connection)


OFFERS = {
    "HTTP/2": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
    "a web socket": b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n",
    "anything": b"Connection: upgrade\r\nUpgrade: anything/9\r\n",
}


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
def test_an_offer_of_another_protocol_is_let_be(url: str, offer: bytes) -> None:
    """With nothing behind the head, with a body in the same packet, and with one that comes when it is asked for."""
    with connected_to(url) as connection:
        for _ in range(2):
            connection.sendall(b"GET /healthz HTTP/1.1\r\n" + HEAD + offer + b"\r\n")
            assert answer(connection)[0] == 200
        connection.sendall(START + KEY + offer + b"Content-Length: 40\r\n\r\n" + BODY)
        assert answer(connection)[0] == 200
        connection.sendall(START + KEY + offer + b"Content-Length: 40\r\nExpect: 100-continue\r\n\r\n")
        assert answer(connection)[0] == 100
        connection.sendall(BODY)
        assert answer(connection)[0] == 200
    with connected_to(url) as connection:
        connection.sendall(START + KEY + offer + b"Content-Length: 40\r\nExpect: 100-continue\r\n\r\n")
        assert answer(connection)[0] == 100
        connection.sendall(BODY)
        assert answer(connection)[0] == 200
    assert httpx.get(f"{url}/healthz", timeout=PATIENCE).status_code == 200


def test_nobody_is_let_through_to_another_server(url: str) -> None:
    for target in (b"provider.test:443", b"127.0.0.1:22"):
        with connected_to(url) as connection:
            connection.sendall(b"CONNECT " + target + b" HTTP/1.1\r\n" + HEAD + b"\r\n")
            assert answer(connection)[0] in {400, 404, 405}
        assert httpx.get(f"{url}/healthz", timeout=PATIENCE).status_code == 200


def test_a_connection_serves_one_request_after_the_other(url: str) -> None:
    chunked = b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n"
    with_length = b"Content-Length: 40\r\n\r\n" + BODY
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    with connected_to(url) as connection:
        for sent in (with_length, chunked, upgrade + with_length, with_length, chunked):
            connection.sendall(START + KEY + sent)
            status, _, body = answer(connection)
            assert (status, json.loads(body).get("reason")) == (200, "identity_not_established"), (sent, body)
        connection.sendall((START + KEY + with_length) * 3)  # pipelined; each answer is read off by its length
        assert answer(connection)[0] == 200


def test_one_worker_is_one_whatever_the_environment_says(work: Workplace) -> None:
    with serving(work, "--workers", "1", WEB_CONCURRENCY="3") as (service, url):
        key = {"Authorization": f"Bearer {ADMIN_KEY}"}
        assert httpx.get(f"{url}/metrics", headers=key, timeout=PATIENCE).status_code == 200
        assert service.workers() == set()


def test_several_workers_without_a_temporary_folder_are_refused_in_one_line(work: Workplace) -> None:
    # No file can be written: what Python finds on a read-only root.
    command = f"ulimit -f 0; exec {IDV} serve --workers 2 --port {free_port()}"
    settings = {
        **SETTINGS,
        "INCODE_SERVER_URL": "http://127.0.0.1:9",
        "DATABASE_URL": "postgresql+asyncpg://a@127.0.0.1:9/b",
    }
    refused = work.run("-c", command, settings=settings, program=Path("/bin/sh"))
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "TMPDIR" in refused.stderr


def test_the_address_is_printed_as_a_browser_takes_it(work: Workplace) -> None:
    with serving(work, "--host", "::") as (service, url):
        port = int(url.rpartition(":")[2])
        assert httpx.get(f"http://[::1]:{port}/healthz", timeout=PATIENCE).status_code == 200
        listening = [json.loads(line) for line in service.output.splitlines() if "listening" in line]
        assert [line["address"] for line in listening] == [f"http://[::]:{port}"]


def test_the_console_has_no_colours_where_it_is_no_terminal(work: Workplace) -> None:
    with serving(work, LOG_FORMAT="console") as (service, url):
        httpx.get(f"{url}/v1/nowhere", timeout=PATIENCE)
        service.wait_until(lambda: "request" in service.output, "the log")
        assert "\x1b" not in service.output
