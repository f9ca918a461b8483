import asyncio
from collections.abc import Iterator

import asyncpg
import pytest

from tests.harness.databases import PostgresDatabase, migrated_template, postgres_or_skip

COLUMNS = (
    "SELECT string_agg(table_name || column_name, ' ') FROM information_schema.columns WHERE table_schema = 'public'"
)
CONSTRAINTS = "SELECT count(*) FROM information_schema.table_constraints WHERE table_schema = 'public'"
INDEXES = "SELECT count(*) FROM pg_indexes WHERE schemaname = 'public'"
CHANGES = {
    "INSERT INTO users (user_id, revision) VALUES ('ana', 1)": "SELECT count(*) FROM users",
    "ALTER TABLE users ADD CONSTRAINT surplus CHECK (revision > 7)": CONSTRAINTS,
    "ALTER TABLE users DROP COLUMN completed": COLUMNS,
    "ALTER TABLE users RENAME TO gone": COLUMNS,
    "CREATE TABLE surplus (id INTEGER)": COLUMNS,
    "CREATE INDEX surplus ON users (revision)": INDEXES,
    "CREATE FUNCTION surplus() RETURNS integer LANGUAGE sql AS 'SELECT 1'": "SELECT count(*) FROM pg_proc",
    "UPDATE alembic_version SET version_num = '2999010101'": "SELECT version_num FROM alembic_version",
    "DROP TABLE alembic_version": COLUMNS,
}


@pytest.fixture(scope="module")
def database() -> Iterator[PostgresDatabase]:
    postgres_or_skip()
    with migrated_template() as template:
        database = PostgresDatabase(template)
        yield database
        database.drop()


async def connect(url: str) -> asyncpg.Connection:
    return await asyncpg.connect(url.replace("+asyncpg", ""))


def run(url: str, statement: str) -> object:
    async def connect_and_run() -> object:
        connection = await connect(url)
        found: object = await connection.fetchval(statement)
        await connection.close()
        return found

    return asyncio.run(connect_and_run())


@pytest.mark.parametrize("change", CHANGES)
def test_no_test_finds_what_another_has_done_to_the_database(database: PostgresDatabase, change: str) -> None:
    look = CHANGES[change]
    url = database.emptied()
    before = run(url, look)
    run(url, change)
    assert run(url, look) != before
    assert run(database.emptied(), look) == before


def test_no_test_waits_for_a_lock_that_another_has_left(database: PostgresDatabase) -> None:
    with asyncio.Runner() as other:
        connection = other.run(connect(database.emptied()))
        other.run(connection.execute("BEGIN"))
        other.run(connection.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE"))
        assert run(database.emptied(), "SELECT count(*) FROM users") == 0
        connection.terminate()


def test_a_database_that_admitted_nobody_admits_the_next_test(database: PostgresDatabase) -> None:
    url = database.emptied()
    base, _, name = url.rpartition("/")
    run(f"{base}/postgres", f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    assert run(database.emptied(), "SELECT count(*) FROM users") == 0
