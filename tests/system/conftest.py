import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.core.domain import utc_now
from app.sandbox import Sandbox
from tests.harness.provider import CLIENT_ID, CLIENT_SECRET, ProviderHost, new_sandbox
from tests.system.processes import Workplace


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
