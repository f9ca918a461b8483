import contextlib
import threading
from collections.abc import Callable, Iterator
from datetime import datetime

import uvicorn
import uvloop
from starlette.types import ASGIApp, Receive, Scope, Send

from app.operator.server import listener
from app.sandbox import Client, Sandbox, SandboxConfig
from app.sandbox.signing import SigningKey

CLIENT_ID = "idv-gateway"
CLIENT_SECRET = "sandbox client secret: with spaces & signs"
REDIRECT_URI = "https://tenant.example/continue"
PUBLIC_URL = "https://idv.example"
LOOPBACK_URL = "http://127.0.0.1:8000"
HOSTED_REDIRECT_URIS = (f"{PUBLIC_URL}/v1/callback", f"{LOOPBACK_URL}/v1/callback")


class ProviderHost:
    """A web server in a thread of its own, which serves whatever provider the running test has put there."""

    def __init__(self) -> None:
        self.app: ASGIApp | None = None
        self.key = SigningKey.generate()
        self._listener = listener("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._server = uvicorn.Server(
            uvicorn.Config(self._serve, log_config=None, access_log=False, lifespan="off", interface="asgi3")
        )
        self._thread = threading.Thread(target=self._run, daemon=True)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.app is not None
        await self.app(scope, receive, send)

    def _run(self) -> None:
        uvloop.run(self._server.serve(sockets=[self._listener]))

    @contextlib.contextmanager
    def running(self) -> Iterator["ProviderHost"]:
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
        yield self
        self._server.should_exit = True
        self._thread.join()


def new_sandbox(host: ProviderHost, clock: Callable[[], datetime]) -> Sandbox:
    client = Client(CLIENT_ID, CLIENT_SECRET, "The service under test", (REDIRECT_URI, *HOSTED_REDIRECT_URIS))
    sandbox = Sandbox(SandboxConfig(issuer=host.url, clients=(client,)), clock, host.key)
    host.app = sandbox.app
    return sandbox
