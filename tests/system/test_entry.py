"""The composition's entry: deploy/haproxy.cfg, run by a real HAProxy in front of services that the test is."""

import json
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import httpx

from tests.harness.containers import read
from tests.harness.programs import program_or_skip
from tests.harness.waiting import PATIENCE
from tests.system.processes import eventually, free_port


class Container:
    """One of the service's containers, as far as the entry sees it."""

    def __init__(self) -> None:
        self.ready = Event()
        self.asked: list[str] = []
        container = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if self.path != "/readyz":
                    container.asked.append(self.path)
                self._answer(200 if container.ready.is_set() else 503)

            def do_POST(self) -> None:
                container.asked.append(self.path)
                self.rfile.read(int(self.headers["Content-Length"]))
                self._answer(200)

            def _answer(self, status: int) -> None:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"

    @contextmanager
    def running(self) -> Iterator["Container"]:
        thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join(PATIENCE)


def configuration(port: int, servers: list[str]) -> str:
    """The file as it is, but for its port and where the containers are: Docker's DNS is not here."""
    text = read("deploy/haproxy.cfg").replace("bind :8000", f"bind 127.0.0.1:{port}")
    named = "\n".join(f"    server idv{number} {address}" for number, address in enumerate(servers))
    text, found = re.subn(r"^    server-template .*$", named, text, flags=re.MULTILINE)
    assert found == 1
    return text if _knows_init_state() else text.replace(" init-state down", "")


def _knows_init_state() -> bool:
    haproxy = program_or_skip("haproxy")
    shown = subprocess.run([haproxy, "-v"], capture_output=True, text=True, check=True, timeout=PATIENCE).stdout  # noqa: S603  fixed
    [version] = re.findall(r"version (\d+)\.(\d+)", shown)[:1]
    return tuple(map(int, version)) >= (3, 1)


@contextmanager
def entry(
    folder: Path, *containers: Container, per_source: int = 200
) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """A running HAProxy, and its address."""
    haproxy = program_or_skip("haproxy")
    port = free_port()
    file = folder / "haproxy.cfg"
    file.write_text(configuration(port, [container.address for container in containers]))
    environment = {"IDV_CONNECTIONS_PER_SOURCE": str(per_source)}
    with subprocess.Popen(  # noqa: S603
        [haproxy, "-W", "-db", "-f", str(file)], env=environment, stderr=subprocess.DEVNULL
    ) as process:
        try:
            eventually(lambda: _listens(port), "the entry")
            yield f"http://127.0.0.1:{port}", process
        finally:
            process.terminate()
            process.wait(PATIENCE)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def status(url: str) -> int:
    return httpx.get(url, timeout=PATIENCE).status_code


def test_the_file_is_one_that_haproxy_takes(tmp_path: Path) -> None:
    haproxy = program_or_skip("haproxy")
    file = tmp_path / "haproxy.cfg"
    text = read("deploy/haproxy.cfg")
    file.write_text(text if _knows_init_state() else text.replace(" init-state down", ""))
    environment = {"IDV_CONNECTIONS_PER_SOURCE": "200"}
    checked = subprocess.run(  # noqa: S603  our own file
        [haproxy, "-c", "-f", str(file)], env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert (checked.returncode, "WARNING" in checked.stderr) == (0, False), checked.stderr


def test_where_no_container_is_ready_the_entry_says_so_as_a_problem(tmp_path: Path) -> None:
    with Container().running() as container, entry(tmp_path, container) as (url, _):
        eventually(lambda: status(f"{url}/v1/users/ana") == 503, "the container to be found unready")
        answer = httpx.get(f"{url}/v1/users/ana", timeout=PATIENCE)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.headers["Cache-Control"] == "no-store"
    problem = answer.json()
    assert problem.keys() == {"type", "title", "status", "detail", "code", "hint", "request_id"}
    assert (problem["status"], problem["code"]) == (503, "service_unavailable")
    assert problem["request_id"] == answer.headers["X-Request-ID"]


def test_requests_go_to_the_containers_that_are_ready(tmp_path: Path) -> None:
    with ExitStack() as stack:
        ready, unready = (stack.enter_context(Container().running()) for _ in range(2))
        ready.ready.set()
        url, _ = stack.enter_context(entry(tmp_path, ready, unready))
        eventually(lambda: _sends_nothing_to(unready, url), "the unready container to be left alone")
        assert ready.asked


def _sends_nothing_to(container: Container, url: str) -> bool:
    container.asked.clear()
    assert all(status(f"{url}/v1/users/ana") in {200, 503} for _ in range(4))
    return not container.asked


def test_every_answer_of_the_entry_itself_is_a_problem_of_its_status() -> None:
    answers = re.findall(
        r"http-error status (\d+) content-type (\S+) lf-string '([^']+)'(.*)", read("deploy/haproxy.cfg")
    )
    assert [status for status, *_ in answers] == ["408", "502", "503", "504"]
    for number, media_type, text, headers in answers:
        problem = json.loads(text)
        assert (str(problem["status"]), media_type) == (number, "application/problem+json")
        assert problem["type"] == f"urn:idv:problem:{problem['code']}"
        assert ("hdr Retry-After" in headers) == (number != "408")


def test_one_source_cannot_take_every_place(tmp_path: Path) -> None:
    container = Container()
    container.ready.set()
    with ExitStack() as stack:
        stack.enter_context(container.running())
        url, _ = stack.enter_context(entry(tmp_path, container, per_source=20))
        eventually(lambda: status(url) == 200, "the container")
        port = int(url.rpartition(":")[2])
        held = [_slow(port, "127.0.0.9") for _ in range(40)]
        eventually(lambda: sum(map(_is_held, held)) == 20, "those beyond the limit to be closed")
        assert status(url) == 200, "another source is served meanwhile"
        other = _slow(port, "127.0.0.10")
        assert _is_held(other)
        for connection in (*held, other):
            connection.close()
        eventually(lambda: _is_served(port, "127.0.0.9"), "the source to be let in again")


def _slow(port: int, source: str) -> socket.socket:
    """A connection that begins a request with a body, and keeps the body back; or one that was refused."""
    connection = socket.socket()
    connection.settimeout(PATIENCE)
    connection.bind((source, 0))
    with suppress(ConnectionError):
        connection.connect(("127.0.0.1", port))
        connection.sendall(b"POST /v1/verifications HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
    connection.setblocking(False)
    return connection


def _is_held(connection: socket.socket) -> bool:
    try:
        connection.getpeername()
        return connection.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def _is_served(port: int, source: str) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), PATIENCE, (source, 0)) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            return connection.recv(12) == b"HTTP/1.1 200"
    except ConnectionError:
        return False


def test_a_body_that_dribbles_in_never_reaches_a_container(tmp_path: Path) -> None:
    container = Container()
    container.ready.set()
    with ExitStack() as stack:
        stack.enter_context(container.running())
        url, _ = stack.enter_context(entry(tmp_path, container))
        eventually(lambda: status(url) == 200, "the container")
        container.asked.clear()
        with _slow(int(url.rpartition(":")[2]), "127.0.0.9") as slow:
            slow.settimeout(PATIENCE)
            answer = slow.recv(65536)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"request_timeout"' in answer
    assert container.asked == []


def test_a_changed_file_is_taken_over_while_requests_are_answered(tmp_path: Path) -> None:
    with ExitStack() as stack:
        old, new = (stack.enter_context(Container().running()) for _ in range(2))
        old.ready.set()
        new.ready.set()
        url, process = stack.enter_context(entry(tmp_path, old))
        eventually(lambda: status(url) == 200, "the container")
        port = int(url.rpartition(":")[2])
        (tmp_path / "haproxy.cfg").write_text(configuration(port, [new.address]))
        process.send_signal(signal.SIGUSR2)
        eventually(lambda: status(url) in {200, 503} and bool(new.asked), "the new file")
