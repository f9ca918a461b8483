import fcntl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from app.core.domain import utc_now
from app.main import create_app
from app.sandbox import Sandbox
from tests.harness.provider import CLIENT_ID, CLIENT_SECRET, ProviderHost, new_sandbox
from tests.harness.service import ENCRYPTION_KEY, REDIRECT_SECRET, Service, settings_for
from tests.system.processes import SETTINGS, Workplace


@pytest.fixture
def work(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path)


@pytest.fixture
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No other test that asks to be alone runs meanwhile, in any of pytest's own processes."""
    with (tmp_path_factory.getbasetemp().parent / "alone.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture
def provider(provider_host: ProviderHost) -> Sandbox:
    """The provider by the machine's clock, which processes of their own go by."""
    return new_sandbox(provider_host, utc_now)


@pytest.fixture
def connected(provider_host: ProviderHost, provider: Sandbox, database_url: str) -> dict[str, str]:
    """What a service needs to know of the provider and of a migrated database, on each engine in turn."""
    return {
        "INCODE_CLIENT_ID": CLIENT_ID,
        "INCODE_CLIENT_SECRET": CLIENT_SECRET,
        "INCODE_SERVER_URL": provider_host.url,
        "HTTP_TIMEOUT_SECONDS": "6.5",
        "DATABASE_URL": database_url,
    }


@pytest.fixture
def store_tokens() -> bool:
    """Whether the service below keeps the provider's tokens; a module that wants it says so by its own."""
    return False


@pytest.fixture
async def service(
    provider_host: ProviderHost, provider: Sandbox, database_url: str, *, store_tokens: bool
) -> AsyncIterator[Service]:
    """A service by the machine's clock, as the commands go by it, on each engine in turn."""
    settings = settings_for(provider_host.url, database_url, store_tokens=store_tokens)
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        service = Service(app, provider, settings)
        yield service
        await service.close()


@pytest.fixture
def settings(connected: dict[str, str], *, store_tokens: bool) -> dict[str, str]:
    """The same service's settings, for processes of their own."""
    same = {
        "ENCRYPTION_KEYS": ENCRYPTION_KEY,
        "REDIRECT_SECRET": REDIRECT_SECRET,
        "STORE_TOKENS": str(store_tokens).lower(),
    }
    return {**SETTINGS, **connected, **same}
