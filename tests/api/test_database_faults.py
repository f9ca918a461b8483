"""A database that is held up, full of connections, or away: told of in time, and mended without a restart."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from app.core.errors import DatabaseUnavailable
from app.storage import database as db
from app.storage import sqlite
from app.storage.database import Database
from tests.harness.service import Service, is_told_of
from tests.harness.silence import Wire
from tests.harness.tables import on_postgresql_only, on_sqlite_only
from tests.harness.waiting import PATIENCE, until

CALLERS_WAIT_SECONDS = 10
MOST_CONNECTIONS = db.CONNECTIONS + db.MORE_CONNECTIONS_UNDER_LOAD


def test_no_wait_for_the_database_outlasts_a_caller() -> None:
    assert db.POOL_SECONDS + max(db.CONNECT_SECONDS, db.ANSWER_SECONDS) < CALLERS_WAIT_SECONDS
    assert sqlite.BUSY_TIMEOUT_MS / 1000 < CALLERS_WAIT_SECONDS


@contextlib.asynccontextmanager
async def behind(url: str) -> AsyncIterator[AsyncConnection]:
    """A connection to the same database that is not the service's, in a transaction."""
    engine = create_async_engine(url, poolclass=NullPool)
    async with engine.begin() as connection:
        yield connection


@on_postgresql_only
async def test_more_requests_than_connections_are_all_told_in_time_and_served_afterwards(
    service: Service, database_url: str
) -> None:
    await service.start("auth0|ana")
    async with behind(database_url) as other:
        await other.execute(text("LOCK TABLE users IN ACCESS EXCLUSIVE MODE"))
        async with asyncio.timeout(PATIENCE):
            requests = asyncio.gather(*(service.idp.get("/v1/users/ana") for _ in range(3 * MOST_CONNECTIONS)))
            await until(lambda: service.app.state.services.database.engine.pool.checkedout() == MOST_CONNECTIONS)
            assert (await service.idp.get("/healthz")).status_code == 200
            responses = await requests

    for response in responses:
        is_told_of(response)
    answers = await asyncio.gather(*(service.status("ana") for _ in range(3 * MOST_CONNECTIONS)))
    assert {answer["reason"] for answer in answers} == {"never_verified"}


@on_sqlite_only
async def test_a_file_that_somebody_else_keeps_locked_is_told_of_in_time(service: Service, database_url: str) -> None:
    await service.start("auth0|ana")
    with closing(sqlite3.connect(database_url.removeprefix("sqlite+aiosqlite:///"), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        async with asyncio.timeout(PATIENCE):
            starts = (service.idp.post("/v1/verifications", json={"user_id": "ana"}) for _ in range(2 * MOST_CONNECTIONS))
            responses = await asyncio.gather(*starts)
            assert (await service.idp.get("/healthz")).status_code == 200
        other.execute("ROLLBACK")

    for response in responses:
        is_told_of(response)
    assert (await service.start("ana"))["action"] == "redirect"


@on_postgresql_only
async def test_a_lock_is_not_waited_for_without_end_and_the_callback_can_be_repeated(service: Service, database_url: str) -> None:
    started = await service.start("auth0|ana")
    back = await service.visit(started)
    async with behind(database_url) as other:
        await other.execute(text("SELECT 1 FROM verifications FOR UPDATE"))
        async with asyncio.timeout(PATIENCE):
            is_told_of(await service.send_callback("auth0|ana", started, **back))

    assert (await service.finish("auth0|ana", started, **back))["reason"] == "verified"
    assert service.asked("token") == 1


@on_postgresql_only
async def test_a_server_that_admits_nobody_is_told_of_and_mended_without_a_restart(service: Service, database_url: str) -> None:
    name = database_url.rpartition("/")[2]
    maintenance = database_url.rpartition("/")[0] + "/postgres"
    async with behind(maintenance) as other:
        await other.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
    is_told_of(await service.idp.get("/v1/users/ana"))
    assert (await service.idp.get("/readyz")).status_code == 503

    async with behind(maintenance) as other:
        await other.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"))
    assert (await service.status("ana"))["reason"] == "never_verified"


@on_postgresql_only
async def test_connections_that_broke_are_replaced(service: Service, database_url: str) -> None:
    await asyncio.gather(*(service.status("ana") for _ in range(MOST_CONNECTIONS)))
    async with behind(database_url) as other:
        ended = await other.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'idv-gateway'"
            )
        )
        assert len(ended.all()) >= 1

    answers = await asyncio.gather(*(service.status("ana") for _ in range(MOST_CONNECTIONS)))
    assert {answer["reason"] for answer in answers} == {"never_verified"}


@on_postgresql_only
@pytest.mark.parametrize("connected", [False, True], ids=["at first", "later"])
async def test_a_server_that_falls_silent_is_told_of_in_time_and_used_again(database_url: str, *, connected: bool) -> None:
    address = make_url(database_url)
    async with Wire(address.host or "", address.port or 5432).laid() as wire:
        database = Database(address.set(host="127.0.0.1", port=wire.port).render_as_string(hide_password=False))
        if connected:
            assert await answer_of(database) == 1
        wire.cut()
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(DatabaseUnavailable):
                await answer_of(database)
        wire.mend()
        assert await answer_of(database) == 1
        await database.close()


async def answer_of(database: Database) -> int:
    async with database.reading() as session:
        return int((await session.execute(text("SELECT 1"))).scalar_one())


@on_postgresql_only
@pytest.mark.parametrize(
    ("unhurried", "limits"),
    [
        (False, {"lock_timeout": "2s", "statement_timeout": "3s", "idle_in_transaction_session_timeout": "10s"}),
        (True, {"lock_timeout": "2s", "statement_timeout": "0", "idle_in_transaction_session_timeout": "10s"}),
    ],
    ids=["service", "migration"],
)
async def test_every_connection_has_its_time_limits(database_url: str, *, unhurried: bool, limits: dict[str, str]) -> None:
    database = Database(database_url, unhurried=unhurried)
    async with database.reading() as session:
        found = {name: (await session.execute(text(f"SHOW {name}"))).scalar_one() for name in limits}
    await database.close()
    assert found == limits


@on_postgresql_only
async def test_a_statement_that_takes_too_long_is_ended_by_the_server(database_url: str) -> None:
    database = Database(database_url)
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(DatabaseUnavailable) as caught:
            async with database.reading() as session:
                await session.execute(text("SELECT pg_sleep(60)"))
    await database.close()
    assert "statement timeout" in str(caught.value.__cause__)
