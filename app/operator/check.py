"""What `idv check` looks at: environment, provider, our registration there, clock, addresses, database, what is stored.

Each finding says how to mend it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from app.api.browser import hosted_addresses
from app.core.domain import Addresses
from app.oidc import ProviderConfig, is_loopback
from app.operator.check_database import check_database
from app.operator.check_provider import check_provider
from app.operator.check_records import check_records
from app.operator.finding import Finding
from app.settings.model import NAMES
from app.storage.database import Database
from app.storage.health import look_at
from app.storage.keeping import Keeper, Progress


async def check_all(
    provider: ProviderConfig,
    addresses: Addresses,
    database: Database,
    keeper: Keeper,
    environment: Mapping[str, str],
    *,
    every_record: bool,
    show: Progress,
) -> list[Finding]:
    """Every check, in the order in which what it finds is worth mending."""
    redirect_uri = next(iter(addresses.redirect_uris), hosted_addresses(addresses.public_url).callback_url)
    usable = (await look_at(database)).cause is None
    return [
        *check_environment(environment),
        *[finding async for finding in check_provider(provider, redirect_uri)],
        *check_addresses(addresses),
        await check_database(database),
        *(await check_records(keeper, every=every_record, show=show) if usable else []),
    ]


def check_environment(environment: Mapping[str, str]) -> list[Finding]:
    """Find names that look like a misspelt setting, and say how many processes the environment asks for.

    In `.env` such a name stops the start. The environment holds names of others, too: there it is only told.
    """
    misspelt = [
        Finding(
            name, "is the name of no setting", f"{meant} was probably meant. If this is another program's, leave it."
        )
        for name, meant in NAMES.resembling(environment).items()
    ]
    processes = environment.get("WEB_CONCURRENCY")
    wanted = f"lets idv serve start {processes} processes, where --workers does not say otherwise"
    return [*misspelt, *([Finding("WEB_CONCURRENCY", wanted)] if processes else [])]


def check_addresses(addresses: Addresses) -> list[Finding]:
    """Look whether browsers are sent over https to each address."""
    return [
        _address("PUBLIC_URL", addresses.public_url),
        *_each("REDIRECT_URI", addresses.redirect_uris),
        *_each("RETURN_URLS", addresses.return_urls),
    ]


def _each(name: str, urls: Sequence[str]) -> list[Finding]:
    return [_address(name if len(urls) == 1 else f"{name}, number {number}", url) for number, url in enumerate(urls, 1)]


def _address(name: str, url: str) -> Finding:
    parts = urlsplit(url)
    if is_loopback(parts.hostname or ""):
        return Finding(name, "is on this machine; no other can reach it")
    if parts.scheme == "https":
        return Finding(name, "is https")
    return Finding(
        name, "is plain http", "Use https: codes and cookies can be read on the way. ALLOW_HTTP is for tests."
    )
