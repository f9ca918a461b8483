"""The sandbox: the provider as an ASGI application, and what a test can see and change of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final, TypedDict, Unpack

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.sandbox import pages
from app.sandbox.client_authentication import presented_methods
from app.sandbox.config import Client, SandboxConfig
from app.sandbox.incoming import Incoming, read
from app.sandbox.observation import Endpoint, Gate, RecordedRequest
from app.sandbox.personas import PERSONAS
from app.sandbox.provider import Provider, unavailable
from app.sandbox.signing import SigningKey

LARGEST_BODY: Final = 64 * 1024


class ConfigChanges(TypedDict, total=False):
    """The fields of `SandboxConfig` that can be replaced while the sandbox runs."""

    issuer: str
    clients: tuple[Client, ...]
    enabled_scopes: frozenset[str]
    enforce_pkce: bool


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Sandbox:
    """One provider with its memory; the attributes may be read and changed from any thread.

    `requests` holds every request in order of arrival; the endpoints named in `down` answer 503. Without a `key` it
    makes one.
    """

    def __init__(
        self, config: SandboxConfig, clock: Callable[[], datetime] = _utc_now, key: SigningKey | None = None
    ) -> None:
        self.requests: list[RecordedRequest] = []
        self.down: set[Endpoint] = set()
        self._gates: dict[Endpoint, Gate] = {}
        self._provider = Provider(config, clock, key or SigningKey.generate())
        self.app = self._application()

    @property
    def config(self) -> SandboxConfig:
        """The configuration in force."""
        return self._provider.config

    def reconfigure(self, **changes: Unpack[ConfigChanges]) -> None:
        """Replace fields of the configuration from the next request on."""
        self._provider.config = replace(self._provider.config, **changes)

    def become(self, persona: str) -> None:
        """Take on a persona of `PERSONAS` from the next request on.

        Raises:
            KeyError: there is no such persona.
        """
        self._provider.persona = PERSONAS[persona]

    def hold(self, endpoint: Endpoint) -> Gate:
        """Make the next requests to an endpoint wait until the gate is opened."""
        gate = self._gates[endpoint] = Gate()
        return gate

    def rotate_key(self) -> None:
        """Sign with a new key from now on; the key set forgets the old one."""
        self._provider.key = SigningKey.generate()

    def _application(self) -> Starlette:
        provider = self._provider
        return Starlette(
            routes=[
                Route("/", self._index),
                self._route("/.well-known/openid-configuration", "discovery", provider.discovery, "GET"),
                self._route("/oauth2/authorize", "authorize", provider.authorize, "GET", "POST"),
                self._route("/oauth2/token", "token", provider.token, "POST"),
                self._route("/userinfo", "userinfo", provider.userinfo, "GET", "POST"),
                self._route("/oauth2/jwks", "jwks", provider.jwks, "GET"),
            ],
            middleware=[Middleware(pages.SecurityHeaders)],
            exception_handlers={404: self._not_found},
            max_body_size=LARGEST_BODY,
        )

    async def _index(self, _: Request) -> Response:
        return pages.index_page(self.config)

    async def _not_found(self, _: Request, __: Exception) -> Response:
        return pages.not_found_page(self.config)

    def _route(self, path: str, name: Endpoint, answer: Callable[[Incoming], Response], *methods: str) -> Route:
        async def endpoint(request: Request) -> Response:
            incoming = await read(request)
            self.requests.append(_record(name, request.method, incoming))
            if gate := self._gates.get(name):
                await gate.passage()
            return unavailable() if name in self.down else answer(incoming)

        return Route(path, endpoint, methods=list(methods), name=name)


def _record(name: Endpoint, method: str, incoming: Incoming) -> RecordedRequest:
    bearer = ("bearer",) if incoming.credentials("bearer") is not None else ()
    authentication = " ".join((*presented_methods(incoming), *bearer)) or None
    return RecordedRequest(name, method, incoming.parameters, authentication)
