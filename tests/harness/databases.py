import asyncio
import os
import secrets
import shutil
from collections.abc import Generator
from pathlib import Path

import asyncpg
import pytest

from app.storage.database import Database
from app.storage.migrate import upgrade

POSTGRES_URL = os.environ.get("TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/postgres")
POSTGRES_REQUIRED = os.environ.get("REQUIRE_POSTGRES") == "1"


def service_url(postgres_url: str) -> str:
    return postgres_url.replace("postgresql://", "postgresql+asyncpg://", 1)


async def _migrate(url: str) -> None:
    database = Database(url)
    await upgrade(database)
    await database.close()


async def _execute(statement: str) -> None:
    connection = await asyncpg.connect(POSTGRES_URL, timeout=5)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


class SqliteFiles:
    """A migrated file for each test, copied from one that was migrated once."""

    def __init__(self, folder: Path) -> None:
        self._template = folder / "template.db"
        asyncio.run(_migrate(f"sqlite+aiosqlite:///{self._template}"))

    def new(self, folder: Path) -> str:
        shutil.copy(self._template, folder / "idv.db")
        return f"sqlite+aiosqlite:///{folder / 'idv.db'}"


class PostgresDatabases:
    """A migrated database for each test, on a real server, from one that was migrated once."""

    def __init__(self) -> None:
        self._prefix = f"idv_test_{secrets.token_hex(4)}"
        self._base = POSTGRES_URL.rpartition("/")[0]
        self._count = 0

    @property
    def template(self) -> str:
        return f"{self._prefix}_template"

    def new(self, template: str | None = None) -> Generator[str, None, None]:
        self._count += 1
        name = f"{self._prefix}_{self._count}" if template else self.template
        asyncio.run(_execute(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else "")))
        try:
            yield f"{service_url(self._base)}/{name}"
        finally:
            asyncio.run(_execute(f"DROP DATABASE {name} WITH (FORCE)"))


def is_postgres_reachable() -> bool:
    try:
        asyncio.run(_execute("SELECT 1"))
    except (OSError, asyncpg.PostgresError, TimeoutError):
        return False
    return True


def postgres_or_skip() -> None:
    if not is_postgres_reachable():
        assert not POSTGRES_REQUIRED, "no PostgreSQL server at TEST_POSTGRES_URL, and REQUIRE_POSTGRES=1"
        pytest.skip("no PostgreSQL server at TEST_POSTGRES_URL")


def migrate(url: str) -> None:
    asyncio.run(_migrate(url))
