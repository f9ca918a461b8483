"""One bounded HTTP exchange with the provider: a total deadline, a size cap, no redirect, no compression, nothing kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx

from app.oidc import strict_json
from app.oidc.errors import Endpoint, ProviderUnavailable, Reason

MAX_ANSWER_BYTES = 1024 * 1024
MAX_CONNECTIONS = 100
Observe = Callable[[Endpoint, int | None, float], None]


def ignore(_endpoint: Endpoint, _status: int | None, _seconds: float) -> None:
    """Observe nothing."""


def new_client(*, request_seconds: float) -> httpx.AsyncClient:
    """A client that carries nothing over from one call to the next: no connection, no cookie."""
    return httpx.AsyncClient(
        timeout=request_seconds,
        # On a connection that is used again, bytes after one answer would be read as the next person's (response splitting).
        limits=httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=0),
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """What an endpoint answered. `media_type` is in lower case; `date` is its header."""

    endpoint: Endpoint
    status: int
    media_type: str
    body: bytes
    date: str | None = None

    def json_object(self) -> dict[str, Any]:
        """The body as a JSON object; raises ProviderUnavailable when it is none or is not labelled as JSON."""
        if self.media_type != "application/json" and not self.media_type.endswith("+json"):
            raise ProviderUnavailable(self.endpoint, Reason.NOT_LABELLED)
        try:
            return strict_json.parse_object(self.body)
        except ValueError:
            raise ProviderUnavailable(self.endpoint, Reason.NOT_JSON) from None


class Transport:
    """Sends requests over one client. `observe` is told of each call: endpoint, HTTP status or None, seconds."""

    def __init__(self, client: httpx.AsyncClient, *, request_seconds: float, observe: Observe = ignore) -> None:
        self.client = client
        self._request_seconds = request_seconds
        self._observe = observe

    async def send(self, request: httpx.Request, endpoint: Endpoint) -> Answer:
        """Send once and read the whole answer in time. Raises ProviderUnavailable, never retries."""
        began, status = time.perf_counter(), None
        try:
            async with _closing_connections(request), asyncio.timeout(self._request_seconds):
                answer = await _exchange(self.client, request, endpoint)
            status = answer.status
        except (TimeoutError, httpx.TimeoutException):
            raise ProviderUnavailable(endpoint, Reason.LATE) from None
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError):
            raise ProviderUnavailable(endpoint, Reason.FAILED) from None
        finally:
            self._observe(endpoint, status, time.perf_counter() - began)
        return answer

    async def get(self, url: str, endpoint: Endpoint) -> Answer:
        """What is at `url`. Raises ProviderUnavailable for any other status than 200."""
        request = self.client.build_request("GET", url, headers={"Accept": "application/json"})
        answer = await self.send(request, endpoint)
        if answer.status != httpx.codes.OK:
            raise ProviderUnavailable(endpoint, Reason.STATUS, answer.status)
        return answer

    async def get_json(self, url: str, endpoint: Endpoint) -> dict[str, Any]:
        """The JSON object at `url`. Raises ProviderUnavailable for any other status than 200, and for any other body."""
        return (await self.get(url, endpoint)).json_object()


@asynccontextmanager
async def _closing_connections(request: httpx.Request) -> AsyncIterator[None]:
    """Close what the call opens, however it ends: a TLS handshake that is given up would keep its socket."""
    async with AsyncExitStack() as stack:

        async def trace(event: str, info: Mapping[str, Any]) -> None:
            if event == "connection.connect_tcp.complete":
                stack.push_async_callback(info["return_value"].aclose)

        request.extensions["trace"] = trace
        yield


async def _exchange(client: httpx.AsyncClient, request: httpx.Request, endpoint: Endpoint) -> Answer:
    # Asking for no compression, and refusing it, leaves no room for a small answer that unpacks to gigabytes.
    request.headers["Accept-Encoding"] = "identity"
    response = await client.send(request, stream=True, follow_redirects=False)
    try:
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise ProviderUnavailable(endpoint, Reason.COMPRESSED)
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > MAX_ANSWER_BYTES:
                raise ProviderUnavailable(endpoint, Reason.OVERSIZED)
    finally:
        await response.aclose()
    media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return Answer(endpoint, response.status_code, media_type, bytes(body), response.headers.get("Date"))
