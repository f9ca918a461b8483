"""What `idv check` looks at: the provider's discovery and keys, and the database. Each finding says how to mend it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx

from app.db import Database
from app.errors import DatabaseUnavailable
from app.migrate import current_revision, newest_revision
from app.oidc import http, jwks, metadata
from app.oidc.client import ProviderConfig
from app.oidc.errors import ProtocolError


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. `remedy` is None where all is well."""

    subject: str
    result: str
    remedy: str | None = None


async def check_database(database: Database) -> Finding:
    """Whether the database is reachable and migrated."""
    try:
        current = await current_revision(database)
    except DatabaseUnavailable:
        return Finding("database", "cannot be reached", "Look at DATABASE_URL, and whether the server runs.")
    if current != newest_revision():
        return Finding("database", f"is at {current or 'no revision'}, not at {newest_revision()}", "Run: idv migrate")
    return Finding("database", "is reachable and migrated")


async def check_provider(config: ProviderConfig) -> AsyncIterator[Finding]:
    """Discovery, what it offers against what is configured, and the keys."""
    async with httpx.AsyncClient() as client:
        transport = http.Transport(client, request_seconds=config.request_seconds)
        try:
            document = await transport.get_json(config.server_url + metadata.WELL_KNOWN, "discovery")
            provider = metadata.parse(document, issuer=config.issuer, allow_http=config.allow_http)
        except ProtocolError as error:
            remedy = "Look at INCODE_SERVER_URL and INCODE_ISSUER, and whether this machine may reach the provider."
            yield Finding("discovery", str(error.description), remedy)
            return
        yield Finding("discovery", f"names the issuer {provider.issuer}")
        for finding in _offers(config, document):
            yield finding
        yield await _check_keys(transport, config, provider.jwks_uri)


def _offers(config: ProviderConfig, document: dict[str, Any]) -> list[Finding]:
    """What the provider says that it does not offer. What it does not speak of is taken as offered (Discovery section 3)."""
    wanted = {
        "scopes_supported": (set(config.scope.split()), "SCOPES"),
        "token_endpoint_auth_methods_supported": ({str(config.credentials.method)}, "CLIENT_AUTH_METHOD"),
        "code_challenge_methods_supported": ({"S256"}, None),
    }
    found = []
    for name, (values, setting) in wanted.items():
        offered = document.get(name)
        missing = values - set(offered) if isinstance(offered, list) else set()
        if missing:
            remedy = f"Change {setting}, or ask Incode to enable it." if setting else "Ask Incode; the service always uses it."
            found.append(Finding(name, f"does not list {', '.join(sorted(missing))}", remedy))
    return found


async def _check_keys(transport: http.Transport, config: ProviderConfig, url: str) -> Finding:
    try:
        keys = jwks.parse(await transport.get_json(url, "keys"))
    except ProtocolError as error:
        return Finding("keys", str(error.description), "Ask Incode; without keys no ID token can be verified.")
    usable = sum(any(jwks.fits(key, algorithm, None) for algorithm in config.algorithms) for key in keys)
    if not usable:
        return Finding("keys", f"has {len(keys)} keys, none for ID_TOKEN_ALGORITHMS", "Look at ID_TOKEN_ALGORITHMS.")
    return Finding("keys", f"has {usable} usable of {len(keys)}")
