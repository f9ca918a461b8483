"""What `idv check` looks at: the provider, our registration there, the clock, addresses, the database.

Each finding says how to mend it.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from app.core.domain import Addresses
from app.oidc import ProviderConfig, is_loopback
from app.operator.check_database import check_database
from app.operator.check_provider import check_provider
from app.operator.finding import Finding
from app.storage.database import Database


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
    if is_loopback(parts.hostname or ""):
        return Finding(name, "is on this machine; no other can reach it")
    if parts.scheme == "https":
        return Finding(name, "is https")
    return Finding(name, "is plain http", "Use https: codes and cookies can be read on the way. ALLOW_HTTP is for tests.")
