"""The hosted flow under attack. Each test is named after what the attacker does; he gets nothing."""

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from html import unescape

import httpx
import pytest
import pytest_asyncio

from app.api.cookies import MOST_KEPT
from app.oidc import jws
from app.sandbox import Sandbox
from tests.conftest import MakeService
from tests.harness.browser import Browser
from tests.harness.clock import Clock
from tests.harness.provider import LOOPBACK_URL, PUBLIC_URL
from tests.harness.service import REDIRECT_SECRET, Json, Service, problem, query_of
from tests.harness.tables import Tables, on_sqlite_only
from tests.harness.tokens import decoded, payload
from tests.harness.waiting import arrivals

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


@pytest_asyncio.fixture
async def stranger(hosted: Service) -> AsyncIterator[Browser]:
    """Somebody else's browser."""
    async with Browser(hosted) as opened:
        yield opened


async def start(service: Service, user_id: str = USER) -> Json:
    return await service.start(user_id, flow="hosted", email="mei@example.com")


async def status_of(service: Service, started: Json) -> str:
    response = await service.admin.get(f"/v1/verifications/{started['verification']['id']}")
    return str(response.json()["status"])


async def nothing_happened(service: Service, started: Json) -> None:
    assert await status_of(service, started) == "pending"
    assert service.asked("token") == 0
    assert (await service.status(USER))["app_metadata"] == {}


def is_page(response: httpx.Response, title: str) -> None:
    assert response.status_code == 400, response.text
    assert "Location" not in response.headers
    assert f"<h1>{title}</h1>" in response.text


FOREIGN, BAD_LINK = "Please use the other browser", "This link does not work"
OTHER_TAB = "You began again in another tab"


async def test_a_launch_link_that_is_passed_on_proves_nothing(hosted: Service, stranger: Browser) -> None:
    started = await start(hosted)
    await stranger.go_through(started)
    assert (await hosted.status(USER))["app_metadata"] == {}
    assert (await hosted.start(USER, flow="hosted"))["reason"] == "never_verified"


async def test_a_launch_link_that_was_used_takes_no_second_browser(
    hosted: Service, browser: Browser, stranger: Browser
) -> None:
    started = await start(hosted)
    launched = await browser.launch(started)
    is_page(await stranger.launch(started), FOREIGN)
    await nothing_happened(hosted, started)
    assert (await browser.come_back(await browser.at_provider(launched))).status_code == 303


async def test_of_browsers_that_launch_at_the_same_moment_one_goes_on(hosted: Service) -> None:
    for n in range(15):
        started = await start(hosted, f"auth0|{n}")
        async with AsyncExitStack() as opened:
            browsers = [await opened.enter_async_context(Browser(hosted)) for _ in range(5)]
            launches = await asyncio.gather(*(one.launch(started) for one in browsers))
        first, *others = sorted(launches, key=lambda launch: launch.status_code)
        assert first.status_code == 303
        for other in others:
            is_page(other, FOREIGN)
            assert "Set-Cookie" not in other.headers


async def test_an_attempt_that_was_bound_by_hand_takes_no_browser(hosted: Service, browser: Browser) -> None:
    started = await start(hosted)
    await Tables(hosted).change("UPDATE verifications SET browser_digest = ''")
    is_page(await browser.launch(started), FOREIGN)
    await nothing_happened(hosted, started)


async def test_a_reset_while_a_launch_waits_for_the_provider_ends_it(make_service: MakeService, clock: Clock) -> None:
    hosted = await make_service(**HOSTED, verification_ttl_seconds=7 * 86400)
    started = await start(hosted)
    clock.advance(hours=25)
    async with Browser(hosted) as browser:
        with hosted.sandbox.hold("discovery") as gate:
            launch = asyncio.create_task(browser.launch(started))
            await arrivals(gate)
            assert (await hosted.admin.post(f"/v1/users/{USER}/reset")).status_code == 200
        is_page(await launch, "This took too long")
    assert "Set-Cookie" not in (await launch).headers


async def test_a_launch_link_of_a_person_who_is_back_gives_no_token_away(
    hosted: Service, browser: Browser, stranger: Browser
) -> None:
    started = await start(hosted)
    await browser.go_through(started)
    response = await stranger.launch(started)
    is_page(response, FOREIGN)
    assert "session_token" not in response.text


async def test_the_providers_link_that_is_passed_on_ends_in_the_wrong_browser(
    hosted: Service, browser: Browser, stranger: Browser
) -> None:
    started = await start(hosted)
    launched = await browser.launch(started)
    address = await stranger.at_provider(launched)
    is_page(await stranger.come_back(address), FOREIGN)
    await nothing_happened(hosted, started)
    assert (await browser.come_back(await browser.at_provider(launched))).status_code == 303


async def test_a_victims_browser_that_is_made_to_load_the_attackers_callback(
    hosted: Service, browser: Browser, stranger: Browser
) -> None:
    own, started = await start(hosted, "eve"), await start(hosted)
    await browser.launch(started)
    address = await stranger.at_provider(await stranger.launch(own))
    is_page(await browser.come_back(address), OTHER_TAB)
    await nothing_happened(hosted, started)


async def test_a_browser_that_never_launched(hosted: Service, browser: Browser, stranger: Browser) -> None:
    started = await start(hosted)
    address = await browser.at_provider(await browser.launch(started))
    unlaunched = await start(hosted)
    is_page(await stranger.come_back(address), FOREIGN)
    await nothing_happened(hosted, unlaunched)


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Purpose": "prefetch"},
        {"Sec-Purpose": "prefetch;prerender"},
        {"Purpose": "prefetch"},
        {"X-Moz": "prefetch"},
        {"Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Mode": "cors"},
        {"User-Agent": "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)"},
        {"User-Agent": "facebookexternalhit/1.1"},
        {"User-Agent": "WhatsApp/2.23.20.0"},
        {"User-Agent": "Mozilla/5.0 (compatible; SkypeUriPreview Preview/0.5)"},
        {"User-Agent": "TelegramBot (like TwitterBot)"},
        {"User-Agent": "Mozilla/5.0 (compatible; Googlebot/2.1)"},
    ],
    ids=str,
)
@on_sqlite_only
async def test_a_link_preview_binds_nothing(
    hosted: Service, browser: Browser, stranger: Browser, headers: dict[str, str]
) -> None:
    started = await start(hosted)
    preview = await stranger.client.get(started["redirect_url"], headers=headers)
    assert preview.status_code == 200
    assert "Set-Cookie" not in preview.headers
    assert (await browser.launch(started)).status_code == 303


@pytest.mark.parametrize(
    "agent",
    [
        "Mozilla/5.0 (Linux; Android 9; CUBOT X19 Build/PPR1) AppleWebKit/537.36 Chrome/120.0 Mobile Safari/537.36",
        "Mozilla/5.0 (Linux; Android 12; CUBOT_NOTE_20 Build/S) AppleWebKit/537.36 Chrome/120.0 Mobile Safari/537.36",
        "Mozilla/5.0 (Macintosh) AppleWebKit/618 (KHTML, like Gecko) Version/18 Safari/618 Technology Preview",
        "Mozilla/5.0 (iPhone) AppleWebKit/605 Mobile/15E148 [FBAN/FBIOS;FBAV/440;FBBV/1] Spider-Man Edition",
        "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 Chrome/120.0 Mobile Safari/537.36 WhatsApp/2.23",
    ],
)
@on_sqlite_only
async def test_an_honest_browser_with_such_a_word_in_its_name_is_no_preview(
    hosted: Service, browser: Browser, agent: str
) -> None:
    browser.client.headers["User-Agent"] = agent
    assert (await browser.launch(await start(hosted))).status_code == 303


async def test_a_person_who_is_taken_for_a_preview_can_go_on(hosted: Service, browser: Browser) -> None:
    started = await start(hosted)
    browser.client.headers["User-Agent"] = "MyBot/1.0"
    preview = await browser.launch(started, state="auth0 & state")
    [onward] = re.findall(r'<a [^>]*href="([^"]+)"', preview.text)
    launched = await browser.client.get(preview.url.join(unescape(onward)))
    assert launched.status_code == 303
    back = await browser.come_back(await browser.at_provider(launched))
    assert query_of(back.headers["Location"])["state"] == "auth0 & state"


async def test_the_cookie_of_an_attempt_that_has_ended_goes_with_it(hosted: Service, browser: Browser) -> None:
    started = await start(hosted)
    back = await browser.come_back(await browser.at_provider(await browser.launch(started)))
    assert back.headers["Set-Cookie"].startswith(f"__Host-{started['verification']['id']}=")
    assert "Max-Age=300;" in back.headers["Set-Cookie"]
    assert (await browser.come_back(str(back.request.url))).headers["Set-Cookie"] == back.headers["Set-Cookie"]


async def test_no_browser_holds_more_than_a_few_cookies_and_the_newest_attempts_go_on(
    hosted: Service, browser: Browser
) -> None:
    begun = [await start(hosted, f"user {number}") for number in range(8)]
    there = [await browser.at_provider(await browser.launch(started)) for started in begun]
    assert len(browser.client.cookies.jar) == MOST_KEPT
    answers = [await browser.come_back(address) for address in there]
    assert [answer.status_code for answer in answers] == [400] * 3 + [303] * 5
    is_page(answers[0], OTHER_TAB)


async def test_a_head_request_binds_nothing(hosted: Service, browser: Browser, stranger: Browser) -> None:
    started = await start(hosted)
    for address in (started["redirect_url"], f"{PUBLIC_URL}/v1/callback"):
        response = await stranger.client.head(address)
        assert response.status_code == 405
        assert "Set-Cookie" not in response.headers
    assert (await browser.launch(started)).status_code == 303


async def test_the_cookie_is_the_browsers_alone(hosted: Service, browser: Browser) -> None:
    started = await start(hosted)
    launched = await browser.launch(started)
    name, _, rest = launched.headers["Set-Cookie"].partition("=")
    assert name == f"__Host-{started['verification']['id']}"
    value, *attributes = rest.split("; ")
    assert len(value) == 43
    assert set(attributes) == {"HttpOnly", "Path=/", "SameSite=lax", "Secure", "Max-Age=3900"}


async def test_on_loopback_over_http_the_cookie_has_no_prefix(make_service: MakeService) -> None:
    service = await make_service(public_url=LOOPBACK_URL, return_urls=RETURN_TO)
    started = await start(service)
    async with Browser(service) as browser:
        launched = await browser.launch(started)
        assert launched.headers["Set-Cookie"].startswith(f"{started['verification']['id']}=")
        assert "Secure" not in launched.headers["Set-Cookie"]
        assert (await browser.come_back(await browser.at_provider(launched))).status_code == 303


async def test_a_cookie_that_a_sibling_subdomain_has_planted(
    hosted: Service, browser: Browser, stranger: Browser
) -> None:
    """A sibling cannot set a `__Host-` cookie for us; under any other name the attacker's value is worth nothing."""
    started = await start(hosted)
    launched = await stranger.launch(started)
    [cookie] = stranger.client.cookies.jar
    address = await browser.at_provider(launched)
    identifier = started["verification"]["id"]
    for planted in (
        f"{identifier}={cookie.value}",
        f"__Secure-{identifier}={cookie.value}",
        f"__Host-idv_x={cookie.value}",
    ):
        is_page(await browser.client.get(address, headers={"Cookie": planted}), FOREIGN)
    is_page(await browser.client.get(address, headers={"Cookie": f"__Host-{identifier}=guess"}), FOREIGN)
    await nothing_happened(hosted, started)


@pytest.mark.parametrize(
    ("change", "title"),
    [
        (lambda query: query + "&state=again", BAD_LINK),
        (lambda query: query + "&session_state=one&session_state=two", BAD_LINK),
        (lambda query: query + "&code=again", BAD_LINK),
        (lambda query: query + "&iss=again", BAD_LINK),
        (lambda query: query + "&error=access_denied&error=access_denied", BAD_LINK),
        (lambda query: query.replace("state=", "state=x"), BAD_LINK),
        (lambda query: query.replace("state=", "stat="), BAD_LINK),
        (lambda query: query.replace("iss=", "is="), BAD_LINK),
        (lambda query: query.replace("iss=", "iss=https%3A%2F%2Fevil.example"), BAD_LINK),
        (lambda query: query.replace("code=", "cod=").replace("iss=", "iss=https%3A%2F%2Fevil.example"), BAD_LINK),
        (lambda _: "", BAD_LINK),
    ],
)
@on_sqlite_only
async def test_a_callback_that_was_changed_is_refused_and_the_person_can_still_finish(
    hosted: Service, browser: Browser, change: object, title: str
) -> None:
    assert callable(change)
    started = await start(hosted)
    address = await browser.at_provider(await browser.launch(started))
    base, _, query = address.partition("?")
    is_page(await browser.come_back(f"{base}?{change(query)}"), title)
    await nothing_happened(hosted, started)
    assert (await browser.come_back(address)).status_code == 303


async def test_an_error_beside_a_code_wins_and_the_code_is_not_sent(hosted: Service, browser: Browser) -> None:
    started = await start(hosted)
    address = await browser.at_provider(await browser.launch(started))
    back = await browser.come_back(f"{address}&error=access_denied")
    token = query_of(back.headers["Location"])["session_token"]
    assert (await hosted.finish(USER, None, session_token=token))["reason"] == "access_denied"
    assert hosted.asked("token") == 0


async def test_a_repeated_state_at_launch_and_one_that_is_too_long(hosted: Service, stranger: Browser) -> None:
    started = await start(hosted)
    for query in ("?state=a&state=b", "?state=" + "a" * 2049):
        is_page(await stranger.client.get(started["redirect_url"] + query), BAD_LINK)
    await nothing_happened(hosted, started)


async def test_a_relay_attempt_cannot_be_launched_nor_an_unknown_one(hosted: Service, stranger: Browser) -> None:
    relay = await hosted.start(USER, flow="relay")
    for identifier in (relay["verification"]["id"], "idv_" + "0" * 32, "x" * 3000, "%00"):
        is_page(await stranger.client.get(f"/v1/verifications/{identifier}/launch"), BAD_LINK)
    await nothing_happened(hosted, relay)


async def test_somebody_elses_token_and_a_token_for_somebody_else(hosted: Service, browser: Browser) -> None:
    mine = await browser.go_through(await start(hosted, "eve"))
    started = await start(hosted)
    for user_id, attempt in ((USER, None), (USER, started), ("eve", started)):
        response = await hosted.send_callback(user_id, attempt, session_token=mine["session_token"])
        problem(response, 409, "verification_mismatch")
    await nothing_happened_to(hosted, USER)
    assert (await hosted.finish("eve", None, session_token=mine["session_token"]))["reason"] == "verified"


async def nothing_happened_to(service: Service, user_id: str) -> None:
    assert (await service.status(user_id))["app_metadata"] == {}


async def test_a_flow_is_finished_in_its_own_way_only(hosted: Service, browser: Browser) -> None:
    started = await start(hosted)
    address = await browser.at_provider(await browser.launch(started))
    relayed = query_of(address)
    problem(await hosted.send_callback(USER, started, **relayed), 409, "verification_mismatch")
    await nothing_happened(hosted, started)
    token = query_of((await browser.come_back(address)).headers["Location"])["session_token"]
    for beside in ({"code": "x"}, {"state": "x"}, {"iss": "x"}, {"error": "x"}, {"error_description": "x"}):
        problem(await hosted.send_callback(USER, None, session_token=token, **beside), 422, "validation_error")
    assert (await hosted.finish(USER, None, session_token=token))["reason"] == "verified"


def forged(token: str) -> dict[str, str]:
    header, payload, signature = token.split(".")
    claims = decoded(payload)
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    other = base64.urlsafe_b64encode(json.dumps({**claims, "sub": USER}).encode()).rstrip(b"=").decode()
    return {
        "alg none": f"{none}.{payload}.",
        "alg none with a signature": f"{none}.{payload}.{signature}",
        "another payload": f"{header}.{other}.{signature}",
        "another secret": jws.sign_hs256(claims, "another secret of more than 32 characters"),
        "the type of a state": jws.sign_hs256(claims, REDIRECT_SECRET, token_type="idv-state+jwt"),
        "another issuer": jws.sign_hs256({**claims, "iss": "https://evil.example"}, REDIRECT_SECRET),
        "no attempt": jws.sign_hs256({**claims, "verification_id": None}, REDIRECT_SECRET),
        "no token": "abc",
        "two dots": "..",
    }


async def test_a_forged_session_token(hosted: Service, browser: Browser) -> None:
    started = await start(hosted)
    arrived = await browser.go_through(started)
    for name, token in forged(arrived["session_token"]).items():
        response = await hosted.send_callback(USER, started, session_token=token)
        assert response.status_code == 400, name
        problem(response, 400, "session_token_invalid")
    await nothing_happened_to(hosted, USER)
    assert (await hosted.finish(USER, None, session_token=arrived["session_token"]))["reason"] == "verified"


async def test_a_session_token_for_an_attempt_of_the_relay_flow(hosted: Service, browser: Browser) -> None:
    relay = await hosted.start(USER, flow="relay")
    claims = payload((await browser.go_through(await start(hosted)))["session_token"])
    token = jws.sign_hs256({**claims, "verification_id": relay["verification"]["id"]}, REDIRECT_SECRET)
    problem(await hosted.send_callback(USER, relay, session_token=token), 409, "verification_mismatch")
    assert (await hosted.finish(USER, relay, **await hosted.visit(relay)))["reason"] == "verified"


async def test_a_state_is_no_session_token_and_a_session_token_no_state(hosted: Service, browser: Browser) -> None:
    started = await start(hosted)
    address = await browser.at_provider(await browser.launch(started))
    state = query_of(address)["state"]
    problem(await hosted.send_callback(USER, started, session_token=state), 400, "session_token_invalid")
    token = (await browser.go_through(await start(hosted)))["session_token"]
    is_page(await browser.client.get("/v1/callback", params={"code": "x", "state": token}), BAD_LINK)
    relay = await hosted.start(USER, flow="relay")
    problem(await hosted.send_callback(USER, relay, code="x", state=token), 409, "state_invalid")


@pytest.mark.parametrize("identity", [False, True])
async def test_a_return_from_before_a_reset(hosted: Service, browser: Browser, identity: bool) -> None:
    first = await browser.go_through(await start(hosted))
    await hosted.finish(USER, None, session_token=first["session_token"])
    waiting = await hosted.start(USER, flow="hosted", force=True)
    address = await browser.at_provider(await browser.launch(waiting))
    arrived = query_of((await browser.come_back(address)).headers["Location"])
    assert (await hosted.admin.post(f"/v1/users/{USER}/reset", json={"identity": identity})).status_code == 200
    for token in (first["session_token"], arrived["session_token"]):
        response = await hosted.send_callback(USER, None, session_token=token)
        problem(response, 409, "verification_already_finished")
    back = await browser.come_back(address)
    assert (back.status_code, back.headers["Location"]) == (303, RETURN_TO)
    assert (await hosted.status(USER))["reason"] == "not_verified"


async def test_a_return_from_before_an_erasure(hosted: Service, browser: Browser, sandbox: Sandbox) -> None:
    started = await start(hosted)
    address = await browser.at_provider(await browser.launch(started))
    arrived = query_of((await browser.come_back(address)).headers["Location"])
    assert (await hosted.admin.delete(f"/v1/users/{USER}")).status_code == 204
    response = await hosted.send_callback(USER, None, session_token=arrived["session_token"])
    problem(response, 404, "verification_not_found")
    is_page(await browser.come_back(address), BAD_LINK)
    assert (await hosted.status(USER))["reason"] == "never_verified"
    assert sum(request.endpoint == "token" for request in sandbox.requests) == 1
