"""Keeping the data: what is sealed in the hosted flow, encrypting again with a new key, and purging."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from app.core.errors import TracesRemain
from app.operator.exporting import document
from app.sandbox import Sandbox
from app.settings import Settings
from app.storage.database import Database
from app.storage.encryption import Cipher
from app.storage.keeping import Keeper, Resealed
from tests.api.test_storage import everything_in
from tests.conftest import MakeService
from tests.harness.browser import Browser
from tests.harness.clock import Clock
from tests.harness.provider import PUBLIC_URL
from tests.harness.service import ENCRYPTION_KEY, Json, Service, query_of
from tests.harness.tables import Tables, on_postgresql_only
from tests.harness.waiting import PATIENCE

HOSTED = {"public_url": PUBLIC_URL, "return_urls": "https://tenant.example/continue"}
NEW_KEY = Fernet.generate_key().decode()
BOTH_KEYS = f"{NEW_KEY},{ENCRYPTION_KEY}"
USER, EMAIL = "auth0|ana", "mei@example.com"


async def keep(settings: Settings, keys: str) -> Resealed:
    database = Database(settings.database_url.get_secret_value())
    try:
        keeper = Keeper(database, Cipher(keys.split(",")))
        done = await keeper.reseal()
        await keeper.forget_deleted()
        return done
    finally:
        await database.close()


async def purge(service: Service, clock: Clock, days: int) -> int:
    database = Database(service.settings.database_url.get_secret_value())
    try:
        return await Keeper(database, Cipher([ENCRYPTION_KEY])).purge(clock() - timedelta(days=days), clock())
    finally:
        await database.close()


async def test_nothing_of_the_hosted_flow_is_in_the_database_in_the_clear(
    make_service: MakeService, sandbox: Sandbox
) -> None:
    service = await make_service(**HOSTED)
    started = await service.start(USER, flow="hosted", email=EMAIL, state="the callers own state")
    async with Browser(service) as browser:
        launched = await browser.launch(started)
        pending = await everything_in(service)
        [cookie] = browser.client.cookies.jar
        back = await browser.come_back(await browser.at_provider(launched))
    arrived = query_of(back.headers["Location"])
    returned = await everything_in(service)
    [exchange] = [request.parameters for request in sandbox.requests if request.endpoint == "token"]
    request = query_of(launched.headers["Location"])
    secrets = {
        EMAIL,
        "Tanaka",
        "the callers own state",
        "tenant.example",
        str(cookie.value),
        arrived["session_token"],
        exchange["code_verifier"],
        exchange["code"],
        request["nonce"],
        request["state"],
    }
    for stored in (pending, returned):
        assert {secret for secret in secrets if secret.encode() in stored} == set()
        assert USER.encode() in stored


async def scenes(service: Service, browser: Browser) -> tuple[Json, Json, dict[str, str], Json, dict[str, str]]:
    """A finished login, a pending relay one, and a hosted one that has returned."""
    finished = await service.start(USER, email=EMAIL)
    back = await service.visit(finished)
    answer = await service.finish(USER, finished, **back)
    pending = await service.start("auth0|pending", email=EMAIL)
    arrived = await browser.go_through(await service.start("auth0|returned", flow="hosted", email=EMAIL))
    return finished, answer, back, pending, arrived


async def test_after_a_rotation_the_new_key_alone_opens_everything(make_service: MakeService) -> None:
    old = await make_service(**HOSTED)
    async with Browser(old) as browser:
        finished, answer, back, pending, arrived = await scenes(old, browser)
    assert (await keep(old.settings, BOTH_KEYS)).unreadable == 0
    assert await keep(old.settings, BOTH_KEYS) == Resealed()

    new = await make_service(**HOSTED, encryption_keys=NEW_KEY)
    assert (await new.status(USER))["claims"] == answer["claims"]
    assert await new.finish(USER, finished, **back) == answer
    assert (await new.finish("auth0|pending", pending, **await new.visit(pending)))["reason"] == "verified"
    confirmed = await new.finish("auth0|returned", None, session_token=arrived["session_token"])
    assert confirmed["reason"] == "verified"


async def test_a_rotation_while_the_service_writes_loses_nothing(make_service: MakeService) -> None:
    service = await make_service(encryption_keys=BOTH_KEYS)
    before = await make_service()
    for number in range(8):
        await before.verify(f"before|{number}", email=EMAIL)

    async def write() -> None:
        for number in range(8):
            await service.verify(f"during|{number}", email=EMAIL)

    async def rotate() -> None:
        """Again, as the message asks, where the service keeps SQLite's file busy."""
        try:
            await keep(service.settings, BOTH_KEYS)
        except TracesRemain:
            await rotate()

    await asyncio.gather(write(), rotate(), rotate())
    after = await make_service(encryption_keys=NEW_KEY)
    for number in range(8):
        for user_id in (f"before|{number}", f"during|{number}"):
            assert (await after.status(user_id))["verified"] is True, user_id


async def test_what_no_key_opens_is_counted_and_left(make_service: MakeService) -> None:
    service = await make_service()
    await service.verify(USER, email=EMAIL)
    other = Fernet.generate_key().decode()
    assert await keep(service.settings, other) == Resealed(resealed=0, unreadable=2)
    assert (await service.status(USER))["verified"] is True


async def test_of_a_hosted_login_the_way_back_alone_stays_and_an_export_says_so(
    make_service: MakeService, clock: Clock
) -> None:
    service = await make_service(**HOSTED)
    started = await service.start(USER, flow="hosted", email=EMAIL, state="the callers own state")
    async with Browser(service) as browser:
        arrived = await browser.go_through(started)
    await service.finish(USER, None, session_token=arrived["session_token"])
    await service.admin.post(f"/v1/users/{USER}/reset", json={"identity": True})
    clock.advance(days=1)
    await purge(service, clock, days=90)
    [row] = await Tables(service).attempts(USER)
    assert {name for name in row if name.startswith("sealed_") and row[name]} == {"sealed_way_back"}
    status = await service.app.state.services.users.status(USER)
    meaning = document(USER, clock(), status, [], [])["meaning"]
    assert isinstance(meaning, dict)
    assert "goes back to, with the caller's state, for as long as the verification is listed" in meaning["not_shown"]


async def test_evidence_in_another_users_row_gives_no_claim(make_service: MakeService) -> None:
    service = await make_service()
    await service.verify(USER, email=EMAIL)
    await service.verify("eve", email="eve@example.com")
    move = "UPDATE users SET sealed_record = (SELECT sealed_record FROM users WHERE user_id = :of) WHERE user_id = :to"
    assert await Tables(service).change(move, of=USER, to="eve") == 1
    status = await service.status("eve")
    assert (status["reason"], status["claims"], status["app_metadata"]["incode_idv"]) == ("record_invalid", {}, None)


@pytest.mark.parametrize("number", [3, 1100])
async def test_attempts_are_purged_by_their_age_and_records_stay(
    make_service: MakeService, clock: Clock, number: int
) -> None:
    service = await make_service(verification_ttl_seconds=7 * 86400)
    await service.verify(USER, email=EMAIL)
    [finished] = await Tables(service).attempts(USER)
    await copies(service, finished["id"], number)
    clock.advance(days=3)
    under_way = await service.start("auth0|under way")
    clock.advance(days=4, seconds=1)
    young = await service.start("auth0|young")
    assert await purge(service, clock, days=2) == number
    left = (await service.admin.get("/v1/verifications")).json()["items"]
    assert [item["id"] for item in left] == [young["verification"]["id"], under_way["verification"]["id"]]
    assert (await service.status(USER))["verified"] is True
    assert await purge(service, clock, days=2) == 0


async def due_attempts(service: Service, clock: Clock) -> list[str]:
    """The ids of three attempts whose time is over, and which are old enough to be removed."""
    started = [await service.start(f"auth0|{name}") for name in ("ana", "bob", "eve")]
    clock.advance(days=3)
    return [each["verification"]["id"] for each in started]


@contextlib.asynccontextmanager
async def holding(service: Service, attempt_id: str) -> AsyncIterator[AsyncConnection]:
    """An attempt's row, written by somebody who has not come to the end yet."""
    engine = create_async_engine(service.settings.database_url.get_secret_value(), poolclass=NullPool)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE verifications SET locale = 'es' WHERE id = :id"), {"id": attempt_id})
        yield connection


async def until_somebody_waits(connection: AsyncConnection) -> None:
    """Return once another connection waits for what this one holds."""
    waits = text("SELECT 1 FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))")
    async with asyncio.timeout(PATIENCE):
        while True:
            if (await connection.execute(waits)).first():
                return
            await asyncio.sleep(0.01)


@on_postgresql_only
async def test_housekeeping_leaves_an_attempt_that_somebody_else_holds_and_so_holds_nobody_up(
    service: Service, clock: Clock
) -> None:
    [_, held, _] = await due_attempts(service, clock)
    keeper = Keeper(service.app.state.services.database, Cipher([ENCRYPTION_KEY]))
    async with holding(service, held):
        assert await keeper.clear_served(clock()) == 2
        assert await keeper.remove_old(clock() - timedelta(days=2), clock()) == 2
    assert await keeper.clear_served(clock()) == 1
    assert await keeper.remove_old(clock() - timedelta(days=2), clock()) == 1


@on_postgresql_only
@pytest.mark.parametrize(("days", "removed"), [(30, 0), (2, 3)], ids=["clears", "removes"])
async def test_a_purge_waits_for_an_attempt_that_somebody_else_holds_and_goes_on_to_the_end(
    service: Service, clock: Clock, days: int, removed: int
) -> None:
    [first, _, _] = await due_attempts(service, clock)
    if removed:
        await purge(service, clock, days=30)
    async with holding(service, first) as other:
        purging = asyncio.create_task(purge(service, clock, days=days))
        await until_somebody_waits(other)
    assert await purging == removed
    assert await Tables(service).rows("SELECT id FROM verifications WHERE sealed_request IS NOT NULL") == []


async def copies(service: Service, attempt_id: str, number: int) -> None:
    """Make the attempt one of `number`, alike but for the id."""
    columns = "user_id, flow, purpose, status, started_by, created_at, expires_at, finished_at, omit_state, counted"
    insert = f"INSERT INTO verifications (id, {columns}) SELECT :id, {columns} FROM verifications WHERE id = :of"  # noqa: S608
    await Tables(service).change_often(insert, [{"id": f"idv_{n:032x}", "of": attempt_id} for n in range(1, number)])
