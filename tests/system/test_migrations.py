import asyncio
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from app.core.errors import DatabaseUnavailable
from app.storage.database import Database
from app.storage.migrate import TURN, alembic_config, upgrade
from app.storage.revisions import current_revision, newest_revision
from app.storage.tables import METADATA
from tests.harness.tables import Tables, on_postgresql_only
from tests.system.processes import REPOSITORY, SETTINGS, Workplace

ALEMBIC = Path(sys.executable).parent / "alembic"
TABLES = {"users", "verifications", "audit", "keyring", "leases"}


async def on(url: str, work: Callable[[Connection], Any]) -> Any:
    database = Database(url)
    async with database.bulk() as connection:
        result = await connection.run_sync(work)
    await database.close()
    return result


def tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names())


def indexes(connection: Connection) -> set[str]:
    found = inspect(connection)
    return {str(index["name"]) for table in found.get_table_names() for index in found.get_indexes(table)}


def differences(connection: Connection) -> list[Any]:
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    found: list[Any] = compare_metadata(context, METADATA)
    return found


def to(revision: str) -> Callable[[Connection], None]:
    def move(connection: Connection) -> None:
        config = alembic_config()
        config.attributes["connection"] = connection
        move_to = command.downgrade if revision in {"base", "-1"} else command.upgrade
        move_to(config, revision)

    return move


async def test_the_migrated_tables_are_the_tables_of_the_code(database_url: str) -> None:
    assert await on(database_url, differences) == []


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE users ADD COLUMN surplus TEXT",
        "ALTER TABLE verifications DROP COLUMN failure_description",
        "DROP INDEX ix_verifications_user_id_created_at_id",
        "CREATE TABLE surplus (id INTEGER)",
    ],
)
async def test_a_difference_would_be_seen(database_url: str, statement: str) -> None:
    await on(database_url, lambda connection: connection.execute(text(statement)))
    assert len(await on(database_url, differences)) == 1


async def test_migrations_go_down_to_nothing_and_up_again(database_url: str) -> None:
    assert await on(database_url, tables) == {*TABLES, "alembic_version"}
    before = await on(database_url, indexes)

    await on(database_url, to("base"))
    assert await on(database_url, tables) == {"alembic_version"}
    assert await on(database_url, indexes) == set()

    await on(database_url, to("head"))
    assert await on(database_url, differences) == []
    assert await on(database_url, indexes) == before


async def test_every_migration_goes_down_and_up_by_itself(database_url: str) -> None:
    assert ScriptDirectory.from_config(alembic_config()).get_current_head() == newest_revision()
    for script in ScriptDirectory.from_config(alembic_config()).walk_revisions():
        await on(database_url, to("-1"))
        await on(database_url, to(script.revision))
        await on(database_url, to("-1"))
    assert await on(database_url, tables) == {"alembic_version"}


async def test_migrating_a_migrated_database_changes_nothing(database_url: str) -> None:
    await on(database_url, lambda c: c.execute(text("INSERT INTO users (user_id, revision) VALUES ('ana', 1)")))
    database = Database(database_url)
    for _ in range(2):
        await upgrade(database)
    assert await current_revision(database) == newest_revision()
    await database.close()
    assert await on(database_url, lambda c: c.execute(text("SELECT user_id FROM users")).scalar_one()) == "ana"


async def test_a_migration_that_fails_leaves_nothing_half_done(database_url: str) -> None:
    await on(database_url, to("base"))
    await on(database_url, lambda connection: connection.execute(text("CREATE TABLE verifications (id INTEGER)")))
    database = Database(database_url)
    with pytest.raises(DatabaseUnavailable):
        await upgrade(database)
    assert await current_revision(database) is None
    await database.close()
    assert await on(database_url, tables) == {"alembic_version", "verifications"}


@on_postgresql_only
async def test_on_postgresql_every_column_has_a_type_of_its_own(database_url: str) -> None:
    columns = await Tables(database_url).rows(
        "SELECT table_name, column_name, data_type FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name <> 'alembic_version'"
    )
    found = {(each["table_name"], each["column_name"]): each["data_type"] for each in columns}
    moments = {key for key in found if key[1].endswith("_at") or key[1] in {"at", "held_until"}}
    sealed = {key for key in found if key[1].startswith("sealed_")}
    assert len(moments) == 9
    assert {found[key] for key in moments} == {"timestamp with time zone"}
    assert len(sealed) == 7
    assert {found[key] for key in sealed} == {"bytea"}
    others = {key[1]: found[key] for key in found.keys() - moments - sealed}
    assert {name: kind for name, kind in others.items() if kind not in {"text", "character varying"}} == {
        "completed": "boolean",
        "omit_state": "boolean",
        "counted": "boolean",
        "revision": "integer",
    }


@on_postgresql_only
async def test_a_migration_waits_for_one_that_runs_already(database_url: str) -> None:
    await on(database_url, to("base"))
    database = Database(database_url, unhurried=True)
    async with create_async_engine(database_url, poolclass=NullPool).begin() as other:
        await other.execute(text(f"SELECT pg_advisory_xact_lock({TURN})"))
        second = asyncio.create_task(upgrade(database))
        waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'"
        while not second.done() and not await Tables(database_url).rows(waiting):
            pass
        assert not second.done()
    await second
    assert await current_revision(database) == newest_revision()
    await database.close()


@on_postgresql_only
async def test_a_migration_that_cannot_have_its_locks_gives_up_soon_and_holds_nobody_up(database_url: str) -> None:
    await on(database_url, to("base"))
    async with create_async_engine(database_url, poolclass=NullPool).connect() as other:
        await other.execute(text("LOCK TABLE alembic_version IN SHARE MODE"))
        database = Database(database_url, unhurried=True)
        async with asyncio.timeout(10):
            with pytest.raises(DatabaseUnavailable) as caught:
                await upgrade(database)
        assert "lock timeout" in str(caught.value.__cause__)
        assert await current_revision(database) is None
        await database.close()
    assert await on(database_url, tables) == {"alembic_version"}


def test_there_is_one_newest_migration_and_all_have_dated_names() -> None:
    directory = ScriptDirectory.from_config(alembic_config())
    assert directory.get_heads() == [newest_revision()]
    for script in directory.walk_revisions():
        assert re.fullmatch(r"\d{4}_\d{2}_\d{2}_[a-z0-9_]+\.py", Path(script.path).name)
        assert re.fullmatch(r"\d{10}", script.revision)
        assert script.doc


def test_alembics_own_command_line_migrates_and_finds_nothing_to_add(work: Workplace) -> None:
    settings = {**SETTINGS, "DATABASE_URL": f"sqlite+aiosqlite:///{work.folder}/own.db"}
    for arguments in (("upgrade", "head"), ("check",)):
        ran = work.run("-c", str(REPOSITORY / "alembic.ini"), *arguments, program=ALEMBIC, settings=settings)
        assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "No new upgrade operations detected" in ran.stdout + ran.stderr
