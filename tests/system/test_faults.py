"""Faults that happen in earnest: a worker that is killed, a database that stops, a disk that is full, an order to
end.
"""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from app.core.lifetimes import INTERRUPTED_AFTER
from app.sandbox import Endpoint, Gate, Sandbox
from tests.harness.databases import migrate
from tests.harness.postgres_server import PostgresServer, own_server
from tests.harness.service import is_told_of
from tests.harness.tables import Tables, on_postgresql_only, on_sqlite_only
from tests.harness.waiting import PATIENCE, arrivals, until
from tests.system.callers import Caller, Load, Login
from tests.system.processes import Workplace, answers, serving

pytestmark = pytest.mark.usefixtures("alone")  # many processes at once slow each other down
# Without this capability root, too, is held by the modes of files.
WITHOUT_PRIVILEGE = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search") if os.geteuid() == 0 else ()


def exchanges(provider: Sandbox, login: Login) -> int:
    """How often the login's code was sent to the provider."""
    sent = [request.parameters.get("code") for request in provider.requests if request.endpoint == "token"]
    return sent.count(login.code)


def refuses_connections(url: str) -> bool:
    try:
        httpx.get(f"{url}/healthz", timeout=1)
    except httpx.ConnectError:
        return True
    except httpx.TransportError:
        return False
    return False


@asynccontextmanager
async def under_way(
    caller: Caller, login: Login, provider: Sandbox, endpoint: Endpoint
) -> AsyncIterator[tuple[asyncio.Task[httpx.Response], Gate]]:
    """A callback that waits at the provider's endpoint until the block ends or opens its gate."""
    with provider.hold(endpoint) as gate:
        callback = asyncio.create_task(asyncio.to_thread(caller.finish, login))
        await arrivals(gate)
        yield callback, gate


# kill -9


async def what_a_killed_worker_leaves(caller: Caller, provider: Sandbox, login: Login, database_url: str) -> None:
    """The attempt is there, the person starts again at once, and the code is not sent a second time."""
    tables = Tables(database_url)
    # As it is stored: on a busy machine the new workers may come when its time is over.
    left = await tables.rows("SELECT status FROM verifications WHERE id = :id", id=login.id)
    assert left == [{"status": "exchanging"}]
    again = caller.finish(caller.visited("ana"))
    assert (again.status_code, again.json()["reason"]) == (200, "verified")

    long_ago = tables.moment(datetime.now(UTC) - INTERRUPTED_AFTER - timedelta(seconds=1))
    assert (
        await tables.change(
            "UPDATE verifications SET exchange_started_at = :at WHERE id = :id", at=long_ago, id=login.id
        )
        == 1
    )
    repeated = caller.finish(login)
    assert (repeated.status_code, repeated.json()["reason"]) == (200, "callback_interrupted")
    assert caller.finish(login).json() == repeated.json()
    assert caller.attempt(login)["status"] == "failed"
    assert caller.status("ana").json()["reason"] == "recently_verified"
    assert exchanges(provider, login) == 1


async def test_a_worker_killed_after_the_exchange_is_replaced_and_loses_no_attempt(
    work: Workplace, provider: Sandbox, connected: dict[str, str]
) -> None:
    with serving(work, "--workers", "2", **connected) as (service, url):
        caller = Caller(url)
        login = caller.visited("ana")
        async with under_way(caller, login, provider, "userinfo") as (callback, _):
            killed = service.workers()
            assert len(killed) == 2
            service.kill_workers()
            with pytest.raises(httpx.TransportError):
                await callback
        service.wait_until(lambda: answers(f"{url}/healthz", 200), "new workers")
        assert not service.workers() & killed
        await what_a_killed_worker_leaves(caller, provider, login, connected["DATABASE_URL"])


@on_postgresql_only
async def test_a_worker_killed_while_it_commits_loses_no_attempt(
    work: Workplace, provider: Sandbox, connected: dict[str, str]
) -> None:
    with serving(work, "--workers", "2", **connected) as (service, url):
        caller = Caller(url)
        login = caller.visited("ana")
        async with (
            under_way(caller, login, provider, "userinfo") as (callback, gate),
            create_async_engine(connected["DATABASE_URL"], poolclass=NullPool).begin() as other,
        ):
            await other.execute(text("LOCK TABLE users IN SHARE MODE"))
            gate.open()
            await somebody_waits_for_a_lock(connected["DATABASE_URL"])
            service.kill_workers()
            with pytest.raises(httpx.TransportError):
                await callback
        service.wait_until(lambda: answers(f"{url}/healthz", 200), "new workers")
        await what_a_killed_worker_leaves(caller, provider, login, connected["DATABASE_URL"])


async def somebody_waits_for_a_lock(database_url: str) -> None:
    tables = Tables(database_url)
    waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.timeout(PATIENCE):
        while not await tables.rows(waiting):
            pass


# SIGTERM


@on_sqlite_only
@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_callback_that_is_under_way_is_answered_before_the_process_ends(
    work: Workplace, provider: Sandbox, connected: dict[str, str], workers: str
) -> None:
    with serving(work, "--workers", workers, **connected) as (service, url):
        caller = Caller(url)
        login = caller.visited("ana")
        async with under_way(caller, login, provider, "token") as (callback, _):
            service.process.send_signal(signal.SIGTERM)
            await until(lambda: refuses_connections(url))
            assert service.process.poll() is None
            assert not callback.done()
        answer = await callback
        assert (answer.status_code, answer.json()["reason"]) == (200, "verified")
        assert service.process.wait(PATIENCE) == 0
        assert service.errors == ""
    assert exchanges(provider, login) == 1


# The database


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    with own_server() as server:
        migrate(server.url)
        yield server


@on_sqlite_only
async def test_a_database_that_stops_under_load_is_told_of_and_used_again_when_it_is_back(
    work: Workplace, provider: Sandbox, connected: dict[str, str], own_postgres: PostgresServer
) -> None:
    settings = {**connected, "DATABASE_URL": own_postgres.url}
    with serving(work, "--workers", "2", **settings) as (service, url):
        caller = Caller(url)
        workers = service.workers()
        before = [caller.visited(f"before-{n}") for n in range(3)]
        async with Load(url).running(tasks=8) as load:
            await until(lambda: load.served > 20)
            await asyncio.to_thread(own_postgres.stop)
            await until(lambda: load.refused > 20)
            assert answers(f"{url}/healthz", 200)
            assert answers(f"{url}/readyz", 503)
            is_told_of(caller.finish(before[0]))
            await asyncio.to_thread(own_postgres.start)
            served = load.served
            await until(lambda: load.served > served + 20)
        assert load.other == []
        for login in before:
            assert caller.finish(login).json()["reason"] == "verified"
            assert exchanges(provider, login) == 1
        assert service.workers() == workers
        assert service.errors == ""


# SQLite's file


def sqlite_file(settings: dict[str, str]) -> Path:
    return Path(settings["DATABASE_URL"].removeprefix("sqlite+aiosqlite:///"))


@on_sqlite_only
async def test_a_full_disk_is_told_of_and_used_again_when_there_is_room(
    work: Workplace, provider: Sandbox, connected: dict[str, str]
) -> None:
    """No file may grow any more, which is what a process sees of a full disk."""
    log = sqlite_file(connected).with_name("idv.db-wal")
    with serving(work, **connected) as (service, url):
        caller = Caller(url)
        login = caller.visited("ana")
        service.limit_files(log.stat().st_size)
        is_told_of(caller.start("ana"))
        is_told_of(caller.finish(login))
        assert caller.status("ana").json()["reason"] == "never_verified"
        assert exchanges(provider, login) == 0

        service.limit_files(None)
        assert caller.finish(login).json()["reason"] == "verified"
        assert service.errors == ""
    assert await Tables(connected["DATABASE_URL"]).rows("PRAGMA integrity_check") == [{"integrity_check": "ok"}]


@pytest.mark.skipif(
    os.geteuid() == 0 and not shutil.which("setpriv"), reason="root is not held by modes without setpriv"
)
@on_sqlite_only
@pytest.mark.parametrize("whole_folder", [False, True], ids=["file", "folder"])
async def test_a_file_that_may_only_be_read_is_told_of_and_used_again_when_it_may_be_written(
    work: Workplace, connected: dict[str, str], *, whole_folder: bool
) -> None:
    file = sqlite_file(connected)
    closed = [file, file.parent] if whole_folder else [file]
    modes = [path.stat().st_mode for path in closed]
    with serving(work, through=WITHOUT_PRIVILEGE, **connected) as (service, url):
        caller = Caller(url)
        for path in closed:
            path.chmod(0o555)
        try:
            is_told_of(caller.start("ana"))
            is_told_of(caller.status("ana"))
        finally:
            for path, mode in zip(closed, modes, strict=True):
                path.chmod(mode)
        started = caller.start("ana")
        assert started.status_code == 200, started.text
        assert service.errors == ""
