"""An identity provider's backend that calls a running service, and the person whom it sends to the provider."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from tests.harness.loopback import NO_TLS
from tests.harness.service import Json, query_of
from tests.harness.waiting import PATIENCE
from tests.system.processes import ADMIN_KEY, IDP_KEY


@dataclass(frozen=True)
class Login:
    """One verification that was started; `callback` is the body that finishes it once the person has come back."""

    id: str
    callback: Json
    code: str


class Caller:
    """Calls one service, each time on a connection of its own."""

    def __init__(self, url: str) -> None:
        self.url = url

    def post(self, path: str, body: Json) -> httpx.Response:
        return httpx.post(
            self.url + path, json=body, headers={"Authorization": f"Bearer {IDP_KEY}"}, timeout=PATIENCE, verify=NO_TLS
        )

    def start(self, user_id: str) -> httpx.Response:
        return self.post("/v1/verifications", {"user_id": user_id, "force": True})

    def finish(self, login: Login) -> httpx.Response:
        return self.post("/v1/callback", login.callback)

    def status(self, user_id: str) -> httpx.Response:
        return self._get(f"/v1/users/{user_id}", IDP_KEY)

    def attempt(self, login: Login) -> Json:
        answer: Json = self._get(f"/v1/verifications/{login.id}", ADMIN_KEY).json()
        return answer

    def _get(self, path: str, key: str) -> httpx.Response:
        return httpx.get(self.url + path, headers={"Authorization": f"Bearer {key}"}, timeout=PATIENCE, verify=NO_TLS)

    def visited(self, user_id: str) -> Login:
        """A login whose person has been verified by the provider, and has come back."""
        response = self.start(user_id)
        assert response.status_code == 200, response.text
        started = response.json()
        address = started["redirect_url"].partition("?")[0]
        back = httpx.get(
            address,
            params={**query_of(started["redirect_url"]), "outcome": "verified"},
            timeout=PATIENCE,
            verify=NO_TLS,
        )
        arrived = query_of(back.headers["Location"])
        verification_id = started["verification"]["id"]
        return Login(
            verification_id, {"user_id": user_id, "verification_id": verification_id, **arrived}, arrived["code"]
        )


class Load:
    """Starts verifications without a pause, and counts what becomes of them; `other` holds every unexpected answer."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._key = {"Authorization": f"Bearer {IDP_KEY}"}
        self.served = 0
        self.refused = 0
        self.other: list[str] = []

    @asynccontextmanager
    async def running(self, tasks: int) -> AsyncIterator["Load"]:
        """So many at once while the block runs."""
        async with httpx.AsyncClient(base_url=self._url, headers=self._key, timeout=PATIENCE, verify=NO_TLS) as client:
            running = [asyncio.create_task(self._start_again_and_again(client, f"load-{n}")) for n in range(tasks)]
            try:
                yield self
            finally:
                for task in running:
                    task.cancel()
                await asyncio.gather(*running, return_exceptions=True)

    async def _start_again_and_again(self, client: httpx.AsyncClient, user_id: str) -> None:
        while True:
            try:
                response = await client.post("/v1/verifications", json={"user_id": user_id})
            except httpx.TransportError as error:
                self.other.append(repr(error))
                continue
            self._count(response)

    def _count(self, response: httpx.Response) -> None:
        if response.status_code == 200:
            self.served += 1
        elif response.status_code == 503 and response.json()["code"] == "database_unavailable":
            self.refused += 1
        else:
            self.other.append(response.text)
