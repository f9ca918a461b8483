"""After DELETE nothing of a person is left: in no column, no byte of SQLite's files, and no log line; and nobody comes
back.
"""

import asyncio
import random
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from app.sandbox import Sandbox
from app.sandbox.observation import Endpoint
from tests.conftest import MakeService
from tests.harness.browser import Browser
from tests.harness.clock import Clock
from tests.harness.loopback import NO_TLS
from tests.harness.provider import PUBLIC_URL, ProviderHost
from tests.harness.service import Json, Service, problem, query_of, until_answered
from tests.harness.tables import Tables, on_sqlite_only
from tests.harness.tampering import TamperedProvider
from tests.harness.waiting import PATIENCE, arrivals
from tests.system.processes import ADMIN_KEY, SETTINGS, Workplace, answers, free_port

USER = "auth0|ana-4711"
EMAIL = "ana.torres@private.example"
RETURN_TO = "https://tenant.example/continue"
ALL_SCOPES = "openid profile email phone address id_attestation identity_assurance"
PERSON: Json = {"name": "Ana Torres Private", "given_name": "Anaprivate", "phone_number": "+34600555099"}
# 255 characters of 4 bytes: more than a page of an index takes, so that it spills into pages of its own.
SPILLING = "".join(chr(0x1F300 + n) for n in range(255))
PIECE = 6


@pytest.fixture
async def service(make_service: MakeService) -> Service:
    return await make_service(public_url=PUBLIC_URL, return_urls=RETURN_TO, scopes=ALL_SCOPES, store_tokens=True)


async def erase(service: Service, user_id: str) -> None:
    response = await service.admin.delete(f"/v1/users/{quote(user_id, safe='')}")
    assert (response.status_code, response.content) == (204, b""), response.text


def sqlite_file(service: Service) -> Path:
    return Path(Tables(service).url.removeprefix("sqlite+aiosqlite:///"))


def bytes_of(file: Path) -> bytes:
    """Every byte of the database, its write-ahead log and its index of that log."""
    parts = [file, *(file.with_name(file.name + end) for end in ("-wal", "-shm"))]
    return b"\n".join(part.read_bytes() for part in parts)


async def columns_of(tables: Tables) -> bytes:
    names = await tables.rows("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
    assert {"users", "verifications"} <= {name["table_name"] for name in names}
    rows = [row for name in names for row in await tables.rows(f'SELECT * FROM "{name["table_name"]}"')]  # noqa: S608
    values = [value for row in rows for value in row.values()]
    return b"\n".join(
        bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode() for value in values
    )


async def everything_in(service: Service) -> bytes:
    tables = Tables(service)
    return bytes_of(sqlite_file(service)) if tables.is_sqlite else await columns_of(tables)


def found_in(stored: bytes, traces: set[str]) -> set[str]:
    """The traces that are there, or a piece of one: a long text may lie on several pages."""
    return {
        trace
        for trace in traces
        if trace.encode() in stored
        or (
            len(trace.encode()) > 1000
            and any(trace[at : at + PIECE].encode() in stored for at in range(len(trace) - PIECE + 1))
        )
    }


async def live(service: Service, clock: Clock, user_id: str, email: str) -> set[str]:
    """Give a user attempts of every kind; returns the traces that they leave in the clear."""
    traces = {user_id}

    async def begin(**body: Any) -> Json:
        clock.advance(minutes=1)
        started = await service.start(user_id, force=True, email=email, **body)
        assert started["action"] == "redirect", started
        traces.add(started["verification"]["id"])
        return started

    for outcome in ("verified", "denied", "another-person", "verified"):
        started = await begin()
        finished = (await service.finish(user_id, started, **await service.visit(started, outcome)))["verification"]
        traces |= {finished[name] for name in ("identity_id", "interview_id") if finished[name]}
    step_up = await begin(purpose="step_up")
    await service.finish(user_id, step_up, **await service.visit(step_up))
    async with Browser(service) as browser:
        confirmed = await browser.go_through(await begin(flow="hosted"))
        await service.finish(user_id, None, session_token=confirmed["session_token"])
        await browser.go_through(await begin(flow="hosted", state=email))
        await browser.launch(await begin(flow="hosted", state=email))
    await begin(flow="hosted")
    await begin()
    await begin(purpose="step_up")
    assert len(traces) >= 15
    return traces


@contextmanager
def idle_reader(service: Service) -> Iterator[None]:
    """Another program that has read the database and stays connected, without a transaction."""
    with closing(sqlite3.connect(sqlite_file(service), isolation_level=None)) as connection:
        assert connection.execute("SELECT count(*) FROM verifications").fetchone()[0] > 0
        yield


@contextmanager
def nobody(_: Service) -> Iterator[None]:
    yield


@pytest.mark.parametrize("user_id", [USER, SPILLING], ids=["an ordinary id", "an id that spills"])
@pytest.mark.parametrize("beside", [nobody, idle_reader])
async def test_nothing_of_an_erased_user_is_left_while_the_service_runs(
    service: Service, clock: Clock, provider_host: ProviderHost, sandbox: Sandbox, user_id: str, beside: Any
) -> None:
    beside = beside if Tables(service).is_sqlite else nobody  # PostgreSQL's readers hold up nobody
    TamperedProvider(provider_host, sandbox).alter("userinfo", lambda claims: {**claims, **PERSON})
    traces = await live(service, clock, user_id, EMAIL)
    await live(service, clock, "auth0|bob", "bob@private.example")
    # What is in the clear is found before, so that the search is known to find it; the rest is sealed even then.
    assert found_in(await everything_in(service), traces) == traces

    with beside(service):
        await erase(service, user_id)
        stored = await everything_in(service)

    private = {EMAIL, *(str(value) for value in PERSON.values())}
    assert found_in(stored, traces | private) == set()
    assert b"auth0|bob" in stored


@on_sqlite_only
@pytest.mark.parametrize("seed", range(3))
async def test_erasing_many_among_others_leaves_no_free_piece_of_a_page(service: Service, seed: int) -> None:
    # Where a page of an index is rebuilt, SQLite's secure_delete does not clear what lay there before.
    erased = {f"erased-{n:03}-" + "x" * (n * 7 % 240) for n in range(120)}
    for n, user_id in enumerate(sorted(erased)):
        await service.start(user_id)
        await service.start(f"kept-{n:03}")
    assert len(found_in(await everything_in(service), erased)) == len(erased)
    for user_id in random.Random(seed).sample(sorted(erased), len(erased)):  # noqa: S311  an order, the same each time
        await erase(service, user_id)
    stored = await everything_in(service)
    assert b"erased-" not in stored
    assert set(re.findall(rb"kept-(\d{3})", stored)) == {b"%03d" % n for n in range(120)}


@on_sqlite_only
async def test_erasure_does_not_say_that_it_is_done_while_a_reader_keeps_the_log_from_being_emptied(
    service: Service,
) -> None:
    traces = {USER, (await service.verify(USER, email=EMAIL))["verification"]["identity_id"]}
    with closing(sqlite3.connect(sqlite_file(service), isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM users").fetchone()
        response = await service.admin.delete(f"/v1/users/{USER}")
        assert response.status_code == 503 or found_in(await everything_in(service), traces) == set()
        reader.execute("COMMIT")
    await erase(service, USER)
    assert found_in(await everything_in(service), traces) == set()


async def test_other_users_are_left_as_they_are(service: Service, clock: Clock) -> None:
    others = ["auth0|ana", "auth0|ana-47112", "AUTH0|ANA-4711", "auth0|ana_4711", "%", "auth0|%", "_" * 14, USER + " "]
    for user_id in [*others, USER]:
        await service.verify(user_id, email=EMAIL)
        await service.start(user_id, force=True)
        clock.advance(minutes=1)
    tables = Tables(service)
    tell = [f"SELECT * FROM {table} WHERE user_id <> :user_id ORDER BY 1" for table in ("users", "verifications")]  # noqa: S608
    before = [await tables.rows(statement, user_id=USER) for statement in tell]
    assert [len(rows) for rows in before] == [len(others), 2 * len(others)]

    await erase(service, USER)
    await erase(service, "auth0|" + "%")
    others.remove("auth0|%")

    assert await tables.user(USER) is None
    assert await tables.attempts(USER) == []
    left = [[row for row in rows if row["user_id"] != "auth0|%"] for rows in before]
    assert [await tables.rows(statement, user_id=USER) for statement in tell] == left


@pytest.mark.parametrize("user_id", ["nobody", "samlp|tenant|http://x/y", "%", "' OR 1=1 --", "../..", SPILLING])
async def test_a_user_we_have_never_met_is_erased_without_a_trace(service: Service, user_id: str) -> None:
    for _ in range(2):
        await erase(service, user_id)
    assert await Tables(service).rows("SELECT * FROM users") == []
    assert found_in(await everything_in(service), {user_id} if len(user_id) > PIECE else set()) == set()


# --- Nobody comes back ---


async def assert_forgotten(service: Service) -> None:
    tables = Tables(service)
    assert await tables.user(USER) is None
    assert await tables.attempts(USER) == []
    assert found_in(await everything_in(service), {USER}) == set()
    answer = await service.status(USER)
    assert (answer["reason"], answer["claims"], answer["app_metadata"]) == ("never_verified", {}, {})


@pytest.mark.parametrize("before", ["met for the first time", "known"])
@pytest.mark.parametrize("endpoint", ["token", "jwks", "userinfo"])
async def test_an_exchange_that_is_under_way_does_not_bring_the_user_back(
    service: Service, endpoint: Endpoint, before: str, make_service: MakeService
) -> None:
    if before == "known":
        assert (await (await make_service()).verify(USER))["reason"] == "verified"
    started = await service.start(USER, force=True)
    back = await service.visit(started)
    with service.sandbox.hold(endpoint) as gate:
        finishing = asyncio.create_task(service.send_callback(USER, started, **back))
        await arrivals(gate)
        await erase(service, USER)
    problem(await finishing, 404, "verification_not_found")
    await assert_forgotten(service)


@pytest.mark.parametrize("endpoint", ["token", "userinfo"])
async def test_a_browsers_return_that_is_under_way_does_not_bring_the_user_back(
    service: Service, endpoint: Endpoint
) -> None:
    started = await service.start(USER, flow="hosted")
    async with Browser(service) as browser:
        address = await browser.at_provider(await browser.launch(started))
        with service.sandbox.hold(endpoint) as gate:
            returning = asyncio.create_task(browser.come_back(address))
            await arrivals(gate)
            await erase(service, USER)
        for response in (await returning, await browser.come_back(address), await browser.launch(started)):
            assert (response.status_code, response.headers.get("Location")) == (400, None)
    await assert_forgotten(service)


async def test_a_callback_after_the_erasure_finds_nothing_and_exchanges_nothing(service: Service, clock: Clock) -> None:
    answered = await service.start(USER)
    answered_with = await service.visit(answered)
    await service.finish(USER, answered, **answered_with)
    clock.advance(minutes=1)
    pending = await service.start(USER, force=True)
    pending_with = await service.visit(pending)
    hosted, returned = [await service.start(USER, flow="hosted", force=True) for _ in range(2)]
    async with Browser(service) as browser:
        address = await browser.at_provider(await browser.launch(hosted))
        token = (await browser.go_through(returned))["session_token"]
        exchanged = service.asked("token")
        await erase(service, USER)
        page = await browser.come_back(address)

    assert (page.status_code, page.headers.get("Location")) == (400, None)
    for started, body in ((answered, answered_with), (pending, pending_with), (pending, {}), (hosted, {})):
        problem(await service.send_callback(USER, started, **body), 404, "verification_not_found")
    problem(await service.send_callback(USER, None, session_token=token), 404, "verification_not_found")
    for started in (answered, pending, hosted, returned):
        attempt = await service.admin.get(f"/v1/verifications/{started['verification']['id']}")
        problem(attempt, 404, "verification_not_found")
    assert service.asked("token") == exchanged
    await assert_forgotten(service)


async def test_an_erased_user_begins_anew(service: Service, clock: Clock) -> None:
    identity = (await service.verify(USER, email=EMAIL))["verification"]["identity_id"]
    await erase(service, USER)

    assert (await service.start(USER, purpose="step_up"))["reason"] == "identity_not_established"
    started = await service.start(USER, email="somebody.else@private.example")
    assert (started["action"], started["reason"], started["app_metadata"]) == ("redirect", "never_verified", {})
    assert query_of(started["redirect_url"])["login_hint"] == "somebody.else@private.example"
    finished = await service.finish(USER, started, **await service.visit(started))
    assert finished["reason"] == "verified"
    assert finished["verification"]["identity_id"] != identity


async def test_the_limit_on_attempts_is_forgotten_too(make_service: MakeService, clock: Clock) -> None:
    service = await make_service(attempt_limit=1)
    for purpose in ("login", "step_up"):
        await service.verify(USER)
        clock.advance(minutes=1)
        await service.verify(USER, "denied", purpose=purpose, force=True)
        assert (await service.start(USER, purpose=purpose, force=True))["reason"] == "too_many_attempts"
        await erase(service, USER)
        again = await service.start(USER)
        assert again["reason"] == "never_verified"
        await service.finish(USER, again, **await service.visit(again))
        assert (await service.start(USER, purpose="step_up"))["reason"] == "step_up"
        await erase(service, USER)


async def test_erasures_and_verifications_at_once_are_all_answered_and_the_last_erasure_is_final(
    service: Service,
) -> None:
    async def log_in(n: int) -> None:
        body = {"user_id": USER, "force": True}
        started = (await until_answered(lambda: service.idp.post("/v1/verifications", json=body))).json()
        back = await service.visit(started, "denied" if n % 3 == 0 else "verified")
        response = await until_answered(lambda: service.send_callback(USER, started, **back))
        assert response.status_code in {200, 404}, response.text

    async def forget() -> None:
        assert (await until_answered(lambda: service.admin.delete(f"/v1/users/{quote(USER)}"))).status_code == 204

    await asyncio.gather(*(log_in(n) for n in range(12)), *(forget() for _ in range(6)))
    await erase(service, USER)
    await assert_forgotten(service)


# --- The log ---


def test_neither_files_nor_log_of_the_running_service_hold_anything_of_an_erased_user(tmp_path: Path) -> None:
    work, ports = Workplace(tmp_path), (free_port(), free_port())
    provider, url = (f"http://127.0.0.1:{port}" for port in ports)
    secret = {"SANDBOX_CLIENT_SECRET": SETTINGS["INCODE_CLIENT_SECRET"]}
    redirect_uris = ("--redirect-uri", SETTINGS["REDIRECT_URI"], "--redirect-uri", f"{url}/v1/callback")
    settings = {
        **SETTINGS,
        "INCODE_SERVER_URL": provider,
        "SCOPES": ALL_SCOPES,
        "STORE_TOKENS": "true",
        "LOG_LEVEL": "debug",
        "PUBLIC_URL": url,
        "RETURN_URLS": RETURN_TO,
    }
    with (
        work.running(
            "sandbox", "--client-id", "system-tests", *redirect_uris, "--port", str(ports[0]), settings=secret
        ) as sandbox,
        work.running("serve", "--port", str(ports[1]), settings=settings) as service,
        httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {ADMIN_KEY}"}, timeout=PATIENCE, verify=NO_TLS
        ) as client,
    ):
        sandbox.wait_until(lambda: answers(f"{provider}/.well-known/openid-configuration", 200), "the sandbox")
        service.wait_until(lambda: answers(f"{url}/healthz", 200), "the service")
        in_clear, private = live_for_real(client)
        assert found_in(bytes_of(work.folder / "idv.db"), in_clear) == in_clear
        assert client.delete(f"/v1/users/{quote(USER)}").status_code == 204
        assert client.get(f"/v1/users/{quote(USER)}").json()["reason"] == "never_verified"
        stored, logged = bytes_of(work.folder / "idv.db"), service.output + service.errors

    assert found_in(stored, in_clear | private) == set()
    assert len(re.findall(r'"event":"request"', logged)) >= 12
    assert found_in(logged.encode(), in_clear | private) == set()


def live_for_real(client: httpx.Client) -> tuple[set[str], set[str]]:
    """Attempts of both flows over HTTP; returns what they leave in the clear, and what else is the person's."""
    in_clear, private = {USER}, {EMAIL, quote(USER), quote(USER, safe="")}
    for flow, outcome in (
        ("relay", "verified"),
        ("relay", "denied"),
        ("hosted", "verified"),
        ("hosted", None),
        ("relay", None),
    ):
        body = {"user_id": USER, "email": EMAIL, "flow": flow, "force": True}
        started = client.post("/v1/verifications", json=body).json()
        if outcome is None:
            continue
        callback: Json = {"user_id": USER, "verification_id": started["verification"]["id"]}
        address = started["redirect_url"]
        if flow == "hosted":
            address = client.get(address).headers["Location"]
        chosen = {**query_of(address), "outcome": outcome}
        back = httpx.get(address.partition("?")[0], params=chosen, timeout=PATIENCE, verify=NO_TLS).headers["Location"]
        if flow == "hosted":
            back = client.get(back).headers["Location"]
        arrived = query_of(back)
        finished = client.post("/v1/callback", json={**callback, **arrived}).json()
        private |= {arrived[name] for name in ("code", "state", "session_token") if name in arrived}
        if outcome == "verified":
            assert finished["reason"] == "verified", finished
            in_clear |= {finished["verification"][name] for name in ("identity_id", "interview_id")}
            record = finished["app_metadata"]["incode_idv"]
            private |= {value for value in record["pii"].values() if isinstance(value, str)}
            private |= {record[name] for name in ("id_token", "access_token")}
    return in_clear, private
