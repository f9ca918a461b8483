import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import pytest_asyncio
import uvloop
from playwright.async_api import Browser

from app.main import HOUSEKEEPING_SECONDS, create_app
from app.sandbox import Sandbox
from tests.harness.chromium import chromium_or_skip, launched
from tests.harness.clock import Clock
from tests.harness.databases import PostgresDatabase, SqliteFiles, migrated_template, postgres_or_skip
from tests.harness.hooks import HOOKS, Tenant, Vendors
from tests.harness.provider import ProviderHost, new_sandbox
from tests.harness.service import Service, settings_for
from tests.harness.tampering import TamperedProvider

pytest_plugins = ["tests.harness.order", "tests.harness.skips"]

# A machine under load must not fail a property: how fast one runs decides nothing.
hypothesis.settings.register_profile("suite", deadline=None)
hypothesis.settings.load_profile("suite")


# httpx and httpcore look for it at each request, in vain and in every folder of the path.
if find_spec("sniffio") is None:
    sys.modules["sniffio"] = None  # type: ignore[assignment]


# Commands run on asyncio's own event loop: what a connection raises, and when it closes, differs there.
ON_BOTH_LOOPS = "tests/unit/oidc/"


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The event loop that the service is served on, and beside it the one that commands run on."""
    served = {"uvloop": uvloop.new_event_loop}
    return {**served, "asyncio": asyncio.new_event_loop} if item.nodeid.startswith(ON_BOTH_LOOPS) else served


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """What is imported and collected by now stays to the end: to look whether it is garbage is vain."""
    gc.collect()
    gc.freeze()


MakeService = Callable[..., Awaitable[Service]]


@pytest.fixture(scope="session")
def provider_host() -> Iterator[ProviderHost]:
    with ProviderHost().running() as host:
        yield host


@pytest.fixture(scope="session")
def sqlite_files(tmp_path_factory: pytest.TempPathFactory) -> SqliteFiles:
    return SqliteFiles(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture(scope="session")
def postgres_database() -> Iterator[PostgresDatabase]:
    """One for all tests of a worker: to make one for each would take most of their time."""
    postgres_or_skip()
    with migrated_template() as template:
        database = PostgresDatabase(template)
        yield database
        database.drop()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A migrated database without rows, on each engine in turn."""
    if request.param == "sqlite":
        files: SqliteFiles = request.getfixturevalue("sqlite_files")
        return files.new(tmp_path)
    database: PostgresDatabase = request.getfixturevalue("postgres_database")
    return database.emptied()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sandbox(provider_host: ProviderHost, clock: Clock) -> Sandbox:
    return new_sandbox(provider_host, clock)


@pytest.fixture
def provider(provider_host: ProviderHost, sandbox: Sandbox) -> TamperedProvider:
    """The sandbox, whose answers a test may replace or rewrite."""
    return TamperedProvider(provider_host, sandbox)


@pytest_asyncio.fixture
async def make_service(
    provider_host: ProviderHost, sandbox: Sandbox, database_url: str, clock: Clock
) -> AsyncIterator[MakeService]:
    """Services with settings of the test's own; several share the database, as several processes would."""
    async with AsyncExitStack() as stack:

        async def make(
            *,
            housekeeping_seconds: float = HOUSEKEEPING_SECONDS,
            entra_url: str = "https://entra.invalid",
            **settings: Any,
        ) -> Service:
            chosen = settings_for(provider_host.url, database_url, **settings)
            app = create_app(
                chosen,
                clock=clock,
                monotonic=clock.monotonic,
                housekeeping_seconds=housekeeping_seconds,
                entra_url=entra_url,
            )
            await stack.enter_async_context(app.router.lifespan_context(app))
            service = Service(app, sandbox, chosen)
            stack.push_async_callback(service.close)
            return service

        yield make


@pytest_asyncio.fixture
async def service(make_service: MakeService) -> Service:
    """The service with its defaults, on each engine in turn."""
    return await make_service()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """One browser for all tests of a worker, each of which has a profile of its own: to start it takes seconds."""
    async with launched(chromium_or_skip()) as browser:
        yield browser


@pytest.fixture(scope="session")
def tenant_host() -> Iterator[ProviderHost]:
    """Where the keys of a tenant of Microsoft Entra are."""
    with ProviderHost().running() as host:
        yield host


@pytest.fixture
def tenant(tenant_host: ProviderHost) -> Tenant:
    tenant = Tenant(tenant_host.url, tenant_host.key)
    tenant_host.app = tenant
    return tenant


@pytest_asyncio.fixture
async def vendors(make_service: MakeService, tenant: Tenant, clock: Clock) -> Vendors:
    """Every identity provider that has a hook, in front of one service."""
    return Vendors(await make_service(entra_url=tenant.url, **HOOKS), tenant.key, clock)
