import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
from cryptography.fernet import Fernet
from fastapi import FastAPI

from app.sandbox import Sandbox
from app.settings import Settings
from tests.harness.clock import Clock
from tests.harness.loopback import NO_TLS
from tests.harness.provider import CLIENT_ID, CLIENT_SECRET, REDIRECT_URI
from tests.harness.tokens import payload
from tests.harness.waiting import PATIENCE

IDP_KEY = "idp-key-0123456789-0123456789-0123456789"
OTHER_IDP_KEY = "other-key-0123456789-0123456789-0123456789"
ADMIN_KEY = "admin-key-0123456789-0123456789-0123456789"
REDIRECT_SECRET = "redirect-secret-0123456789-0123456789"
ENCRYPTION_KEY = Fernet.generate_key().decode()
CLAIM = "https://incode.com/idv"
USER = "auth0|ana"
EMAIL = "ana@example.com"

Json = dict[str, Any]


def settings_for(provider_url: str, database_url: str, **changes: Any) -> Settings:
    values: dict[str, Any] = {
        "incode_client_id": CLIENT_ID,
        "incode_client_secret": CLIENT_SECRET,
        "incode_server_url": provider_url,
        "redirect_secret": REDIRECT_SECRET,
        "encryption_keys": ENCRYPTION_KEY,
        "api_keys": f"acme={IDP_KEY},other={OTHER_IDP_KEY}",
        "admin_api_keys": f"root={ADMIN_KEY}",
        "redirect_uri": REDIRECT_URI,
        "database_url": database_url,
        "scopes": "openid profile email",
        "housekeeping": False,  # a test that wants it has its own
        "http_timeout_seconds": 6.5,  # a slow machine is no provider that is away
    }
    return Settings(**{**values, **changes})


def query_of(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))


def state_of(started: Json) -> str:
    """Our state of a relay start, as the provider sends it back with whatever it answers."""
    return query_of(started["redirect_url"])["state"]


class Service:
    """The service as its callers see it, with the provider beside it."""

    def __init__(self, app: FastAPI, sandbox: Sandbox, settings: Settings) -> None:
        self.app = app
        self.sandbox = sandbox
        self.settings = settings
        self.transport = httpx.ASGITransport(app)
        self.idp = self.client(IDP_KEY)
        self.admin = self.client(ADMIN_KEY)
        self.browser = httpx.AsyncClient(verify=NO_TLS, timeout=PATIENCE)

    def client(self, key: str | None) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.AsyncClient(transport=self.transport, base_url="http://service.test", headers=headers)

    async def close(self) -> None:
        for client in (self.idp, self.admin, self.browser):
            await client.aclose()

    async def start(self, user_id: str, **body: Any) -> Json:
        response = await self.idp.post("/v1/verifications", json={"user_id": user_id, **body})
        assert response.status_code == 200, response.text
        return decision(response)

    async def visit(self, started: Json, outcome: str = "verified", person: str | None = None) -> dict[str, str]:
        """Let a person go through the provider's page; returns what the provider sends back to the redirect URI."""
        parameters = {**query_of(started["redirect_url"]), "outcome": outcome}
        if person:
            parameters["person"] = person
        address = started["redirect_url"].partition("?")[0]
        response = await self.browser.get(address, params=parameters)
        assert response.status_code == 303, response.text
        assert response.headers["Location"].startswith(REDIRECT_URI)
        return query_of(response.headers["Location"])

    async def send_callback(self, user_id: str, started: Json | None, **parameters: Any) -> httpx.Response:
        """What the caller hands in.

        Without `started` the caller's session is about the attempt that the token names.
        """
        body: Json = {"user_id": user_id, **parameters}
        if started:
            body["verification_id"] = started["verification"]["id"]
        elif "verification_id" not in body:
            body["verification_id"] = payload(parameters["session_token"])["verification_id"]
        return await self.idp.post("/v1/callback", json=body)

    async def finish(self, user_id: str, started: Json | None, **parameters: Any) -> Json:
        response = await self.send_callback(user_id, started, **parameters)
        assert response.status_code == 200, response.text
        return decision(response)

    async def verify(self, user_id: str, outcome: str = "verified", *, person: str | None = None, **body: Any) -> Json:
        """The whole of a relay login, from start to decision."""
        started = await self.start(user_id, **body)
        return await self.finish(user_id, started, **await self.visit(started, outcome, person))

    async def status(self, user_id: str) -> Json:
        response = await self.idp.get(f"/v1/users/{user_id}")
        assert response.status_code == 200, response.text
        answer: Json = response.json()
        return answer

    def asked(self, endpoint: str) -> int:
        """How often the provider was asked at an endpoint."""
        return sum(request.endpoint == endpoint for request in self.sandbox.requests)


def gist(decision: Json) -> tuple[str, str]:
    return decision["action"], decision["reason"]


async def enrol(service: Service, clock: Clock, user_id: str = USER, person: str = EMAIL) -> Json:
    """Verify a user for the first time, a minute ago."""
    decision = await service.verify(user_id, email=person)
    assert gist(decision) == ("continue", "verified")
    clock.advance(minutes=1)
    return decision


def decision(response: httpx.Response) -> Json:
    answer: Json = response.json()
    return answer


def problem(response: httpx.Response, status: int, code: str) -> Json:
    """The problem answer, checked for its form."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    answer: Json = response.json()
    assert answer["code"] == code
    assert answer["status"] == status
    assert answer["title"]
    assert answer["detail"]
    assert answer["hint"]
    assert answer["type"].endswith(code)
    assert answer["request_id"] == response.headers["X-Request-ID"]
    return answer


async def until_answered(send: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
    """The answer to a request, sent again where it is told to come back, as a slow machine tells some of very many.

    They come back after a breath: many that never stop asking would keep the one that is at work from its answer.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE
    while "Retry-After" in (response := await send()).headers:
        assert loop.time() < deadline, response.text
        await asyncio.sleep(0.1)
    return response


def is_told_of(response: httpx.Response) -> None:
    """Assert that the database cannot be used, and when to come back."""
    problem(response, 503, "database_unavailable")
    assert int(response.headers["Retry-After"]) >= 1
