"""Why was this person refused on Tuesday: one attempt, and the list of them."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import pytest

from app.core.domain import Status
from tests.conftest import MakeService
from tests.harness.browser import Browser
from tests.harness.clock import Clock
from tests.harness.provider import PUBLIC_URL
from tests.harness.service import EMAIL, OTHER_IDP_KEY, USER, Json, Service, enrol, problem
from tests.harness.tables import Tables, on_sqlite_only
from tests.harness.waiting import arrivals

RETURN_TO = "https://tenant.example/continue"
LIST = "/v1/verifications"
MILLISECOND = timedelta(milliseconds=1)


@pytest.fixture
async def service(make_service: MakeService) -> Service:
    """A service that offers both flows."""
    return await make_service(public_url=PUBLIC_URL, return_urls=RETURN_TO)


async def look(service: Service, started: Json) -> Json:
    """What one call tells about an attempt."""
    response = await service.admin.get(f"{LIST}/{started['verification']['id']}")
    assert response.status_code == 200, response.text
    answer: Json = response.json()
    return answer


async def page(service: Service, **query: object) -> Json:
    response = await service.admin.get(LIST, params={name: str(value) for name, value in query.items()})
    assert response.status_code == 200, response.text
    answer: Json = response.json()
    assert list(answer) == ["items", "next_cursor"]
    return answer


async def pages(
    service: Service, between: Callable[[], Awaitable[object]] | None = None, **query: object
) -> list[list[str]]:
    """The ids of every page, one after the other; `between` happens after each page."""
    found = [await page(service, **query)]
    while cursor := found[-1]["next_cursor"]:
        if between:
            await between()
        found.append(await page(service, **query, cursor=cursor))
    return [[item["id"] for item in each["items"]] for each in found]


def flat(found: list[list[str]]) -> list[str]:
    return [attempt_id for each in found for attempt_id in each]


async def relay(service: Service, started: Json, outcome: str, clock: Clock) -> Json:
    """The person comes back through the caller's continue URL; another key than the one that started sends the
    callback.
    """
    back = await service.visit(started, outcome)
    clock.advance(seconds=30)
    return await finish_with_the_other_key(service, {"verification_id": started["verification"]["id"], **back})


async def hosted(service: Service, started: Json, outcome: str, clock: Clock) -> Json:
    async with Browser(service) as browser:
        back = await browser.go_through(started, outcome)
    clock.advance(seconds=30)
    return await finish_with_the_other_key(
        service, {"verification_id": started["verification"]["id"], "session_token": back["session_token"]}
    )


async def finish_with_the_other_key(service: Service, body: Json) -> Json:
    async with service.client(OTHER_IDP_KEY) as other:
        response = await other.post("/v1/callback", json={"user_id": USER, **body})
    assert response.status_code == 200, response.text
    answer: Json = response.json()
    return answer


# --- One attempt ---

ENDINGS = {
    "verified": ("completed", None),
    "denied": ("failed", "access_denied"),
    "abandoned": ("failed", "no_code_returned"),
    "failed": ("failed", "status_not_accepted"),
    "another-person": ("failed", "identity_mismatch"),
    "expired": ("failed", "invalid_grant"),
    "provider-down": ("failed", "provider_unavailable"),
}


@pytest.mark.parametrize("purpose", ["login", "step_up"])
@pytest.mark.parametrize("flow", [relay, hosted], ids=lambda flow: flow.__name__)
@pytest.mark.parametrize("outcome", ENDINGS)
@on_sqlite_only
async def test_one_call_tells_who_started_and_finished_an_attempt_and_how_and_when_it_ended(
    service: Service, clock: Clock, flow: Callable[..., Awaitable[Json]], outcome: str, purpose: str
) -> None:
    await enrol(service, clock)
    started = await service.start(USER, flow=flow.__name__, purpose=purpose, force=True, email=EMAIL)
    clock.advance(minutes=5)
    finished = await flow(service, started, outcome, clock)
    clock.advance(days=400)

    told = await look(service, started)

    status, code = ENDINGS[outcome]
    assert told == finished["verification"]
    assert told["error"] == finished["error"]
    assert (told["status"], told["error"] and told["error"]["code"]) == (status, code)
    ids = {
        name: told.pop(name) for name in ("interview_id", "identity_id", "auth_overall_score", "auth_overall_status")
    }
    assert told | {"error": None} == {
        "id": started["verification"]["id"],
        "user_id": USER,
        "status": status,
        "flow": flow.__name__,
        "purpose": purpose,
        "started_by": "acme",
        "finished_by": "other",
        "created_at": "2026-04-07T17:29:25.150Z",
        "expires_at": "2026-04-07T18:29:25.150Z",
        "finished_at": "2026-04-07T17:34:55.150Z",
        "error": None,
    }
    # What was said about the person is told wherever the provider has said it.
    said = outcome in {"verified", "failed", "another-person"}
    assert {name for name, value in ids.items() if value is not None} == (set(ids) if said else set())


async def test_an_identity_provider_may_not_look(service: Service) -> None:
    started = await service.start(USER)
    for path in (LIST, f"{LIST}/{started['verification']['id']}", f"{LIST}/idv_unknown"):
        problem(await service.idp.get(path), 403, "forbidden")
        problem(await service.client(None).get(path), 401, "unauthorized")


@pytest.mark.parametrize("unknown", ["idv_" + "0" * 32, "x", "idv_", "*", "%25", "' OR 1=1 --", "x" * 64])
async def test_an_attempt_that_is_not_there_is_not_found(service: Service, unknown: str) -> None:
    await service.start(USER)
    problem(await service.admin.get(f"{LIST}/{unknown}"), 404, "verification_not_found")


# --- Statuses move by time alone ---


@pytest.mark.parametrize("flow", ["relay", "hosted"])
async def test_a_pending_attempt_expires_when_its_time_is_over_and_not_before(
    service: Service, clock: Clock, flow: str
) -> None:
    started = await service.start(USER, flow=flow)
    assert started["verification"]["expires_at"] == "2026-04-07T18:28:25.150Z"

    clock.advance(hours=1, milliseconds=-1)
    assert await look(service, started) == started["verification"]
    clock.advance(milliseconds=1)
    told = await look(service, started)
    assert (told["status"], told["error"]["code"], told["finished_by"]) == ("expired", "verification_expired", None)


async def test_an_exchange_is_interrupted_after_20_seconds_and_not_before(
    make_service: MakeService, clock: Clock
) -> None:
    service = await make_service()
    started = await service.start(USER)
    back = await service.visit(started)
    with service.sandbox.hold("token") as gate:
        finishing = asyncio.create_task(service.finish(USER, started, **back))
        await arrivals(gate)
        clock.advance(seconds=20, milliseconds=-1)
        told = await look(service, started)
        assert (told["status"], told["error"], told["finished_by"]) == ("exchanging", None, "acme")
        clock.advance(milliseconds=1)
        told = await look(service, started)
        assert (told["status"], told["error"]["code"], told["finished_by"]) == (
            "failed",
            "callback_interrupted",
            "acme",
        )
    assert (await finishing)["reason"] == "callback_interrupted"


async def test_a_returned_attempt_waits_five_minutes_for_its_confirmation_and_no_longer(
    service: Service, clock: Clock
) -> None:
    started = await service.start(USER, flow="hosted")
    clock.advance(minutes=59, seconds=59)
    async with Browser(service) as browser:
        await browser.go_through(started, "denied")
    clock.advance(minutes=5, milliseconds=-1)
    told = await look(service, started)
    assert (told["status"], told["error"], told["finished_by"]) == ("returned", None, None)
    clock.advance(milliseconds=1)
    told = await look(service, started)
    assert (told["status"], told["error"]["code"], told["finished_by"]) == ("expired", "verification_expired", None)


async def one_of_each(service: Service, clock: Clock) -> tuple[dict[str, str], datetime]:
    """An attempt of every status and both flows, all begun at one time; returns the ids by name."""
    began = clock.now
    names = ("relay", "hosted", "exchanging", "returned", "completed", "failed", "late", "reset", "erased")
    hosted_ones = {"hosted", "returned"}
    made = {name: await service.start(name, flow="hosted" if name in hosted_ones else "relay") for name in names}
    back = {name: await service.visit(made[name]) for name in ("completed", "late")}
    back["failed"] = await service.visit(made["failed"], "denied")
    async with Browser(service) as browser:
        await browser.go_through(made["returned"])
    for name in ("completed", "failed"):
        await service.finish(name, made[name], **back[name])
    await service.admin.post("/v1/users/reset/reset")
    await service.admin.delete("/v1/users/erased")
    tables = Tables(service)
    exchanging = "UPDATE verifications SET status = 'exchanging', exchange_started_at = :at WHERE id = :id"
    await tables.change(exchanging, at=tables.moment(began), id=made["exchanging"]["verification"]["id"])
    clock.advance(hours=1)
    await service.finish("late", made["late"], **back["late"])
    clock.now = began
    return {made[name]["verification"]["id"]: name for name in names if name != "erased"}, began


LASTING = {"completed": "completed", "failed": "failed", "late": "expired", "reset": "expired"}
MOVING = {"relay": "pending", "hosted": "pending", "exchanging": "exchanging", "returned": "returned"}
MOMENTS = [
    (timedelta(), {}),
    (timedelta(seconds=20) - MILLISECOND, {}),
    (timedelta(seconds=20), {"exchanging": "failed"}),
    (timedelta(minutes=5) - MILLISECOND, {"exchanging": "failed"}),
    (timedelta(minutes=5), {"exchanging": "failed", "returned": "expired"}),
    (timedelta(hours=1) - MILLISECOND, {"exchanging": "failed", "returned": "expired"}),
    (timedelta(hours=1), {"exchanging": "failed", "returned": "expired", "relay": "expired", "hosted": "expired"}),
    (timedelta(days=400), {"exchanging": "failed", "returned": "expired", "relay": "expired", "hosted": "expired"}),
    # The clock was set back, by as much as clocks may differ, and by more.
    (-timedelta(seconds=60), {}),
    (
        -timedelta(seconds=60) - MILLISECOND,
        {"exchanging": "failed", "returned": "expired", "relay": "expired", "hosted": "expired"},
    ),
]


async def test_the_status_filter_finds_a_row_by_the_status_that_it_shows_and_by_no_other(
    service: Service, clock: Clock
) -> None:
    names, began = await one_of_each(service, clock)
    for passed, moved in MOMENTS:
        clock.now = began + passed
        shown = {item["id"]: item["status"] for item in (await page(service))["items"]}
        assert {names[attempt_id]: status for attempt_id, status in shown.items()} == {**LASTING, **MOVING, **moved}, (
            passed
        )
        for status in Status:
            items = (await page(service, status=status))["items"]
            assert {item["status"] for item in items} <= {status}
            assert {item["id"] for item in items} == {each for each in shown if shown[each] == status}, (passed, status)
        for attempt_id, status in shown.items():
            assert (await look(service, {"verification": {"id": attempt_id}}))["status"] == status


# --- The list ---


async def test_the_list_is_newest_first_and_can_be_filtered(service: Service, clock: Clock) -> None:
    ids: dict[str, list[str]] = {USER: [], "auth0|bob": [], "AUTH0|ana": [], "auth0|an": []}
    for turn in range(3):
        for user_id, own in ids.items():
            decision = await service.verify(user_id, "denied") if turn == 1 else await service.start(user_id)
            own.insert(0, decision["verification"]["id"])
            clock.advance(milliseconds=1)
    turns = list(zip(*ids.values(), strict=True))
    everything = [attempt_id for turn in turns for attempt_id in reversed(turn)]
    items = (await page(service))["items"]
    assert [item["id"] for item in items] == everything
    assert [item["created_at"] for item in items] == sorted((item["created_at"] for item in items), reverse=True)
    for item in items:
        assert item == await look(service, {"verification": item})

    for user_id, own in ids.items():
        assert flat(await pages(service, user_id=user_id)) == own
        assert flat(await pages(service, user_id=user_id, status="failed")) == [own[1]]
        assert flat(await pages(service, user_id=user_id, status="pending", limit=1)) == [own[0], own[2]]
    assert flat(await pages(service, status="failed")) == list(reversed(turns[1]))
    assert await page(service, user_id="auth0|%") == {"items": [], "next_cursor": None}
    assert await page(service, user_id=USER, status="returned") == {"items": [], "next_cursor": None}


async def test_every_page_size_shows_every_row_once_and_ends_with_no_cursor(service: Service, clock: Clock) -> None:
    made = []
    for n in range(6):
        # Three at one time, then three at another.
        clock.advance(seconds=float(n == 3))
        made.append((await service.start(f"user-{n}"))["verification"]["id"])
    everything = sorted(made[3:], reverse=True) + sorted(made[:3], reverse=True)
    for limit in range(1, 8):
        found = await pages(service, limit=limit)
        assert flat(found) == everything
        assert [len(each) for each in found] == [min(limit, 6 - begin) for begin in range(0, 6, limit)]


async def test_a_page_holds_at_most_100_and_50_by_default(service: Service) -> None:
    for n in range(101):
        await service.start(f"user-{n}")
    assert [len(each) for each in await pages(service, limit=100)] == [100, 1]
    assert [len(each) for each in await pages(service)] == [50, 50, 1]
    assert len(set(flat(await pages(service, limit=100)))) == 101


@pytest.mark.parametrize("limit", [1, 2, 5])
async def test_pages_hold_every_row_once_though_rows_come_expire_and_go_between_them(
    service: Service, clock: Clock, limit: int
) -> None:
    made = []
    for n in range(8):
        clock.advance(minutes=float(n % 4 == 0))
        made.append((await service.start(f"user-{n}"))["verification"]["id"])

    async def meanwhile() -> None:
        # One at the very time of the newest on the first pages, one later; and the oldest ones are expired by now.
        await service.start("somebody-new")
        clock.advance(minutes=59)
        await service.start("somebody-newer")

    found = [each for each in flat(await pages(service, meanwhile, limit=limit)) if each in made]
    assert sorted(found) == sorted(made)
    assert {item["status"] for item in (await page(service, limit=100))["items"] if item["id"] in made} <= {
        "pending",
        "expired",
    }


async def test_a_page_goes_on_where_the_last_one_ended_though_its_last_row_was_erased(
    service: Service, clock: Clock
) -> None:
    owners = {}
    for n in range(5):
        owners[(await service.start(f"user-{n}"))["verification"]["id"]] = f"user-{n}"
    expected = sorted(owners, reverse=True)
    first = await page(service, limit=2)
    await service.admin.delete(f"/v1/users/{owners[first['items'][-1]['id']]}")

    rest = await page(service, limit=3, cursor=first["next_cursor"])

    assert [item["id"] for item in first["items"] + rest["items"]] == expected
    assert rest["next_cursor"] is None


# --- What is refused ---


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("limit", value) for value in ("0", "101", "-1", "x", "", "1.5", "1e1", "9" * 400)],
        *[("status", value) for value in ("", "done", "PENDING", "pending,failed", "pending ")],
        *[("user_id", value) for value in ("", "x" * 256, "a\x00b", "a\nb", "\x7f")],
        *[(name, "1") for name in ("offset", "page", "Limit", "userid", "purpose", "order_by")],
    ],
)
@on_sqlite_only
async def test_a_query_that_is_not_understood_is_refused(service: Service, name: str, value: str) -> None:
    refused = problem(await service.admin.get(LIST, params={name: value}), 422, "validation_error")
    assert [error["field"] for error in refused["errors"]] == [f"query.{name}"]


@pytest.mark.parametrize("path", [LIST, "/v1/audit"])
async def test_the_calendars_ends_are_times_and_what_lies_beyond_is_none(service: Service, path: str) -> None:
    for name, value in (("since", "0001-01-01T00:00:00Z"), ("until", "9999-12-31T23:59:59.999999Z")):
        assert (await service.admin.get(path, params={name: value})).status_code == 200
    for name, value in (("since", "0001-01-01T00:00:00+00:01"), ("until", "9999-12-31T23:59:59-14:00")):
        refused = problem(await service.admin.get(path, params={name: value}), 422, "validation_error")
        assert [error["field"] for error in refused["errors"]] == [f"query.{name}"]


def encoded(text: str | bytes) -> str:
    return base64.urlsafe_b64encode(text.encode() if isinstance(text, str) else text).decode()


TIME = "2026-04-07T17:28:25.150000+00:00"
ID = "idv_" + "0" * 32
HOSTILE = {
    "empty": "",
    "a space": " ",
    "a word": "next",
    "a number": "2",
    "json": '{"created_at": 1}',
    "in the clear": f"{TIME} {ID}",
    "too long": encoded(f"{TIME} {ID}" + "x" * 200),
    "cut off": encoded(f"{TIME} {ID}")[:-3],
    "with more behind it": encoded(f"{TIME} {ID}") + "AAAA",
    "of nothing": encoded(" "),
    "no id": encoded(TIME),
    "an empty id": encoded(f"{TIME} "),
    "no time": encoded(f" {ID}"),
    "not a time": encoded(f"yesterday {ID}"),
    "only a date": encoded(f"2026-04-07 {ID}"),
    "a time without a zone": encoded(f"2026-04-07T17:28:25.150000 {ID}"),
    "a time in another zone": encoded(f"2026-04-07T17:28:25.150000+02:00 {ID}"),
    "a time before time": encoded(f"0001-01-01T00:00:00+23:59 {ID}"),
    "a time after time": encoded(f"9999-12-31T23:59:59-23:59 {ID}"),
    "sql": encoded(f"{TIME} ' OR 1=1 --"),
    "an id of nobody's": encoded(f"{TIME} *"),
    "a NUL": encoded(f"{TIME} {ID[:-1]}\x00"),
    "a newline": encoded(f"{TIME} {ID}\n"),
    "no UTF-8": encoded(b"\xff\xfe" + f"{TIME} {ID}".encode()),
    "a surrogate": encoded(f"{TIME} ".encode() + b"\xed\xa0\x80"),
    "the other alphabet": base64.b64encode(f"{TIME} {ID}\xff\xbf\xff".encode()).decode().replace("_", "/"),
}


@pytest.mark.parametrize("cursor", HOSTILE.values(), ids=HOSTILE)
async def test_a_cursor_that_the_list_has_not_written_is_refused(service: Service, cursor: str) -> None:
    await service.start(USER)
    refused = problem(await service.admin.get(LIST, params={"cursor": cursor}), 422, "validation_error")
    assert [error["field"] for error in refused["errors"]] == ["query.cursor"]


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59.999999+00:00"])
async def test_a_cursor_at_the_end_of_the_calendar_is_no_fault(service: Service, time: str) -> None:
    started = await service.start(USER)
    response = await service.admin.get(LIST, params={"cursor": encoded(f"{time} {ID}")})
    assert response.status_code == 200, response.text
    assert [item["id"] for item in response.json()["items"]] == (
        [started["verification"]["id"]] if time[0] == "9" else []
    )
