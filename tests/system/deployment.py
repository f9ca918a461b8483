"""The service on a real database with a provider that really signs, as it is put to work outside of the tests."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.sandbox import Client, Sandbox, SandboxConfig
from tests.harness.databases import empty_database, is_postgres_reachable
from tests.harness.provider import ProviderHost
from tests.system.processes import SETTINGS, Running, Workplace, answers, serving


@dataclass(frozen=True)
class Deployment:
    """The service at its address, its provider, its process, and which database it was given."""

    url: str
    sandbox: Sandbox
    service: Running
    database: str


@contextmanager
def deployed(workers: int) -> Iterator[Deployment]:
    """So many processes on a PostgreSQL database where a server is found, else on a SQLite file."""
    with (
        tempfile.TemporaryDirectory(prefix="idv-") as folder,
        ProviderHost().running() as host,
        _database() as (name, url),
    ):
        client = Client(
            SETTINGS["INCODE_CLIENT_ID"], SETTINGS["INCODE_CLIENT_SECRET"], "system tests", (SETTINGS["REDIRECT_URI"],)
        )
        sandbox = Sandbox(SandboxConfig(issuer=host.url, clients=(client,)), key=host.key)
        host.app = sandbox.app
        work = Workplace(Path(folder))
        settings = {"INCODE_SERVER_URL": host.url, "DATABASE_URL": url, "ATTEMPT_LIMIT": "0", "LOG_LEVEL": "warning"}
        migrated = work.run("migrate", settings={**SETTINGS, **settings})
        if migrated.returncode:
            raise SystemExit(migrated.stderr)
        with serving(work, "--workers", str(workers), **settings) as (service, address):
            service.wait_until(lambda: answers(f"{address}/readyz", 200), "the service")
            yield Deployment(address, sandbox, service, name)


@contextmanager
def _database() -> Iterator[tuple[str, str]]:
    if not is_postgres_reachable():
        yield "SQLite", "sqlite+aiosqlite:///./idv.db"
        return
    with empty_database() as url:
        yield "PostgreSQL", url
