"""Where the gateway is, and the keys for it."""

from __future__ import annotations

from dataclasses import dataclass, field

import httpx

from app.acme.journal import Journal, NotedTransport

SECONDS = 10.0


@dataclass(frozen=True)
class Gateway:
    """One gateway, with a key for logins and an administrator's."""

    address: str
    key: str = field(repr=False)
    admin_key: str = field(repr=False)
    transport: httpx.AsyncHTTPTransport = field(default_factory=httpx.AsyncHTTPTransport, repr=False)

    def client(self, journal: Journal) -> httpx.AsyncClient:
        """A client for logins that notes what it sends."""
        return self._client(journal, self.key)

    def admin_client(self, journal: Journal) -> httpx.AsyncClient:
        """A client that may also reset users. An identity provider's login has no use for its key."""
        return self._client(journal, self.admin_key)

    def _client(self, journal: Journal, key: str) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {key}"}
        transport = NotedTransport(self.transport, journal)
        return httpx.AsyncClient(base_url=self.address, headers=headers, transport=transport, timeout=SECONDS)
