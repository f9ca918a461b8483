"""What `idv check` looks at: the provider, our registration there, the clock, addresses, the database.

Each finding says how to mend it.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from app.core.domain import Addresses
from app.core.errors import DatabaseUnavailable
from app.core.failures import clean
from app.oidc import (
    AuthorizationGrant,
    Endpoint,
    ProtocolError,
    ProviderConfig,
    ProviderUnavailable,
    RelyingParty,
    http,
    jwks,
    metadata,
    pkce,
)
from app.storage.database import Database
from app.storage.migrate import current_revision, is_migrated, newest_revision

_CREDENTIALS = "Look at INCODE_CLIENT_ID, INCODE_CLIENT_SECRET, CLIENT_AUTH_METHOD and whether they belong to INCODE_SERVER_URL."


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. `remedy` is None where all is well."""

    subject: str
    result: str
    remedy: str | None = None


async def check_all(provider: ProviderConfig, addresses: Addresses, database_url: str) -> list[Finding]:
    """Every check, in the order in which what it finds is worth mending."""
    browsers = {"PUBLIC_URL": addresses.public_url, "REDIRECT_URI": next(iter(addresses.redirect_uris), None)}
    database = Database(database_url)
    try:
        return [
            *[finding async for finding in check_provider(provider, next(iter(addresses.redirect_uris), addresses.callback_url))],
            *check_addresses({name: url for name, url in browsers.items() if url}),
            await check_database(database),
        ]
    finally:
        await database.close()


def check_addresses(addresses: Mapping[str, str]) -> list[Finding]:
    """Whether browsers are sent over https to each address, given by the name of its setting."""
    return [_address(name, url) for name, url in addresses.items()]


def _address(name: str, url: str) -> Finding:
    parts = urlsplit(url)
    if metadata.is_loopback(parts.hostname or ""):
        return Finding(name, "is on this machine; no other can reach it")
    if parts.scheme == "https":
        return Finding(name, "is https")
    return Finding(name, "is plain http", "Use https: codes and cookies can be read on the way. ALLOW_HTTP is for tests.")


def check_clock(date: str | None, leeway: float, now: float) -> Finding:
    """Whether this machine's clock (`now`, seconds since 1970) agrees with a `Date` header, but for `leeway` seconds."""
    try:
        ahead = round(now - parsedate_to_datetime(date or "").timestamp())
    except ValueError:
        return Finding("clock", "cannot be compared: the provider's answer has no date")
    if abs(ahead) <= leeway:
        return Finding("clock", "agrees with the provider's")
    direction = "ahead of" if ahead > 0 else "behind"
    remedy = "Set this machine's clock (NTP): beyond CLOCK_SKEW_SECONDS every ID token is refused."
    return Finding("clock", f"is {abs(ahead)} s {direction} the provider's", remedy)


async def check_database(database: Database) -> Finding:
    """Whether the database is reachable and migrated."""
    try:
        current = await current_revision(database)
    except DatabaseUnavailable:
        return Finding(
            "database",
            "cannot be reached or written",
            "Look at DATABASE_URL, whether the server runs, and who may write the file.",
        )
    if not is_migrated(current):
        return Finding("database", f"is at {current or 'no revision'}, not at {newest_revision()}", "Run: idv migrate")
    if current != newest_revision():
        return Finding("database", f"is reachable, and at {current}, which a newer version than this one has made")
    return Finding("database", "is reachable and migrated")


async def check_provider(config: ProviderConfig, redirect_uri: str) -> AsyncIterator[Finding]:
    """Discovery, what it offers against what is configured, the clock, the keys, and our registration."""
    async with http.new_client(request_seconds=config.request_seconds) as client:
        transport = http.Transport(client, request_seconds=config.request_seconds)
        try:
            answer = await transport.get(config.server_url + metadata.WELL_KNOWN, Endpoint.DISCOVERY)
            document = answer.json_object()
            if document.get("issuer") != config.issuer:
                named = clean(str(document.get("issuer")))
                remedy = "If that is Incode, set INCODE_ISSUER to it. If not, INCODE_SERVER_URL is another server's."
                yield Finding("discovery", f"names the issuer {named}, not {config.issuer}", remedy)
                return
            provider = metadata.parse(document, issuer=config.issuer, allow_http=config.allow_http)
        except ProviderUnavailable as error:
            remedy = "Look at INCODE_SERVER_URL and INCODE_ISSUER, and whether this machine may reach the provider."
            yield Finding("discovery", error.cause, remedy)
            return
        yield Finding("discovery", f"names the issuer {provider.issuer}")
        for finding in _offers(config, document):
            yield finding
        yield check_clock(answer.date, config.leeway_seconds, time.time())
        yield await _check_keys(transport, config, provider.jwks_uri)
        yield await _check_registration(RelyingParty(config, client), redirect_uri, 3 * config.request_seconds)


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
        missing = values - {each for each in offered if isinstance(each, str)} if isinstance(offered, list) else set()
        if missing:
            remedy = f"Change {setting}, or ask Incode to enable it." if setting else "Ask Incode; the service always uses it."
            found.append(Finding(name, f"does not list {', '.join(sorted(missing))}", remedy))
    return found


async def _check_keys(transport: http.Transport, config: ProviderConfig, url: str) -> Finding:
    try:
        keys = jwks.parse(await transport.get_json(url, Endpoint.KEYS))
    except ProviderUnavailable as error:
        return Finding("keys", error.cause, "Ask Incode; without keys no ID token can be verified.")
    usable = sum(any(jwks.fits(key, algorithm, None) for algorithm in config.algorithms) for key in keys)
    if not usable:
        return Finding("keys", f"has {len(keys)} keys, none for ID_TOKEN_ALGORITHMS", "Look at ID_TOKEN_ALGORITHMS.")
    return Finding("keys", f"has {usable} usable of {len(keys)}")


async def _check_registration(provider: RelyingParty, redirect_uri: str, seconds: float) -> Finding:
    """Whether the token endpoint knows us: asked for a code that cannot exist, it complains of the code, or of us."""
    code = f"idv-check-{secrets.token_urlsafe(16)}"
    grant = AuthorizationGrant(
        code=code,
        code_verifier=pkce.new_code_verifier(),
        nonce=secrets.token_urlsafe(32),
        redirect_uri=redirect_uri,
    )
    try:
        await provider.authenticate(grant, deadline=asyncio.get_running_loop().time() + seconds)
    except ProviderUnavailable as error:
        return Finding("client", str(error.description), "Look at whether this machine may reach the token endpoint.")
    except ProtocolError as error:
        if error.code == "invalid_grant":
            return Finding("client", "is accepted by the token endpoint")
        return Finding("client", f"is not accepted by the token endpoint: {error.code}", _CREDENTIALS)
    return Finding("client", "was given tokens for a code that cannot exist", "Do not use this provider; report it to Incode.")
