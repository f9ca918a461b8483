import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.sandbox import Endpoint, Sandbox
from tests.harness.provider import ProviderHost

PATHS: dict[Endpoint, str] = {
    "discovery": "/.well-known/openid-configuration",
    "authorize": "/oauth2/authorize",
    "token": "/oauth2/token",
    "userinfo": "/userinfo",
    "jwks": "/oauth2/jwks",
}


class TamperedProvider:
    """The sandbox in the provider's place, with answers of some endpoints replaced, or altered on their way out.

    `asked` counts every request by its path, those that never reach the sandbox included.
    """

    def __init__(self, host: ProviderHost, sandbox: Sandbox) -> None:
        self.asked: Counter[str] = Counter()
        self._sandbox = sandbox.app
        self._replaced: dict[str, ASGIApp] = {}
        self._rewritten: dict[str, Callable[[bytes], ASGIApp]] = {}
        host.app = self

    def replace(self, endpoint: Endpoint, answer: ASGIApp) -> None:
        """Answer with `answer` instead; every Starlette response is such an application."""
        self._replaced[PATHS[endpoint]] = answer

    def rewrite(self, endpoint: Endpoint, make: Callable[[bytes], ASGIApp]) -> None:
        """Let the sandbox answer, and send what `make` makes of the body of its answer."""
        self._rewritten[PATHS[endpoint]] = make

    def alter(self, endpoint: Endpoint, change: Callable[[Any], Any]) -> None:
        """Let the sandbox answer, and send what `change` makes of the JSON of its answer."""
        self.rewrite(endpoint, lambda body: JSONResponse(change(json.loads(body))))

    def asked_at(self, endpoint: Endpoint) -> int:
        return self.asked[PATHS[endpoint]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        self.asked[path] += 1
        if answer := self._replaced.get(path):
            await answer(scope, receive, send)
        elif make := self._rewritten.get(path):
            await make(await self._body(scope, receive))(scope, receive, send)
        else:
            await self._sandbox(scope, receive, send)

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        sent: list[Message] = []

        async def keep(message: Message) -> None:
            sent.append(message)

        await self._sandbox(scope, receive, keep)
        return b"".join(message.get("body", b"") for message in sent)
