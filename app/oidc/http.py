"""What is said to the provider over HTTP, within bounds.

There is a total deadline and a size cap; no redirect, no compression, no cookie.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode
from urllib.request import getproxies_environment, proxy_bypass

import httpx

from app.oidc import strict_json
from app.oidc.errors import Endpoint, ProviderUnavailable, Reason
from app.oidc.faults import reason_of
from app.oidc.transport import MAX_BODY_BYTES, OneConnection
from app.oidc.trust import TrustStoreUnreadable, tls_context

MAX_CALLS = 100
Observe = Callable[[Endpoint, int | None, float], None]
# A provider has a handful of addresses, and to take one apart takes as long as to send it a request.
_parsed = lru_cache(maxsize=64)(httpx.URL)
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def ignore(_endpoint: Endpoint, _status: int | None, _seconds: float) -> None:
    """Observe nothing."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an endpoint answered. `media_type` is in lower case; `date` is its header."""

    endpoint: Endpoint
    status: int
    media_type: str
    body: bytes
    date: str | None = None

    def json_object(self) -> dict[str, Any]:
        """The body as a JSON object; raises ProviderUnavailable when it is none or is not labelled as JSON.

        A key set may be labelled as text, as a server does that keeps it as a file whose kind it does not know.
        """
        labelled = self.media_type == "application/json" or self.media_type.endswith("+json")
        if not labelled and not (self.endpoint is Endpoint.KEYS and self.media_type == "text/plain"):
            raise ProviderUnavailable(self.endpoint, Reason.NOT_LABELLED)
        try:
            return strict_json.parse_object(self.body)
        except ValueError:
            raise ProviderUnavailable(self.endpoint, Reason.NOT_JSON) from None


class Client:
    """Opens lines to the provider. `observe` is told of each call: endpoint, HTTP status or None, seconds.

    `request_seconds` bounds one call, from connecting to the last byte. Proxies are those of the environment.
    """

    def __init__(self, *, request_seconds: float, observe: Observe = ignore) -> None:
        self.request_seconds = request_seconds
        self.observe = observe
        self.places = asyncio.Semaphore(MAX_CALLS)
        self._proxies = getproxies_environment()

    @asynccontextmanager
    async def line(self) -> AsyncIterator[Line]:
        """A line that is the caller's alone, and that leaves nothing open behind it."""
        async with AsyncExitStack() as closing:
            yield Line(self, closing)

    async def get(self, url: str, endpoint: Endpoint) -> Answer:
        """What is at `url`, on a line of its own. Raises ProviderUnavailable for any other status than 200."""
        async with self.line() as line:
            answer = await line.get(url, endpoint, {"Accept": "application/json"})
        if answer.status != httpx.codes.OK:
            raise ProviderUnavailable(endpoint, Reason.STATUS, answer.status)
        return answer

    async def get_json(self, url: str, endpoint: Endpoint) -> dict[str, Any]:
        """The JSON object at `url`.

        Raises ProviderUnavailable for any other status than 200, and for any other body.
        """
        return (await self.get(url, endpoint)).json_object()

    def proxy_for(self, url: httpx.URL) -> str | None:
        """The proxy that the environment names for `url` (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY)."""
        proxy = self._proxies.get(url.scheme) or self._proxies.get("all")
        host = url.raw_host.decode("ascii")
        names = (host, f"[{host}]") if ":" in host else (host,)
        if not proxy or any(proxy_bypass(name) for name in names):
            return None
        return proxy if "://" in proxy else f"http://{proxy}"


class Line:
    """One or a few calls about one person, on one connection where the provider allows it."""

    def __init__(self, client: Client, closing: AsyncExitStack) -> None:
        self._client = client
        self._closing = closing
        self._direct = OneConnection()
        closing.push_async_callback(self._direct.aclose)

    def prepare(self, url: str) -> None:
        """Begin to connect, so that the first call need not wait for it."""
        if self._client.proxy_for(parsed := _parsed(url)) is None:
            self._direct.prepare(parsed)

    async def get(self, url: str, endpoint: Endpoint, headers: Mapping[str, str]) -> Answer:
        """GET `url`, once. Raises ProviderUnavailable."""
        return await self._send("GET", url, endpoint, headers, b"")

    async def post_form(
        self, url: str, endpoint: Endpoint, headers: Mapping[str, str], form: Mapping[str, str]
    ) -> Answer:
        """POST a form to `url`, once. Raises ProviderUnavailable."""
        return await self._send("POST", url, endpoint, {**headers, **_FORM}, urlencode(form).encode("ascii"))

    async def _send(self, method: str, url: str, endpoint: Endpoint, headers: Mapping[str, str], body: bytes) -> Answer:
        # Asking for no compression, and refusing it, leaves no room for a small answer that unpacks to gigabytes.
        request = httpx.Request(
            method, _parsed(url), headers={**headers, "Accept-Encoding": "identity"}, content=body or None
        )
        proxy = self._client.proxy_for(request.url)
        began, status = time.perf_counter(), None
        try:
            async with asyncio.timeout(self._client.request_seconds), self._client.places:
                transport = self._by_proxy(proxy, request, endpoint) if proxy else self._direct
                answer = await _exchange(transport, request, endpoint)
            status = answer.status
        except (TimeoutError, httpx.TimeoutException):
            is_connecting = proxy is None and not self._direct.is_connected
            raise ProviderUnavailable(endpoint, Reason.CONNECTION_LATE if is_connecting else Reason.LATE) from None
        except (OSError, httpx.HTTPError, httpx.StreamError, TrustStoreUnreadable) as error:
            raise ProviderUnavailable(endpoint, reason_of(error, by_proxy=proxy is not None)) from None
        finally:
            self._client.observe(endpoint, status, time.perf_counter() - began)
        return answer

    def _by_proxy(self, proxy: str, request: httpx.Request, endpoint: Endpoint) -> httpx.AsyncBaseTransport:
        try:
            transport = httpx.AsyncHTTPTransport(proxy=proxy, verify=tls_context())
        except (httpx.InvalidURL, ValueError, ImportError):
            raise ProviderUnavailable(endpoint, Reason.PROXY_UNUSABLE) from None
        self._closing.push_async_callback(transport.aclose)

        async def trace(event: str, info: Mapping[str, Any]) -> None:
            # A TLS handshake that is given up would keep its socket.
            if event == "connection.connect_tcp.complete":
                self._closing.push_async_callback(info["return_value"].aclose)

        request.extensions["trace"] = trace
        return transport


async def _exchange(transport: httpx.AsyncBaseTransport, request: httpx.Request, endpoint: Endpoint) -> Answer:
    response = await transport.handle_async_request(request)
    try:
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise ProviderUnavailable(endpoint, Reason.COMPRESSED)
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise ProviderUnavailable(endpoint, Reason.OVERSIZED)
    finally:
        await response.aclose()
    media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return Answer(endpoint, response.status_code, media_type, bytes(body), response.headers.get("Date"))
