"""A relay between an application and the service that notes down what crosses the wire."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx

from tests.harness.loopback import NO_TLS
from tests.harness.waiting import PATIENCE
from tests.integrations.documents import Exchange


@dataclass
class Recording:
    """What was said; where `away` is set, the relay hangs up on whoever asks, and `instead` answers in the service's
    place.
    """

    url: str = ""
    exchanges: list[Exchange] = field(default_factory=list)
    away: bool = False
    instead: Callable[[BaseHTTPRequestHandler], None] | None = None


@contextmanager
def recording(service: str) -> Iterator[Recording]:
    """A relay to the service at `service` while the block runs."""
    recorded = Recording()

    class Relay(BaseHTTPRequestHandler):
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._relay(None)

        def do_POST(self) -> None:
            self._relay(self.rfile.read(int(self.headers["Content-Length"])))

        def _relay(self, body: bytes | None) -> None:
            if recorded.away:
                self.close_connection = True
                return
            if recorded.instead:
                recorded.instead(self)
                return
            headers = {name: self.headers[name] for name in ("Authorization", "Content-Type") if name in self.headers}
            answer = client.request(self.command, service + self.path, content=body, headers=headers)
            said = json.loads(body) if body else None
            heard = answer.json() if answer.content else None
            recorded.exchanges.append(Exchange(self.command, self.path, said, answer.status_code, heard))
            self.send_response(answer.status_code)
            if answer.content:
                self.send_header("Content-Type", answer.headers["Content-Type"])
                self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_: object) -> None:
            pass

    with (
        httpx.Client(timeout=PATIENCE, verify=NO_TLS) as client,
        ThreadingHTTPServer(("127.0.0.1", 0), Relay) as server,
    ):
        recorded.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield recorded
        finally:
            # Else a test that has failed would never end.
            server.shutdown()
            thread.join()
