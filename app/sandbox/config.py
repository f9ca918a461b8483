"""What a sandbox is started with: its issuer, its clients, and what it enforces."""

from __future__ import annotations

from dataclasses import dataclass, field

from app.sandbox.scopes import SCOPES


@dataclass(frozen=True)
class Client:
    """A registered relying party; redirect URIs are compared exactly (RFC 9700 section 2.1)."""

    client_id: str
    client_secret: str = field(repr=False)
    name: str
    redirect_uris: tuple[str, ...]


@dataclass(frozen=True)
class SandboxConfig:
    """The issuer is the sandbox's own base URL, without a slash at the end.

    Without `enforce_pkce` the sandbox ignores PKCE altogether, as a server that does not know RFC 7636 would.
    """

    issuer: str
    clients: tuple[Client, ...]
    enabled_scopes: frozenset[str] = frozenset(SCOPES)
    enforce_pkce: bool = True

    @property
    def authorization_endpoint(self) -> str:
        """Where the browser is sent."""
        return f"{self.issuer}/oauth2/authorize"

    @property
    def token_endpoint(self) -> str:
        """Where a code is exchanged; also an audience of client assertions (RFC 7523 section 3)."""
        return f"{self.issuer}/oauth2/token"

    def client(self, client_id: str | None) -> Client | None:
        """Find a registered client."""
        return next((client for client in self.clients if client.client_id == client_id), None)
