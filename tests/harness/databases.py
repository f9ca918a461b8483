import asyncio
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from app.storage.database import Database
from app.storage.migrate import upgrade
from tests.harness.waiting import PATIENCE

# asyncpg would ask for TLS, which on loopback protects nothing and doubles what each connection costs.
os.environ.setdefault("PGSSLMODE", "disable")
POSTGRES_URL = os.environ.get("TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/postgres")

TABLES = """
SELECT string_agg(quote_ident(tablename), ', ') FROM pg_tables
    WHERE schemaname = 'public' AND tablename <> 'alembic_version'
"""
SHAPE = """
SELECT md5(string_agg(part, ',' ORDER BY part)) FROM (
    SELECT format('%s.%s %s %s', relname, attname, atttypid, attnotnull) AS part
        FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT pg_get_indexdef(indexrelid) FROM pg_index JOIN pg_class ON pg_class.oid = indrelid
        WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT conname || pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL SELECT 'at ' || version_num FROM alembic_version
    UNION ALL SELECT 'admits ' || datallowconn FROM pg_database WHERE datname = current_database()
) AS parts
"""
DISCONNECT = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


def service_url(postgres_url: str) -> str:
    return postgres_url.replace("postgresql://", "postgresql+asyncpg://", 1)


def plain_url(url: str) -> str:
    """The service's URL as other programs take it."""
    return url.replace("postgresql+asyncpg://", "postgresql://", 1)


def on_postgres(name: str) -> str:
    """The URL that the service takes for a database of this name on the tests' server."""
    return service_url(_beside(name))


def _beside(name: str) -> str:
    return f"{POSTGRES_URL.rpartition('/')[0]}/{name}"


async def _migrate(url: str) -> None:
    database = Database(url)
    await upgrade(database)
    await database.close()


async def _execute(statement: str) -> None:
    connection = await asyncpg.connect(POSTGRES_URL, timeout=PATIENCE)
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


class PostgresDatabase:
    """A migrated database on a real server, which the tests of one worker use one after the other."""

    def __init__(self, template: str) -> None:
        self._name = f"{template}_used"
        self._template = template
        # Its own event loop, which keeps the connection from test to test.
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._connection: asyncpg.Connection | None = None
        self._tables = ""
        self._shape = ""

    def emptied(self) -> str:
        """Its URL, without rows and without connections.

        If the last test changed more than rows, the database is made anew.
        """
        self._runner.run(self._empty())
        return on_postgres(self._name)

    def drop(self) -> None:
        """Remove the database, and close the connection."""
        self._runner.run(self._drop())
        self._runner.close()

    async def _empty(self) -> None:
        if self._connection is None or not await self._is_emptied(self._connection):
            await self._drop()
            await _execute(f"CREATE DATABASE {self._name} TEMPLATE {self._template}")
            self._connection = await asyncpg.connect(_beside(self._name), timeout=PATIENCE)
            self._tables = await self._connection.fetchval(TABLES)
            self._shape = await self._connection.fetchval(SHAPE)

    async def _is_emptied(self, connection: asyncpg.Connection) -> bool:
        try:
            await connection.execute(DISCONNECT)
            if await connection.fetchval(SHAPE) != self._shape:
                return False
            await connection.execute(f"TRUNCATE {self._tables} RESTART IDENTITY")
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            return False
        return True

    async def _drop(self) -> None:
        if self._connection:
            self._connection.terminate()
            self._connection = None
        await _execute(f"DROP DATABASE IF EXISTS {self._name} WITH (FORCE)")


@contextmanager
def migrated_template() -> Iterator[str]:
    """The name of a migrated database, from which others are made."""
    with named_database() as name:
        migrate(on_postgres(name))
        yield name


@contextmanager
def empty_database() -> Iterator[str]:
    """The URL of a database without any tables, which is removed after the block."""
    with named_database() as name:
        yield on_postgres(name)


@contextmanager
def named_database() -> Iterator[str]:
    name = f"idv_test_{secrets.token_hex(4)}"
    asyncio.run(_execute(f"CREATE DATABASE {name} TEMPLATE template0"))
    try:
        yield name
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
        pytest.skip("no PostgreSQL server at TEST_POSTGRES_URL")


def migrate(url: str) -> None:
    asyncio.run(_migrate(url))
