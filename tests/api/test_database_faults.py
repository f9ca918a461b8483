"""A database that is held up, full of connections, or away: told of in time, and mended without a restart."""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import closing

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool
from structlog.testing import capture_logs

from app.core.errors import CommitInDoubt, DatabaseUnavailable
from app.flows import exchange, finish, hosted, recording
from app.main import create_app
from app.storage import admission, postgresql, queries, sqlite
from app.storage.database import CONNECTIONS, Database
from tests.conftest import MakeService
from tests.harness.browser import Browser
from tests.harness.clock import Clock
from tests.harness.provider import PUBLIC_URL
from tests.harness.queries import Queries
from tests.harness.service import USER, Service, is_told_of, settings_for
from tests.harness.silence import Wire
from tests.harness.tables import Tables, on_postgresql_only, on_sqlite_only
from tests.harness.waiting import PATIENCE, arrivals, until

CALLERS_WAIT_SECONDS = 10
HOSTED = {"public_url": PUBLIC_URL, "return_urls": "https://tenant.example/continue"}


def test_no_wait_for_the_database_outlasts_a_caller() -> None:
    slowest = max(postgresql.TRIED_FOR_SECONDS + postgresql.CONNECT_SECONDS, postgresql.ANSWER_SECONDS)
    assert admission.WAIT_SECONDS + slowest < CALLERS_WAIT_SECONDS
    assert admission.WAIT_SECONDS + sqlite.BUSY_TIMEOUT_MS / 1000 < CALLERS_WAIT_SECONDS
    last_try = exchange.CALLBACK_SECONDS - recording.MARGIN_SECONDS
    assert last_try + max(postgresql.LOCK_TIMEOUT_MS, sqlite.BUSY_TIMEOUT_MS) / 1000 < CALLERS_WAIT_SECONDS


@contextlib.asynccontextmanager
async def behind(url: str) -> AsyncIterator[AsyncConnection]:
    """A connection to the same database that is not the service's, in a transaction."""
    engine = create_async_engine(url, poolclass=NullPool)
    async with engine.begin() as connection:
        yield connection


async def until_all_wait(connection: AsyncConnection) -> None:
    """Return once each of the service's connections waits for a lock."""
    while True:
        waiting = await connection.execute(text("SELECT count(*) FROM pg_locks WHERE NOT granted"))
        if waiting.scalar_one() >= CONNECTIONS:
            return
        await asyncio.sleep(0.01)


@on_postgresql_only
async def test_more_requests_than_connections_are_all_told_in_time_and_served_afterwards(
    service: Service, database_url: str
) -> None:
    await service.start("auth0|ana")
    async with behind(database_url) as other:
        await other.execute(text("LOCK TABLE users IN ACCESS EXCLUSIVE MODE"))
        async with asyncio.timeout(PATIENCE):
            requests = asyncio.gather(*(service.idp.get("/v1/users/ana") for _ in range(3 * CONNECTIONS)))
            await until_all_wait(other)
            assert (await service.idp.get("/healthz")).status_code == 200
            responses = await requests

    for response in responses:
        is_told_of(response)
    answers = await asyncio.gather(*(service.status("ana") for _ in range(3 * CONNECTIONS)))
    assert {answer["reason"] for answer in answers} == {"never_verified"}


@on_sqlite_only
async def test_a_file_that_somebody_else_keeps_locked_is_told_of_in_time(service: Service, database_url: str) -> None:
    await service.start("auth0|ana")
    with closing(sqlite3.connect(database_url.removeprefix("sqlite+aiosqlite:///"), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        async with asyncio.timeout(PATIENCE):
            starts = (service.idp.post("/v1/verifications", json={"user_id": "ana"}) for _ in range(2 * CONNECTIONS))
            responses = await asyncio.gather(*starts)
            assert (await service.idp.get("/healthz")).status_code == 200
        other.execute("ROLLBACK")

    for response in responses:
        is_told_of(response)
    assert (await service.start("ana"))["action"] == "redirect"


@on_sqlite_only
async def test_a_question_waits_for_a_file_that_somebody_keeps_to_himself(database_url: str) -> None:
    database = Database(database_url)
    before = threading.active_count()
    with closing(sqlite3.connect(database_url.removeprefix("sqlite+aiosqlite:///"), isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("UPDATE users SET revision = revision")
        asking = asyncio.create_task(database.read(queries.USER, {"of_user": "ana"}))
        await until(lambda: threading.active_count() > before or asking.done())
        assert not asking.done()
    assert await asking == []
    await database.close()


@on_postgresql_only
async def test_a_lock_is_not_waited_for_without_end_and_the_callback_can_be_repeated(
    service: Service, database_url: str
) -> None:
    started = await service.start("auth0|ana")
    back = await service.visit(started)
    async with behind(database_url) as other:
        await other.execute(text("SELECT 1 FROM verifications FOR UPDATE"))
        async with asyncio.timeout(PATIENCE):
            is_told_of(await service.send_callback("auth0|ana", started, **back))

    assert (await service.finish("auth0|ana", started, **back))["reason"] == "verified"
    assert service.asked("token") == 1


@on_postgresql_only
async def test_a_server_that_admits_nobody_is_told_of_and_mended_without_a_restart(
    service: Service, database_url: str
) -> None:
    name = database_url.rpartition("/")[2]
    maintenance = database_url.rpartition("/")[0] + "/postgres"
    async with behind(maintenance) as other:
        await other.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
    async with behind(maintenance) as other:
        # The service looks at its database when it starts, and may hold a connection.
        end = "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = :name"
        await other.execute(text(end), {"name": name})
    is_told_of(await service.idp.get("/v1/users/ana"))
    assert (await service.idp.get("/readyz")).status_code == 503

    async with behind(maintenance) as other:
        await other.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"))
    assert (await service.status("ana"))["reason"] == "never_verified"


@on_postgresql_only
async def test_connections_that_broke_are_replaced(service: Service, database_url: str) -> None:
    await asyncio.gather(*(service.status("ana") for _ in range(CONNECTIONS)))
    async with behind(database_url) as other:
        ended = await other.execute(
            text(
                "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'idv-gateway'"
            )
        )
        assert len(ended.all()) >= 1

    answers = await asyncio.gather(*(service.status("ana") for _ in range(CONNECTIONS)))
    assert {answer["reason"] for answer in answers} == {"never_verified"}


@on_postgresql_only
@pytest.mark.parametrize("connected", [False, True], ids=["at first", "later"])
async def test_a_server_that_falls_silent_is_told_of_in_time_and_used_again(
    database_url: str, *, connected: bool
) -> None:
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
    return int((await database.read(text("SELECT 1")))[0][0])


@contextlib.asynccontextmanager
async def through_a_wire(database_url: str) -> AsyncIterator[tuple[Database, Wire]]:
    address = make_url(database_url)
    async with Wire(address.host or "", address.port or 5432).laid() as wire:
        database = Database(address.set(host="127.0.0.1", port=wire.port).render_as_string(hide_password=False))
        yield database, wire
        await database.close()


async def enrol(database: Database, before_the_commit: Callable[[], None] = lambda: None) -> None:
    async with database.transaction() as connection:
        await connection.rows(text("INSERT INTO users (user_id, revision) VALUES ('ana', 1)"))
        before_the_commit()


@on_postgresql_only
async def test_connections_that_a_firewall_has_forgotten_cost_no_caller_an_error(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A connection is tried when it was silent for a while; here it has been, whenever it is taken.
    monkeypatch.setattr(postgresql, "TRIED_AFTER_SECONDS", 0)
    async with through_a_wire(database_url) as (database, wire):
        await asyncio.gather(*(database.read(text("SELECT pg_sleep(0.05)")) for _ in range(CONNECTIONS)))
        wire.forget()
        loop = asyncio.get_running_loop()
        before = loop.time()
        assert await asyncio.gather(*(answer_of(database) for _ in range(3 * CONNECTIONS))) == [1] * 3 * CONNECTIONS
        took = loop.time() - before
        # Ten that are tried one after the other would take 10 s, and their farewells 20 s more.
        assert took < CONNECTIONS * postgresql.TRIED_FOR_SECONDS


@on_postgresql_only
async def test_a_reading_statement_is_asked_again_where_its_connection_breaks(database_url: str) -> None:
    async with through_a_wire(database_url) as (database, _):
        # Ends its own connection, but only the first time: the one that asks again is another one.
        first = (await database.read(text("SELECT pg_backend_pid()")))[0][0]
        end_the_first = text(
            "SELECT CASE pg_backend_pid() WHEN :first THEN pg_terminate_backend(:first) ELSE false END"
        )
        assert [tuple(row) for row in await database.read(end_the_first, {"first": first})] == [(False,)]


@on_postgresql_only
async def test_a_connection_that_breaks_while_it_commits_leaves_the_caller_in_no_false_certainty(
    database_url: str,
) -> None:
    async with through_a_wire(database_url) as (database, wire):
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(CommitInDoubt):
                await enrol(database, before_the_commit=wire.cut)
        wire.mend()
        assert await answer_of(database) == 1


@on_postgresql_only
async def test_a_server_that_has_become_read_only_is_left(database_url: str) -> None:
    database = Database(database_url)
    await database.write(text("SET default_transaction_read_only = on"))
    with pytest.raises(DatabaseUnavailable):
        await enrol(database)
    await enrol(database)
    await database.close()


async def _told(line: admission.Admission, *, until: float | None = None) -> str:
    try:
        async with line.place(until=until):
            return "served"
    except admission.Overloaded:
        return "overloaded"


async def test_a_line_that_does_not_move_takes_nobody_else_but_who_is_patient() -> None:
    now = 0.0
    line = admission.Admission(1, monotonic=lambda: now)
    async with asyncio.TaskGroup() as tasks, line.place():
        served = [tasks.create_task(_told(line)) for _ in range(2)]
        await until(lambda: line.waiting == 2)
        now = admission.FULL_AFTER_SECONDS
        served.append(tasks.create_task(_told(line)))
        await until(lambda: line.waiting == 3)
        now += 0.001
        assert await _told(line) == "overloaded"
        served.append(tasks.create_task(_told(line, until=asyncio.get_running_loop().time() + PATIENCE)))
        await until(lambda: line.waiting == 4)
    assert {task.result() for task in served} == {"served"}
    assert await _told(line) == "served"


class Tries:
    """How often the service has tried since to record something."""

    def __init__(self, service: Service) -> None:
        self.number = 0
        Queries(service.app.state.services.database, self._note)

    def _note(self, statement: str) -> None:
        self.number += "UPDATE verifications" in statement or statement == "BEGIN IMMEDIATE"


@contextlib.asynccontextmanager
async def attempts_held(url: str) -> AsyncIterator[AsyncConnection]:
    """A connection that is not the service's, and holds every attempt: everybody else can only read them."""
    hold = "UPDATE users SET revision = 0" if url.startswith("sqlite") else "SELECT 1 FROM verifications FOR UPDATE"
    async with behind(url) as other:
        await other.execute(text(hold))
        yield other


async def who_waits(connection: AsyncConnection) -> int:
    """The server's process that waits for what this connection holds, as soon as there is one."""
    waiting = "SELECT pid FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
    async with asyncio.timeout(PATIENCE):
        while True:
            if found := (await connection.execute(text(waiting))).first():
                return int(found.pid)
            await asyncio.sleep(0.01)


@pytest.fixture
def callbacks_have_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, a callback's time does not run out."""
    for flow in (finish, hosted):
        monkeypatch.setattr(flow, "CALLBACK_SECONDS", PATIENCE)


@pytest.mark.usefixtures("callbacks_have_time")
@pytest.mark.parametrize("flow", ["relay", "hosted"])
async def test_what_a_code_was_spent_for_is_recorded_as_soon_as_the_database_lets_it_be(
    make_service: MakeService, database_url: str, monkeypatch: pytest.MonkeyPatch, flow: str
) -> None:
    monkeypatch.setattr(postgresql, "LOCK_TIMEOUT_MS", 10)
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_MS", 10)
    # The provider has taken all of the callback's time.
    monkeypatch.setattr(recording, "MARGIN_SECONDS", 2 * PATIENCE)
    monkeypatch.setattr(recording, "AT_LEAST_SECONDS", PATIENCE)
    service = await make_service(**HOSTED)
    async with contextlib.AsyncExitStack() as held:
        logs = held.enter_context(capture_logs())
        with service.sandbox.hold("token") as gate:
            login = asyncio.create_task(verify(service, flow))
            await arrivals(gate)
            await held.enter_async_context(attempts_held(database_url))
            tries = Tries(service)
        await until(lambda: tries.number >= 2 or login.done())
    assert {"event": "recorded_again", "log_level": "warning", "cause": "busy"} in logs
    assert await login == "verified"
    assert service.asked("token") == 1


async def test_what_a_code_was_spent_for_is_given_up_when_the_callbacks_time_is_over(
    make_service: MakeService, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "LOCK_TIMEOUT_MS", 10)
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_MS", 10)
    monkeypatch.setattr(recording, "MARGIN_SECONDS", 2 * PATIENCE)
    monkeypatch.setattr(recording, "AT_LEAST_SECONDS", 0)
    monkeypatch.setattr(recording, "PAUSE_SECONDS", PATIENCE)
    service = await make_service()
    started = await service.start(USER)
    back = await service.visit(started)
    async with contextlib.AsyncExitStack() as held:
        with service.sandbox.hold("token") as gate:
            callback = asyncio.create_task(service.send_callback(USER, started, **back))
            await arrivals(gate)
            await held.enter_async_context(attempts_held(database_url))
        async with asyncio.timeout(PATIENCE):
            is_told_of(await callback)


@pytest.mark.usefixtures("callbacks_have_time")
@pytest.mark.parametrize("flow", ["relay", "hosted"])
async def test_what_a_code_was_spent_for_waits_in_a_line_in_which_nobody_else_waits(
    make_service: MakeService, database_url: str, monkeypatch: pytest.MonkeyPatch, flow: str
) -> None:
    monkeypatch.setattr(recording, "PAUSE_SECONDS", PATIENCE)
    service = await make_service(**HOSTED)
    database = service.app.state.services.database
    line = database._one_writer or database._places
    async with contextlib.AsyncExitStack() as held:
        with service.sandbox.hold("token") as gate:
            login = asyncio.create_task(verify(service, flow))
            await arrivals(gate)
            await held.enter_async_context(line.alone())
            monkeypatch.setattr(admission, "WAIT_SECONDS", 0)
        await until(lambda: line.waiting == 1 or login.done())
        monkeypatch.setattr(admission, "WAIT_SECONDS", PATIENCE)
    assert await login == "verified"
    assert service.asked("token") == 1


@on_postgresql_only
@pytest.mark.usefixtures("callbacks_have_time")
@pytest.mark.parametrize("flow", ["relay", "hosted"])
async def test_what_a_code_was_spent_for_is_recorded_on_another_connection_where_one_breaks(
    make_service: MakeService, database_url: str, flow: str
) -> None:
    service = await make_service(**HOSTED)
    async with contextlib.AsyncExitStack() as held:
        with service.sandbox.hold("token") as gate:
            login = asyncio.create_task(verify(service, flow))
            await arrivals(gate)
            other = await held.enter_async_context(attempts_held(database_url))
        end = text("SELECT pg_terminate_backend(:pid, 60000)")
        await other.execute(end, {"pid": await who_waits(other)})
    assert await login == "verified"
    assert service.asked("token") == 1


@on_postgresql_only
@pytest.mark.usefixtures("callbacks_have_time")
@pytest.mark.parametrize(("flow", "recorded"), [("relay", "completed"), ("hosted", "returned")])
async def test_what_was_recorded_without_the_service_being_told_is_answered_as_it_was_recorded(
    service: Service, clock: Clock, database_url: str, monkeypatch: pytest.MonkeyPatch, flow: str, recorded: str
) -> None:
    for limit in ("LOCK_TIMEOUT_MS", "STATEMENT_TIMEOUT_MS", "ANSWER_SECONDS"):
        monkeypatch.setattr(postgresql, limit, 1000 * int(PATIENCE))
    address = make_url(database_url)
    async with Wire(address.host or "", address.port or 5432).laid() as wire:
        url = address.set(host="127.0.0.1", port=wire.port).render_as_string(hide_password=False)
        settings = settings_for(service.settings.incode_server_url, url, **HOSTED)
        app = create_app(settings, clock=clock)
        async with app.router.lifespan_context(app):
            remote = Service(app, service.sandbox, settings)
            async with contextlib.AsyncExitStack() as held:
                with service.sandbox.hold("token") as gate:
                    login = asyncio.create_task(verify(remote, flow))
                    await arrivals(gate)
                    other = await held.enter_async_context(attempts_held(database_url))
                await who_waits(other)
                wire.cut()
            await until_attempt_is(recorded, Tables(database_url))
            wire.snap()
            assert await login == "verified"
            await remote.close()
    assert service.asked("token") == 1


async def until_attempt_is(status: str, tables: Tables) -> None:
    """Return once the one attempt that there is has a status."""
    async with asyncio.timeout(PATIENCE):
        while True:
            if [row["status"] for row in await tables.attempts(USER)] == [status]:
                return
            await asyncio.sleep(0.01)


async def verify(service: Service, flow: str) -> str:
    """The whole of a login, from start to the decision's reason."""
    if flow == "relay":
        return str((await service.verify(USER))["reason"])
    async with Browser(service) as browser:
        arrived = await browser.go_through(await service.start(USER, flow="hosted"))
    return str((await service.finish(USER, None, session_token=arrived["session_token"]))["reason"])
