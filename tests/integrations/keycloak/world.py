"""Keycloak, two services on one database, and the sandbox: at the second service and its realm, failures block."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.harness.loopback import NO_TLS
from tests.harness.service import Json
from tests.harness.tokens import payload
from tests.harness.waiting import PATIENCE
from tests.integrations.keycloak import server
from tests.integrations.keycloak.realm import realm
from tests.integrations.keycloak.visitor import Realm
from tests.integrations.recording import Recording, recording
from tests.system.processes import ADMIN_KEY, IDP_KEY, SETTINGS, Workplace, answers, free_port

PEOPLE = (
    "ana",
    "back",
    "refused",
    "other",
    "away",
    "reset",
    "offline",
    "gold",
    "stranger",
    "eve",
    "honest",
    "grant",
    "odd",
)


@dataclass(frozen=True)
class Place:
    """A realm with the service that it asks, and what they say to each other."""

    realm: Realm
    gateway: str
    wire: Recording
    blocks: bool

    def log_in(self, name: str, acr: str | None = None) -> httpx.Response:
        """Log in with a new browser; where the password leads."""
        with self.realm.browser() as browser:
            return browser.log_in(name, acr)

    def verified(self, name: str) -> Json:
        """The tokens of a first login that went well."""
        with self.realm.browser() as browser:
            return self.realm.tokens(browser.verify(browser.log_in(name)))

    def reset(self, tokens: Json) -> None:
        """Have an administrator of the service withdraw the verification."""
        user = payload(tokens["access_token"])["sub"]
        headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
        address = f"{self.gateway}/v1/users/{user}/reset"
        answer = httpx.post(address, headers=headers, timeout=PATIENCE, verify=NO_TLS)
        assert answer.status_code == 200, answer.text

    @contextmanager
    def without_the_service(self) -> Iterator[None]:
        self.wire.away = True
        try:
            yield
        finally:
            self.wire.away = False


@dataclass(frozen=True)
class World:
    """Where failures let people go on, and where they block."""

    going_on: Place
    blocking: Place

    @property
    def places(self) -> tuple[Place, Place]:
        return self.going_on, self.blocking


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """Everything, running. Skips the test where Keycloak cannot be had."""
    keycloak = server.built_or_skip(folder)
    identity_provider, provider, first, second = (f"http://127.0.0.1:{free_port()}" for _ in range(4))
    addresses = {name: f"{identity_provider}/realms/{name}" for name in ("going-on", "blocking")}
    settings = {
        **SETTINGS,
        "INCODE_SERVER_URL": provider,
        "RETURN_URLS": ",".join(f"{address}/login-actions/authenticate" for address in addresses.values()),
        "SCOPES": "openid profile",
        "HTTP_TIMEOUT_SECONDS": "6.5",
        "LOG_LEVEL": "warning",
    }
    client = ("--client-id", settings["INCODE_CLIENT_ID"], "--client-secret", settings["INCODE_CLIENT_SECRET"])
    allowed = [argument for gateway in (first, second) for argument in ("--redirect-uri", f"{gateway}/v1/callback")]
    work = Workplace(folder)

    @contextmanager
    def service(url: str, blocks: str) -> Iterator[Recording]:
        chosen = {**settings, "PUBLIC_URL": url, "BLOCK_ON_FAILURE": blocks}
        with (
            work.running("serve", "--port", url.rpartition(":")[2], settings=chosen) as running,
            recording(url) as wire,
        ):
            running.wait_until(lambda: answers(f"{url}/readyz", 200), "the service")
            yield wire

    with (
        work.running("sandbox", "--port", provider.rpartition(":")[2], *client, *allowed) as sandbox,
        service(first, "false") as going_on,
        service(second, "true") as blocking,
    ):
        sandbox.wait_until(lambda: answers(f"{provider}/oauth2/jwks", 200), "the sandbox")
        imported = keycloak / "data" / "import"
        imported.mkdir()
        for (name, address), wire in zip(addresses.items(), (going_on, blocking), strict=True):
            made = realm(name, address, wire.url, IDP_KEY, blocking=wire is blocking, people=PEOPLE)
            (imported / f"{name}-realm.json").write_text(json.dumps(made), encoding="utf-8")
        with server.running(keycloak, identity_provider, tuple(addresses)):
            # The application is an address that answers: the realm's own.
            places = [Realm(address, address, provider) for address in addresses.values()]
            yield World(
                Place(places[0], first, going_on, blocks=False), Place(places[1], second, blocking, blocks=True)
            )
