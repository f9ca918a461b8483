"""The hosted flow: from launch to confirmation, and what every outcome, repetition and delay comes to."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from app.api.page_words import PAGES
from app.flows.hosted import PageKind
from app.sandbox import OUTCOMES, Sandbox
from tests.conftest import MakeService
from tests.harness.browser import Browser
from tests.harness.clock import Clock
from tests.harness.provider import LOOPBACK_URL, PUBLIC_URL
from tests.harness.queries import Queries
from tests.harness.service import CLAIM, Json, Service, problem, query_of
from tests.harness.tables import Tables, on_sqlite_only
from tests.harness.tokens import decoded, payload
from tests.harness.waiting import arrivals, until

RETURN_TO = "https://tenant.example/continue"
HOSTED = {"public_url": PUBLIC_URL, "return_urls": RETURN_TO}
USER = "auth0|ana"


@pytest_asyncio.fixture
async def hosted(make_service: MakeService) -> Service:
    return await make_service(**HOSTED)


@pytest_asyncio.fixture
async def browser(hosted: Service) -> AsyncIterator[Browser]:
    async with Browser(hosted) as opened:
        yield opened


async def start(service: Service, user_id: str = USER, **body: Any) -> Json:
    return await service.start(user_id, **{"flow": "hosted", "email": "mei@example.com", **body})


async def confirm(service: Service, arrived: dict[str, str], user_id: str = USER) -> Json:
    return await service.finish(user_id, None, session_token=arrived["session_token"])


async def attempt(service: Service, started: Json) -> Json:
    response = await service.admin.get(f"/v1/verifications/{started['verification']['id']}")
    answer: Json = response.json()
    return answer


def is_page(page: httpx.Response, status: int, kind: PageKind) -> None:
    assert page.status_code == status
    assert f"<h1>{PAGES[kind]['en'].title}</h1>" in page.text


def goes_back_without_a_token(back: httpx.Response, state: str | None = None) -> None:
    assert back.status_code == 303, back.text
    assert back.headers["Location"] == RETURN_TO + (f"?state={state}" if state else "")


async def test_a_person_is_verified_and_the_record_waits_for_the_confirmation(
    hosted: Service, browser: Browser
) -> None:
    started = await start(hosted)
    assert started["redirect_url"] == f"{PUBLIC_URL}/v1/verifications/{started['verification']['id']}/launch"
    launched = await browser.launch(started, state="auth0-state")
    request = query_of(launched.headers["Location"])
    assert request["redirect_uri"] == f"{PUBLIC_URL}/v1/callback"
    assert request["login_hint"] == "mei@example.com"
    assert {"state", "nonce", "code_challenge"} <= request.keys()

    back = await browser.come_back(await browser.at_provider(launched))
    assert back.headers["Location"].startswith(f"{RETURN_TO}?state=auth0-state&session_token=")
    assert (await attempt(hosted, started))["status"] == "returned"
    assert (await hosted.status(USER))["app_metadata"] == {}

    finished = await confirm(hosted, query_of(back.headers["Location"]))
    assert (finished["action"], finished["reason"]) == ("continue", "verified")
    assert finished["claims"][CLAIM]["pii"]["name"] == "Mei Tanaka"
    assert finished["verification"]["status"] == "completed"
    assert finished["verification"]["finished_by"] == "acme"
    assert (await hosted.status(USER))["verified"] is True


@pytest.mark.parametrize("block", [False, True])
@pytest.mark.parametrize("outcome", sorted(OUTCOMES))
@on_sqlite_only
async def test_every_outcome_comes_back_and_is_decided_by_the_confirmation(
    make_service: MakeService, outcome: str, block: bool
) -> None:
    service = await make_service(**HOSTED, block_on_failure=block)
    relayed = await service.verify("somebody else", outcome, email="mei@example.com", flow="relay")
    started = await start(service)
    async with Browser(service) as browser:
        arrived = await browser.go_through(started, outcome)
    assert (await service.status(USER))["app_metadata"] == {}
    finished = await confirm(service, arrived)
    assert (finished["action"], finished["reason"]) == (relayed["action"], relayed["reason"])
    assert finished["error"] == relayed["error"]
    assert finished["claims"].keys() == relayed["claims"].keys()
    assert finished["app_metadata"]["incode_idv_completed"] == relayed["app_metadata"]["incode_idv_completed"]


@pytest.mark.parametrize("character", ["x", '"', "\\", "é", "漢", "😀"])
@on_sqlite_only
async def test_the_longest_state_of_the_longest_user_id_comes_back_whole(
    hosted: Service, browser: Browser, character: str
) -> None:
    user_id, state = character * 255, character * 2048
    arrived = await browser.go_through(await start(hosted, user_id, state=state))
    assert arrived["state"] == state
    assert (await confirm(hosted, arrived, user_id))["reason"] == "verified"


async def test_the_session_token_is_what_auth0_takes_and_holds_nothing_personal(
    hosted: Service, browser: Browser, clock: Clock
) -> None:
    started = await start(hosted, state="callers state")
    arrived = await browser.go_through(started)
    assert arrived["state"] == "callers state"
    header = decoded(arrived["session_token"].split(".")[0])
    assert header == {"alg": "HS256", "typ": "JWT"}
    claims = payload(arrived["session_token"])
    assert claims.pop("jti")
    assert claims == {
        "iss": PUBLIC_URL,
        "sub": USER,
        "iat": int(clock().timestamp()),
        "exp": int(clock().timestamp()) + 300,
        "state": "callers state",
        "verification_id": started["verification"]["id"],
    }


async def test_a_reload_gives_the_same_return_and_exchanges_nothing(hosted: Service, browser: Browser) -> None:
    started = await start(hosted)
    address = await browser.at_provider(await browser.launch(started))
    first = await browser.come_back(address)
    again = await browser.come_back(address)
    relaunched = await browser.launch(started)
    finished = await confirm(hosted, query_of(first.headers["Location"]))
    late = await browser.come_back(address)
    locations = {response.headers["Location"] for response in (first, again, relaunched, late)}
    assert len(locations) == 1
    assert hosted.asked("token") == 1
    assert finished["reason"] == "verified"


async def test_two_reloads_while_the_code_is_exchanged_get_the_same_return(
    make_service: MakeService, sandbox: Sandbox
) -> None:
    service = await make_service(**HOSTED)
    started = await start(service)
    async with Browser(service) as browser:
        address = await browser.at_provider(await browser.launch(started))
        with sandbox.hold("token") as gate:
            callbacks = [asyncio.create_task(browser.come_back(address)) for _ in range(3)]
            await arrivals(gate)
            assert (await attempt(service, started))["status"] == "exchanging"
        responses = await asyncio.gather(*callbacks)
    assert len({response.headers["Location"] for response in responses}) == 1
    assert service.asked("token") == 1


async def test_a_browser_that_launches_again_goes_on_with_the_cookie_that_it_has(
    hosted: Service, browser: Browser
) -> None:
    started = await start(hosted)
    first = await browser.launch(started)
    again = await browser.launch(started)
    assert "Set-Cookie" in first.headers
    assert "Set-Cookie" not in again.headers
    back = await browser.come_back(await browser.at_provider(again))
    assert (await confirm(hosted, query_of(back.headers["Location"])))["reason"] == "verified"


async def test_a_browser_that_launches_again_while_its_code_is_exchanged_waits_for_the_same_return(
    hosted: Service, browser: Browser
) -> None:
    started = await start(hosted)
    address = await browser.at_provider(await browser.launch(started))
    with hosted.sandbox.hold("token") as gate:
        callback = asyncio.create_task(browser.come_back(address))
        await arrivals(gate)
        asked = Queries(hosted.app.state.services.database)
        launching = asyncio.create_task(browser.launch(started))
        await until(lambda: asked.count > 1)
    first, again = await asyncio.gather(callback, launching)
    assert first.status_code == again.status_code == 303
    assert again.headers["Location"] == first.headers["Location"]
    assert hosted.asked("token") == 1


async def test_an_exchange_that_was_given_up_leads_to_the_return_that_was_made_for_it(
    hosted: Service, browser: Browser, clock: Clock
) -> None:
    started = await start(hosted)
    address = await browser.at_provider(await browser.launch(started))
    with hosted.sandbox.hold("token") as gate:
        slow = asyncio.create_task(browser.come_back(address))
        await arrivals(gate)
        clock.advance(seconds=20)
        reloaded = await browser.come_back(address)
    first = await slow
    assert first.status_code == reloaded.status_code == 303
    assert first.headers["Location"] == reloaded.headers["Location"]
    assert (await confirm(hosted, query_of(first.headers["Location"])))["reason"] == "callback_interrupted"


async def test_a_browser_that_launches_again_too_late_goes_back_and_is_told_so(
    hosted: Service, browser: Browser, clock: Clock
) -> None:
    started = await start(hosted)
    await browser.launch(started, state="auth0-state")
    clock.advance(hours=1)
    goes_back_without_a_token(await browser.launch(started), "auth0-state")
    assert (await hosted.finish(USER, started))["reason"] == "verification_expired"


@pytest.mark.parametrize("launched", [False, True])
async def test_an_attempt_that_has_ended_sends_no_browser_back_but_its_own(
    hosted: Service, browser: Browser, launched: bool
) -> None:
    started = await start(hosted, state="callers-state")
    if launched:
        address = await browser.at_provider(await browser.launch(started))
    await hosted.finish(USER, started)
    async with Browser(hosted) as stranger:
        is_page(await stranger.launch(started), 400, PageKind.FOREIGN_BROWSER if launched else PageKind.FINISHED)
        if launched:
            is_page(await stranger.come_back(address), 400, PageKind.FOREIGN_BROWSER)


async def test_an_attempt_that_has_ended_and_whose_way_back_cannot_be_read_is_a_page(
    hosted: Service, browser: Browser
) -> None:
    started = await start(hosted)
    address = await browser.at_provider(await browser.launch(started))
    await hosted.finish(USER, started)
    await Tables(hosted).change("UPDATE verifications SET sealed_way_back = 'x'")
    page = await browser.come_back(address)
    is_page(page, 400, PageKind.FINISHED)
    assert started["verification"]["id"] in page.text


async def test_a_browser_that_comes_back_many_times_at_once_gets_one_return(hosted: Service, browser: Browser) -> None:
    started = await start(hosted)
    address = await browser.at_provider(await browser.launch(started))
    responses = await asyncio.gather(*(browser.come_back(address) for _ in range(10)))
    assert {response.status_code for response in responses} == {303}
    assert len({response.headers["Location"] for response in responses}) == 1
    assert hosted.asked("token") == 1


@pytest_asyncio.fixture
async def hanging(hosted: Service, browser: Browser) -> tuple[Json, str]:
    """A start, and the address that its browser came back to: the process that exchanged its code has died."""
    started = await start(hosted)
    address = await browser.at_provider(await browser.launch(started))
    with hosted.sandbox.hold("token") as gate:
        dying = asyncio.create_task(browser.come_back(address))
        await arrivals(gate)
        dying.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await dying
    assert (await attempt(hosted, started))["status"] == "exchanging"
    return started, address


@on_sqlite_only
async def test_a_reload_waits_for_an_exchange_and_then_says_that_it_goes_on(
    hosted: Service, browser: Browser, hanging: tuple[Json, str]
) -> None:
    started, address = hanging
    page = await browser.come_back(address)
    is_page(page, 503, PageKind.IN_PROGRESS)
    assert started["verification"]["id"] in page.text
    assert (await attempt(hosted, started))["status"] == "exchanging"


async def test_a_reload_does_not_wait_for_an_attempt_that_is_erased(
    hosted: Service, browser: Browser, hanging: tuple[Json, str]
) -> None:
    _, address = hanging
    asked = Queries(hosted.app.state.services.database)
    reloading = asyncio.create_task(browser.come_back(address))
    await until(lambda: asked.count > 1)  # whose attempt it is, and how far it has come
    assert (await hosted.admin.delete(f"/v1/users/{USER}")).status_code == 204
    page = await reloading
    is_page(page, 400, PageKind.BAD_LINK)


async def test_a_browser_whose_way_back_cannot_be_read_has_something_to_refer_to(
    hosted: Service, browser: Browser
) -> None:
    started = await start(hosted)
    address = await browser.at_provider(await browser.launch(started))
    await Tables(hosted).change("UPDATE verifications SET sealed_way_back = 'x'")
    page = await browser.come_back(address)
    is_page(page, 400, PageKind.UNREADABLE)
    assert started["verification"]["id"] in page.text


async def test_the_confirmation_works_once_and_is_answered_again_for_five_minutes(
    hosted: Service, browser: Browser, clock: Clock
) -> None:
    arrived = await browser.go_through(await start(hosted))
    finished = await confirm(hosted, arrived)
    clock.advance(minutes=4, seconds=59)
    assert await confirm(hosted, arrived) == finished
    clock.advance(seconds=1)
    response = await hosted.send_callback(USER, None, session_token=arrived["session_token"])
    problem(response, 409, "verification_already_finished")


async def test_many_confirmations_at_once_give_one_record_and_equal_answers(make_service: MakeService) -> None:
    services = [await make_service(**HOSTED) for _ in range(2)]
    async with Browser(services[0]) as browser:
        arrived = await browser.go_through(await start(services[0]))
    answers = await asyncio.gather(*(confirm(services[n % 2], arrived) for n in range(20)))
    assert all(answer == answers[0] for answer in answers)
    assert answers[0]["reason"] == "verified"


@pytest.mark.parametrize(("seconds", "status"), [(299.999, 200), (300, 400)])
async def test_a_token_counts_for_five_minutes(
    hosted: Service, browser: Browser, clock: Clock, seconds: float, status: int
) -> None:
    started = await start(hosted)
    arrived = await browser.go_through(started)
    clock.advance(seconds=seconds)
    assert (await attempt(hosted, started))["status"] == ("returned" if status == 200 else "expired")
    response = await hosted.send_callback(USER, None, session_token=arrived["session_token"])
    if status == 200:
        assert response.json()["reason"] == "verified"
    else:
        problem(response, 400, "session_token_invalid")
        assert (await hosted.status(USER))["app_metadata"] == {}


async def test_a_person_who_takes_too_long_comes_back_all_the_same(
    hosted: Service, browser: Browser, clock: Clock
) -> None:
    started = await start(hosted)
    launched = await browser.launch(started)
    clock.advance(hours=1)
    back = await browser.come_back(await browser.at_provider(launched))
    finished = await confirm(hosted, query_of(back.headers["Location"]))
    assert (finished["action"], finished["reason"]) == ("continue", "verification_expired")
    assert finished["verification"]["status"] == "expired"
    assert hosted.asked("token") == 0


@pytest.mark.parametrize("launched", [False, True])
@pytest.mark.parametrize(
    "nothing", [{}, {"response_parameters": {}}, {"code": "", "state": None, "error": ""}], ids=str
)
async def test_a_person_who_comes_back_to_the_caller_without_us_has_returned_no_code(
    hosted: Service, browser: Browser, launched: bool, nothing: Json
) -> None:
    started = await start(hosted)
    if launched:
        address = await browser.at_provider(await browser.launch(started))
    finished = await hosted.finish(USER, started, **nothing)
    assert (finished["action"], finished["reason"]) == ("continue", "no_code_returned")
    assert (finished["verification"]["status"], finished["verification"]["finished_by"]) == ("failed", "acme")
    assert finished["app_metadata"]["incode_idv_error"] == "no_code_returned"
    assert (await hosted.status(USER))["app_metadata"] == finished["app_metadata"]
    assert await hosted.finish(USER, started, **nothing) == finished
    if launched:
        for back in (await browser.come_back(address), await browser.launch(started)):
            goes_back_without_a_token(back)
            assert "Max-Age=300;" in back.headers["Set-Cookie"]
        assert await hosted.finish(USER, started, **nothing) == finished
    assert hosted.asked("token") == 0


async def test_a_person_who_comes_back_without_us_after_the_time_is_too_late(hosted: Service, clock: Clock) -> None:
    started = await start(hosted)
    clock.advance(hours=1)
    assert (await hosted.finish(USER, started))["reason"] == "verification_expired"


async def test_who_has_returned_to_us_is_not_finished_without_the_token(hosted: Service, browser: Browser) -> None:
    started = await start(hosted)
    arrived = await browser.go_through(started)
    problem(await hosted.send_callback(USER, started), 409, "verification_mismatch")
    assert (await attempt(hosted, started))["status"] == "returned"
    assert (await confirm(hosted, arrived))["reason"] == "verified"
    problem(await hosted.send_callback(USER, started), 409, "verification_mismatch")


async def test_nothing_ends_only_the_attempt_of_the_callers_own_user(hosted: Service) -> None:
    started = await start(hosted)
    problem(await hosted.send_callback("auth0|eve", started), 409, "verification_mismatch")
    assert (await attempt(hosted, started))["status"] == "pending"


@pytest.mark.parametrize("parameter", ["code", "state", "iss", "error", "error_description"])
async def test_a_hosted_attempt_takes_nothing_that_a_relay_one_takes(hosted: Service, parameter: str) -> None:
    started = await start(hosted)
    for parameters in ({parameter: "something"}, {"response_parameters": {parameter: "something"}}):
        problem(await hosted.send_callback(USER, started, **parameters), 409, "verification_mismatch")
    assert (await attempt(hosted, started))["status"] == "pending"


async def test_an_exchange_that_died_brings_the_browser_back(
    hosted: Service, browser: Browser, clock: Clock, hanging: tuple[Json, str]
) -> None:
    started, address = hanging
    clock.advance(seconds=20)
    assert (await attempt(hosted, started))["error"]["code"] == "callback_interrupted"
    back = await browser.come_back(address)
    finished = await confirm(hosted, query_of(back.headers["Location"]))
    assert finished["reason"] == "callback_interrupted"
    assert (await start(hosted))["action"] == "redirect"


async def test_a_reset_while_the_code_is_exchanged_leaves_nothing_to_confirm(hosted: Service, browser: Browser) -> None:
    started = await start(hosted, state="callers-state")
    address = await browser.at_provider(await browser.launch(started))
    with hosted.sandbox.hold("token") as gate:
        callback = asyncio.create_task(browser.come_back(address))
        await arrivals(gate)
        assert (await hosted.admin.post(f"/v1/users/{USER}/reset")).status_code == 200
    goes_back_without_a_token(await callback, "callers-state")
    goes_back_without_a_token(await browser.come_back(address), "callers-state")
    problem(await hosted.send_callback(USER, started), 409, "verification_already_finished")
    assert (await hosted.status(USER))["verified"] is False


async def test_an_erasure_while_the_code_is_exchanged_leaves_a_link_that_does_not_work(
    hosted: Service, browser: Browser
) -> None:
    address = await browser.at_provider(await browser.launch(await start(hosted)))
    with hosted.sandbox.hold("token") as gate:
        callback = asyncio.create_task(browser.come_back(address))
        await arrivals(gate)
        assert (await hosted.admin.delete(f"/v1/users/{USER}")).status_code == 204
    is_page(await callback, 400, PageKind.BAD_LINK)
    assert (await hosted.status(USER))["app_metadata"] == {}


async def test_a_provider_that_is_down_at_launch_is_a_page_and_the_launch_works_later(
    make_service: MakeService, sandbox: Sandbox, clock: Clock
) -> None:
    service = await make_service(**HOSTED, verification_ttl_seconds=7 * 86400)
    started = await start(service)
    clock.advance(hours=25)
    sandbox.down.add("discovery")
    async with Browser(service) as browser:
        page = await browser.launch(started)
        assert (page.status_code, page.headers["Content-Type"]) == (503, "text/html; charset=utf-8")
        assert (await attempt(service, started))["status"] == "pending"
        sandbox.down.clear()
        assert (await browser.launch(started)).status_code == 303


async def test_a_login_that_leads_nowhere_is_not_sent_to_the_launch(hosted: Service, sandbox: Sandbox) -> None:
    sandbox.down.add("discovery")
    down = await start(hosted)
    assert (down["action"], down["reason"], down["verification"]) == ("continue", "provider_unavailable", None)


async def test_a_step_up_goes_through_the_hosted_flow_and_leaves_the_record(hosted: Service, browser: Browser) -> None:
    assert (await start(hosted, purpose="step_up"))["reason"] == "identity_not_established"
    await confirm(hosted, await browser.go_through(await start(hosted)))
    before = (await hosted.status(USER))["app_metadata"]
    started = await start(hosted, purpose="step_up")
    assert started["reason"] == "step_up"
    wrong = await confirm(hosted, await browser.go_through(started, person="eve"))
    right = await confirm(hosted, await browser.go_through(await start(hosted, purpose="step_up")))
    assert (wrong["action"], wrong["reason"]) == ("deny", "identity_mismatch")
    assert (right["action"], right["reason"]) == ("continue", "verified")
    assert (await hosted.status(USER))["app_metadata"] == before


async def test_two_tabs_of_one_browser_both_end_well(hosted: Service, browser: Browser) -> None:
    one, two = await start(hosted), await start(hosted)
    there = [await browser.at_provider(await browser.launch(started)) for started in (one, two)]
    arrived = [query_of((await browser.come_back(address)).headers["Location"]) for address in reversed(there)]
    assert [(await confirm(hosted, each))["reason"] for each in arrived] == ["verified", "verified"]


async def test_which_flow_is_meant_and_where_the_browser_returns(make_service: MakeService) -> None:
    both = await make_service(**HOSTED)
    assert (await both.start(USER))["verification"]["flow"] == "relay"
    alone = await make_service(
        public_url=PUBLIC_URL, redirect_uri="", return_urls=f"{RETURN_TO}?client=a,https://other.example/back"
    )
    assert (await alone.start(USER))["verification"]["flow"] == "hosted"
    auth0 = await make_service(public_url=LOOPBACK_URL, redirect_uri="", auth0_domain="tenant.us.auth0.com")
    for service, body, arrives in (
        (alone, {}, f"{RETURN_TO}?client=a&session_token="),
        (alone, {"return_to": "https://other.example/back?x=1"}, "https://other.example/back?x=1&session_token="),
        (auth0, {}, "https://tenant.us.auth0.com/continue?session_token="),
    ):
        started = await start(service, **body)
        async with Browser(service) as browser:
            back = await browser.come_back(await browser.at_provider(await browser.launch(started)))
        assert back.headers["Location"].startswith(arrives)


@pytest.mark.parametrize(
    ("settings", "body", "field"),
    [
        ({"return_urls": ""}, {"flow": "hosted"}, "body.flow"),
        ({**HOSTED, "redirect_uri": ""}, {"flow": "relay"}, "body.flow"),
        (HOSTED, {"flow": "hosted", "omit_state": True}, "body.omit_state"),
        (HOSTED, {"flow": "relay", "return_to": RETURN_TO}, "body.return_to"),
        (HOSTED, {"flow": "relay", "state": "x"}, "body.state"),
        (HOSTED, {"flow": "hosted", "state": "x" * 2049}, "body.state"),
    ],
)
@on_sqlite_only
async def test_what_does_not_belong_to_a_flow_is_refused(
    make_service: MakeService, settings: Json, body: Json, field: str
) -> None:
    service = await make_service(**settings)
    response = await service.idp.post("/v1/verifications", json={"user_id": USER, **body})
    assert [error["field"] for error in problem(response, 422, "validation_error")["errors"]] == [field]


async def test_the_state_of_the_start_is_preferred_to_that_of_the_launch(hosted: Service, browser: Browser) -> None:
    started = await start(hosted, state="of the start")
    launched = await browser.launch(started, state="of the launch")
    back = await browser.come_back(await browser.at_provider(launched))
    assert query_of(back.headers["Location"])["state"] == "of the start"


async def test_a_redirect_secret_may_be_rotated_on_the_way(make_service: MakeService) -> None:
    old, new = "old-" + "x" * 40, "new-" + "x" * 40
    before = await make_service(**HOSTED, redirect_secret=old)
    after = await make_service(**HOSTED, redirect_secret=f"{new},{old}")
    started = await start(before)
    async with Browser(before) as browser:
        arrived = await browser.go_through(started)
    assert (await confirm(after, arrived))["reason"] == "verified"
