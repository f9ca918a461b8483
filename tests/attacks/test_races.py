"""Everything at once, on several processes over one database: whatever the order, the promises hold."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from app.core.domain import Actor, UserRecord
from app.storage.encryption import Cipher
from app.storage.importing import Imported, Importer
from app.storage.sealed import Seals
from tests.conftest import MakeService
from tests.harness.browser import Browser
from tests.harness.clock import Clock
from tests.harness.provider import PUBLIC_URL
from tests.harness.queries import Queries
from tests.harness.service import EMAIL, Json, Service, enrol, gist, query_of
from tests.harness.tables import Tables, on_postgresql_only
from tests.harness.waiting import PATIENCE, arrivals, until

HOSTED = {"public_url": PUBLIC_URL, "return_urls": "https://tenant.example/continue"}
ANA = "auth0|ana"
PEOPLE = (EMAIL, "eve@example.com", "bob@example.com")
LIMIT = 6
PROCESSES = 3
# What may be said of a request that came at a bad moment; anything else is a fault of ours.
REFUSALS = {
    "verification_not_found", "verification_already_finished", "callback_in_progress", "session_token_invalid",
    "database_unavailable",
}  # fmt: skip

Operation = Coroutine[Any, Any, httpx.Response]


class Crowd:
    """All that can be done about one user, each time on another of the processes."""

    def __init__(self, services: list[Service], choice: random.Random) -> None:
        self.services = services
        self.choice = choice

    @property
    def one(self) -> Service:
        return self.choice.choice(self.services)

    def start(self) -> Operation:
        return self.one.idp.post("/v1/verifications", json={"user_id": ANA, "force": True})

    def status(self) -> Operation:
        return self.one.idp.get(f"/v1/users/{ANA}")

    def reset(self) -> Operation:
        return self.one.admin.post(f"/v1/users/{ANA}/reset", json={"identity": self.choice.choice([True, False])})

    def erase(self) -> Operation:
        return self.one.admin.delete(f"/v1/users/{ANA}")

    def finish(self, started: Json, in_hand: dict[str, str]) -> Operation:
        return self.one.send_callback(ANA, started, **in_hand)


async def in_hand(crowd: Crowd) -> list[tuple[Json, dict[str, str]]]:
    """Relay attempts with their codes, and hosted ones with their tokens, of different people."""
    found = []
    for person in PEOPLE[:2]:
        started = await crowd.one.start(ANA, email=person)
        found.append((started, await crowd.one.visit(started, person=person)))
        started = await crowd.one.start(ANA, email=person, flow="hosted")
        async with Browser(crowd.one) as browser:
            arrived = await browser.go_through(started, person=person)
        found.append((started, {"session_token": arrived["session_token"]}))
    return found


def codes_of(answers: list[httpx.Response]) -> Counter[str]:
    """How often each refusal was given; whatever is no answer of ours fails here."""
    refused = Counter(str(answer.json()["code"]) for answer in answers if answer.status_code >= httpx.codes.BAD_REQUEST)
    assert set(refused) <= REFUSALS, refused
    return refused


@pytest.mark.parametrize("seed", range(6))
async def test_everything_at_once(make_service: MakeService, clock: Clock, seed: int) -> None:
    services = [await make_service(**HOSTED, attempt_limit=LIMIT) for _ in range(PROCESSES)]
    crowd = Crowd(services, random.Random(seed))  # noqa: S311  an order, no secret
    callbacks = await in_hand(crowd)
    doing = [crowd.start() for _ in range(2 * LIMIT)] + [crowd.status() for _ in range(4)]
    doing += [crowd.finish(*callback) for callback in callbacks for _ in range(3)]
    doing += [crowd.reset()] + ([crowd.erase()] if seed % 2 else [])
    crowd.choice.shuffle(doing)

    answers = await asyncio.gather(*doing)

    codes_of(answers)
    exchanged = Counter(
        request.parameters["code"] for request in services[0].sandbox.requests if request.endpoint == "token"
    )
    assert set(exchanged.values()) <= {1}
    attempts = await Tables(services[0]).attempts(ANA)
    assert sum(row["status"] == "pending" and bool(row["counted"]) for row in attempts) <= LIMIT
    statuses = [await service.status(ANA) for service in services]
    assert all(status == statuses[0] for status in statuses)
    record = statuses[0]["app_metadata"]
    if statuses[0]["verified"]:
        assert record["incode_idv"]["identity_id"] == record["incode_identity_id"]
    for status in (answer.json() for answer in answers if answer.request.method == "GET"):
        assert status["verified"] is (status["claims"] != {})


async def test_the_first_of_many_people_is_the_one_who_is_enrolled(make_service: MakeService) -> None:
    services = [await make_service(**HOSTED) for _ in range(PROCESSES)]
    crowd = Crowd(services, random.Random(1))  # noqa: S311  an order, no secret
    callbacks = await in_hand(crowd)

    answers = await asyncio.gather(*(crowd.finish(*callback) for callback in callbacks for _ in range(2)))

    codes_of(answers)
    decisions = [answer.json() for answer in answers if answer.status_code == httpx.codes.OK]
    enrolled = {each["verification"]["identity_id"] for each in decisions if each["reason"] == "verified"}
    assert len(enrolled) == 1
    assert {each["reason"] for each in decisions} == {"verified", "identity_mismatch"}
    status = await services[0].status(ANA)
    assert {status["app_metadata"]["incode_identity_id"]} == enrolled


async def test_of_two_people_who_are_verified_at_once_only_one_is_enrolled(
    make_service: MakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both have read that nobody is enrolled before either writes: written by that, the second would take over."""
    services = [await make_service() for _ in PEOPLE[:2]]
    started = [await service.start(ANA, email=person) for service, person in zip(services, PEOPLE, strict=False)]
    tables = Tables(services[0])
    holder = create_async_engine(tables.url)
    with services[0].sandbox.hold("userinfo") as gate:
        finishing = [
            asyncio.create_task(service.send_callback(ANA, each, **await service.visit(each, person=person)))
            for service, each, person in zip(services, started, PEOPLE, strict=False)
        ]
        await arrivals(gate, 2)
        asked = [Queries(service.app.state.services.database).asked for service in services]
        connection = await holder.connect()
        # It holds the row on PostgreSQL, and the right to write on SQLite.
        await connection.execute(text("UPDATE users SET revision = revision"))
    await until(lambda: all(any("FROM users" in statement for statement, _ in each) for each in asked))
    if not services[0].app.state.services.database.is_sqlite:
        await wait_or_are_done(tables, *finishing)
    await connection.close()
    await holder.dispose()

    answers = [answer.json() for answer in await asyncio.gather(*finishing)]
    assert {answer["reason"] for answer in answers} == {"verified", "identity_mismatch"}
    [enrolled] = [answer["verification"]["identity_id"] for answer in answers if answer["reason"] == "verified"]
    assert (await services[0].status(ANA))["app_metadata"]["incode_identity_id"] == enrolled
    # The second waits for the first: neither holds what the other one needs.
    assert "recorded_again" not in capsys.readouterr().out


@pytest.mark.parametrize("seed", range(3))
async def test_an_erasure_at_the_end_of_everything_is_final(make_service: MakeService, seed: int) -> None:
    """What was begun before cannot bring the user back; only a start that comes after it begins anew."""
    services = [await make_service(**HOSTED) for _ in range(PROCESSES)]
    crowd = Crowd(services, random.Random(seed))  # noqa: S311  an order, no secret
    callbacks = await in_hand(crowd)
    with services[0].sandbox.hold("token") as gate:
        doing = [asyncio.create_task(crowd.finish(*callback)) for callback in callbacks]
        await arrivals(gate, 2)
        erased = await crowd.erase()
    answers = await asyncio.gather(*doing)

    assert erased.status_code == httpx.codes.NO_CONTENT
    codes_of(answers)
    status = await services[0].status(ANA)
    assert (status["reason"], status["claims"], status["app_metadata"]) == ("never_verified", {}, {})
    assert await Tables(services[0]).user(ANA) is None
    assert await Tables(services[0]).attempts(ANA) == []


@pytest.mark.parametrize("ordered", ["erased", "identity forgotten"])
async def test_a_start_under_way_uses_nothing_of_what_went_meanwhile(
    make_service: MakeService, clock: Clock, ordered: str
) -> None:
    service, other = [await make_service() for _ in range(2)]
    await enrol(service, clock, ANA)
    clock.advance(days=40)
    with service.sandbox.hold("discovery") as gate:
        starting = asyncio.create_task(service.start(ANA, email=EMAIL))
        await arrivals(gate)
        if ordered == "erased":
            assert (await other.admin.delete(f"/v1/users/{ANA}")).status_code == httpx.codes.NO_CONTENT
        else:
            await other.admin.post(f"/v1/users/{ANA}/reset", json={"identity": True})
    started = await starting

    assert gist(started) == ("redirect", "never_verified" if ordered == "erased" else "not_verified")
    assert query_of(started["redirect_url"])["login_hint"] == EMAIL
    assert not started["app_metadata"].get("incode_identity_id")
    if ordered == "erased":
        assert started["app_metadata"] == {}


@pytest.mark.parametrize("begun", [LIMIT, LIMIT - 1])
async def test_starts_at_once_on_all_processes_stay_within_the_limit(make_service: MakeService, begun: int) -> None:
    services = [await make_service(attempt_limit=LIMIT) for _ in range(PROCESSES)]
    crowd = Crowd(services, random.Random(begun))  # noqa: S311  an order, no secret
    for _ in range(LIMIT - begun):
        await crowd.start()

    answers = await asyncio.gather(*(crowd.start() for _ in range(4 * LIMIT)))

    codes_of(answers)
    assert sum(answer.json().get("action") == "redirect" for answer in answers) == begun
    assert len(await Tables(services[0]).attempts(ANA)) == LIMIT


@on_postgresql_only
async def test_a_start_waits_for_whoever_holds_the_users_row(make_service: MakeService) -> None:
    """Whoever did not wait would count the attempts before the last of them is on file."""
    service = await make_service(attempt_limit=1)
    await service.start("auth0|eve")
    tables = Tables(service)
    holder = create_async_engine(tables.url)
    async with holder.connect() as connection:
        await connection.begin()
        begun = "INSERT INTO users (user_id, revision, stamp) VALUES (:user_id, 0, 'another')"
        await connection.execute(text(begun), {"user_id": ANA})
        starting = asyncio.create_task(service.start(ANA))
        await wait_or_are_done(tables, starting)
        columns = [name for name in (await tables.attempts("auth0|eve"))[0] if name not in {"id", "user_id"}]
        copy = (
            f"INSERT INTO verifications (id, user_id, {', '.join(columns)}) SELECT :id, :user_id, {', '.join(columns)}"
        )
        await connection.execute(text(f"{copy} FROM verifications"), {"id": f"idv_{1:032x}", "user_id": ANA})
        await connection.commit()
    await holder.dispose()

    assert gist(await starting) == ("continue", "too_many_attempts")


@on_postgresql_only
@pytest.mark.parametrize("identity", [False, True])
async def test_a_reset_withdraws_an_attempt_whose_person_comes_back_meanwhile(
    make_service: MakeService, clock: Clock, *, identity: bool
) -> None:
    """The reset waits in the midst of the attempts: the one that is taken up by then may have been looked at before."""
    service, other = [await make_service(**HOSTED) for _ in range(2)]
    await enrol(service, clock, ANA)
    clock.advance(days=40)
    async with Browser(service) as browser:
        await browser.go_through(await service.start(ANA, flow="hosted"))
    started = await service.start(ANA)
    back = await service.visit(started, person="eve@example.com" if identity else EMAIL)
    tables = Tables(service)
    async with _holding(tables, "SELECT id FROM verifications WHERE status = 'returned' FOR UPDATE"):
        resetting = asyncio.create_task(service.admin.post(f"/v1/users/{ANA}/reset", json={"identity": identity}))
        await wait_or_are_done(tables, resetting)
        finishing = asyncio.create_task(other.send_callback(ANA, started, **back))
        await wait_or_are_done(tables, resetting, finishing)

    reset = await resetting
    assert reset.status_code == httpx.codes.OK
    assert (await finishing).json().get("reason") != "verified"
    status = await service.status(ANA)
    assert (status["verified"], status["claims"]) == (False, {})
    enrolled = reset.json()["app_metadata"]["incode_identity_id"]
    assert (enrolled is None) is identity
    assert status["app_metadata"]["incode_identity_id"] == enrolled


@asynccontextmanager
async def _an_erasure_that_waits(service: Service) -> AsyncIterator[tuple[Tables, "asyncio.Task[httpx.Response]"]]:
    """An erasure of Ana that has done all but its last step, which is that the audit forgets her.

    It is committed when the block is left.
    """
    await service.verify(ANA)
    await service.app.state.services.users.export(ANA, by=Actor(name="cli"))
    tables = Tables(service)
    async with _holding(tables, "SELECT id FROM audit WHERE user_id = :user_id FOR UPDATE", user_id=ANA):
        erasing = asyncio.create_task(service.admin.delete(f"/v1/users/{ANA}"))
        await wait_or_are_done(tables, erasing)
        yield tables, erasing


@on_postgresql_only
async def test_an_export_at_the_time_of_an_erasure_leaves_no_id_in_the_audit(make_service: MakeService) -> None:
    service = await make_service()
    async with _an_erasure_that_waits(service) as (tables, erasing):
        exporting = asyncio.create_task(service.app.state.services.users.export(ANA, by=Actor(name="cli")))
        await wait_or_are_done(tables, erasing, exporting)

    assert (await erasing).status_code == httpx.codes.NO_CONTENT
    assert (await exporting).reason == "never_verified"
    entries = await tables.rows("SELECT * FROM audit")
    assert sorted(entry["action"] for entry in entries) == ["erase", "export", "export"]
    assert {entry["user_id"] for entry in entries} == {None}
    assert len({entry["user_digest"] for entry in entries} - {None}) == 1
    assert await tables.user(ANA) is None


@on_postgresql_only
async def test_an_import_at_the_time_of_an_erasure_does_not_bring_the_user_back(
    make_service: MakeService, clock: Clock
) -> None:
    """The import asks who was erased before it waits for the user's row."""
    service = await make_service()
    importer = Importer(service.app.state.services.database, Seals(Cipher(service.settings.fernet_keys)))
    record = UserRecord(completed=True, completed_at=clock())
    async with _an_erasure_that_waits(service) as (tables, erasing):
        importing = asyncio.create_task(importer.add({ANA: record, "auth0|eve": record}, None))
        await wait_or_are_done(tables, erasing, importing)

    assert (await erasing).status_code == httpx.codes.NO_CONTENT
    assert await importing == Imported(added=1, withdrawn=1)
    assert await importer.look({ANA, "auth0|eve"}) == Imported(on_file=1, withdrawn=1)
    assert await tables.user(ANA) is None
    assert await tables.user("auth0|eve")


@asynccontextmanager
async def _holding(tables: Tables, statement: str, **values: Any) -> AsyncIterator[None]:
    """Hold what a statement of another program's takes until the block is left."""
    holder = create_async_engine(tables.url)
    async with holder.connect() as connection:
        await connection.execute(text(statement), values)
        yield
    await holder.dispose()


async def wait_or_are_done(tables: Tables, *tasks: "asyncio.Task[Any]") -> None:
    """Return once each of these tasks waits for a lock of PostgreSQL's, or is done."""
    waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.timeout(PATIENCE):
        while True:
            if len(await tables.rows(waiting)) >= sum(not task.done() for task in tasks):
                return
            await asyncio.sleep(0.01)
