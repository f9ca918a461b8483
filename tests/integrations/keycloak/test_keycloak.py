"""The module in a real Keycloak, in front of the service and the sandbox as processes."""

import asyncio
import re
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Event

import httpx
import pytest
from playwright.async_api import expect

from tests.harness.chromium import chromium_or_skip, launched, visiting
from tests.harness.service import CLAIM, query_of
from tests.harness.tokens import payload
from tests.integrations.documents import check_exchanges, page
from tests.integrations.keycloak.realm import PASSWORD, STEP_UP
from tests.integrations.keycloak.server import MODULE
from tests.integrations.keycloak.visitor import Realm, arrival, claims_in, is_refused
from tests.integrations.keycloak.world import World, world

Scenario = Callable[[World], None]
SCENARIOS: list[Scenario] = []


def scenario(one: Scenario) -> Scenario:
    SCENARIOS.append(one)
    return one


def test_people_log_in_to_a_real_keycloak(tmp_path: Path, subtests: pytest.Subtests) -> None:
    """One test, since to start Keycloak takes longer than all of its scenarios."""
    with world(tmp_path) as running:
        for one in SCENARIOS:
            with subtests.test(one.__name__):
                one(running)


@scenario
def who_is_verified_has_the_claim(world: World) -> None:
    for place in world.places:
        tokens = place.verified("ana")
        claim, same = claims_in(tokens)
        assert claim == same == place.realm.userinfo(tokens)[CLAIM]
        assert (claim["completed"], claim["auth_overall_status"]) == (True, "OK")
        check_exchanges(page("keycloak.md"), place.wire.exchanges)


@scenario
def whoever_returns_within_the_window_is_not_asked_again(world: World) -> None:
    for place in world.places:
        before = claims_in(place.verified("back"))
        assert claims_in(place.realm.tokens(place.log_in("back"))) == before


@scenario
def one_login_asks_for_the_status_once_for_all_of_its_tokens(world: World) -> None:
    place = world.going_on
    came_to = place.log_in("ana")
    asked = len(place.wire.exchanges)
    assert len(claims_in(place.realm.tokens(came_to))) == 2
    assert [exchange.method for exchange in place.wire.exchanges[asked:]] == ["GET"]


@scenario
def a_refusal_goes_on_without_the_claim_or_blocks(world: World) -> None:
    for place in world.places:
        for outcome in ("denied", "failed", "abandoned"):
            with place.realm.browser() as browser:
                came_to = browser.verify(browser.log_in("refused"), outcome)
                if place.blocks:
                    assert is_refused(came_to)
                else:
                    assert claims_in(place.realm.tokens(came_to)) == []


@scenario
def a_refusal_is_no_wrong_password_to_brute_force_detection(world: World) -> None:
    assert len(claims_in(world.blocking.verified("refused"))) == 2


@scenario
def another_person_than_the_enrolled_one_does_not_count(world: World) -> None:
    for place in world.places:
        place.reset(place.verified("other"))
        with place.realm.browser() as browser:
            came_to = browser.verify(browser.log_in("other"), "another-person")
            if place.blocks:
                assert is_refused(came_to)
            else:
                assert claims_in(place.realm.tokens(came_to)) == []


@scenario
def without_the_service_a_login_goes_on_without_the_claim_or_blocks(world: World) -> None:
    for place in world.places:
        with place.without_the_service():
            if place.blocks:
                assert is_refused(place.log_in("away")) == "Access denied"
            else:
                assert claims_in(place.realm.tokens(place.log_in("away"))) == []


@scenario
def the_service_may_go_away_while_the_person_is_on_the_way(world: World) -> None:
    for place in world.places:
        with place.realm.browser() as browser:
            back = browser.way_back(browser.log_in("away"))
            with place.without_the_service():
                came_to = browser.go(back)
                if place.blocks:
                    assert is_refused(came_to)
                else:
                    assert claims_in(place.realm.tokens(came_to)) == []


@scenario
def a_refresh_after_a_reset_has_no_claim(world: World) -> None:
    for place in world.places:
        tokens = place.verified("reset")
        refreshed = place.realm.grant("refresh_token", refresh_token=tokens["refresh_token"])
        assert claims_in(refreshed.json()) == claims_in(tokens) != []
        place.reset(tokens)
        refreshed = place.realm.grant("refresh_token", refresh_token=refreshed.json()["refresh_token"])
        if place.blocks:
            assert (refreshed.status_code, refreshed.json()["error"]) == (403, "access_denied")
        else:
            assert claims_in(refreshed.json()) == []
            assert CLAIM not in place.realm.userinfo(refreshed.json())


@scenario
def a_refresh_without_the_service_has_no_claim(world: World) -> None:
    for place in world.places:
        tokens = place.verified("offline")
        with place.without_the_service():
            refreshed = place.realm.grant("refresh_token", refresh_token=tokens["refresh_token"])
        if place.blocks:
            assert (refreshed.status_code, refreshed.json()["error"]) == (403, "access_denied")
        else:
            assert claims_in(refreshed.json()) == []


@scenario
def a_password_grant_goes_by_the_status(world: World) -> None:
    for place in world.places:
        answer = place.realm.grant("password", username="grant", password=PASSWORD, scope="openid")
        if place.blocks:
            assert (answer.status_code, answer.json()["error"]) == (403, "access_denied")
        else:
            assert claims_in(answer.json()) == []
        place.verified("grant")
        answer = place.realm.grant("password", username="grant", password=PASSWORD, scope="openid")
        assert len(claims_in(answer.json())) == 2


@scenario
def a_machine_is_nobody_to_verify(world: World) -> None:
    for place in world.places:
        asked = len(place.wire.exchanges)
        answer = place.realm.grant("client_credentials")
        assert CLAIM not in payload(answer.json()["access_token"])
        assert len(place.wire.exchanges) == asked


@scenario
def a_step_up_is_the_person_on_file(world: World) -> None:
    for place in world.places:
        with place.realm.browser() as browser:
            tokens = place.realm.tokens(browser.verify(browser.log_in("gold")))
            assert payload(tokens["id_token"])["acr"] != STEP_UP
            tokens = place.realm.tokens(browser.verify(browser.begin(acr=STEP_UP)))
            assert payload(tokens["id_token"])["acr"] == STEP_UP
            assert len(claims_in(tokens)) == 2


@scenario
def a_step_up_denies_every_failure(world: World) -> None:
    for place in world.places:
        with place.realm.browser() as browser:
            arrival(browser.log_in("gold"), place.realm.application)
            for outcome in ("denied", "failed", "abandoned", "another-person", "no-identity", "no-status"):
                assert is_refused(browser.verify(browser.begin(acr=STEP_UP), outcome)), outcome
            with place.without_the_service():
                assert is_refused(browser.begin(acr=STEP_UP))
            back = browser.way_back(browser.begin(acr=STEP_UP))
            with place.without_the_service():
                assert is_refused(browser.go(back))


@scenario
def a_step_up_needs_an_identity_on_file(world: World) -> None:
    place = world.going_on
    with place.realm.browser() as browser:
        arrival(browser.verify(browser.log_in("stranger"), "denied"), place.realm.application)
        assert is_refused(browser.begin(acr=STEP_UP))


@scenario
def a_token_and_an_id_of_somebody_else_in_the_address_verify_nobody(world: World) -> None:
    place = world.blocking
    place.reset(place.verified("honest"))
    with place.realm.browser() as browser, place.realm.browser() as eve:
        stolen = browser.way_back(browser.log_in("honest"))
        assert is_refused(eve.go(_with_what_came(eve.way_back(eve.log_in("eve"), "denied"), stolen)))


@scenario
def the_outcome_of_another_step_up_is_not_this_ones(world: World) -> None:
    place = world.going_on
    with place.realm.browser() as browser, place.realm.browser() as other:
        arrival(other.log_in("gold"), place.realm.application)
        older = other.way_back(other.begin(acr=STEP_UP))
        arrival(browser.log_in("gold"), place.realm.application)
        assert is_refused(browser.go(_with_what_came(browser.way_back(browser.begin(acr=STEP_UP), "denied"), older)))


@scenario
def the_outcome_of_a_login_is_no_step_up(world: World) -> None:
    place = world.going_on
    with place.realm.browser() as browser:
        arrival(browser.log_in("gold"), place.realm.application)
        back = browser.way_back(browser.begin(acr=STEP_UP))
        place.wire.instead = _answering(200, b'{"action": "continue", "verification": {"purpose": "login"}}')
        try:
            assert is_refused(browser.go(back))
        finally:
            place.wire.instead = None


@scenario
def only_a_200_of_the_services_own_counts(world: World) -> None:
    place = world.blocking
    tokens = place.verified("odd")
    true = b'{"action": "continue", "verified": true, "claims": {}, "verification": {"purpose": "step_up"}}'
    answers = {
        "an error": _answering(500, true),
        "created": _answering(201, true),
        "a redirect": _answering(
            307, b"", Location=f"{world.going_on.wire.url}/v1/users/{payload(tokens['id_token'])['sub']}"
        ),
        "no JSON": _answering(200, b"<html>"),
        "no object": _answering(200, b'"continue"'),
        "no action": _answering(200, b'{"action": "proceed"}'),
    }
    for name, answer in answers.items():
        place.wire.instead = answer
        try:
            assert is_refused(place.log_in("odd")), name
            refreshed = place.realm.grant("refresh_token", refresh_token=tokens["refresh_token"])
            assert refreshed.status_code == 403, name
        finally:
            place.wire.instead = None


@scenario
def a_connection_that_is_gone_is_opened_again(world: World) -> None:
    place = world.blocking

    def hang_up(handler: BaseHTTPRequestHandler) -> None:
        place.wire.instead = None
        handler.close_connection = True

    place.wire.instead = hang_up
    assert len(claims_in(place.realm.tokens(place.log_in("ana")))) == 2


@scenario
def a_person_goes_the_whole_way_in_a_browser(world: World) -> None:
    place = world.blocking
    address = asyncio.run(_refused_and_then_verified(place.realm, chromium_or_skip()))
    assert len(claims_in(place.realm.tokens_for(address))) == 2


async def _refused_and_then_verified(realm: Realm, chromium: str) -> str:
    """The address at the application where the person arrives."""
    async with launched(chromium) as browser, visiting(browser) as visit:
        for outcome in ("Refused", "Verified"):
            await visit.page.goto(realm.way_in())
            await visit.page.fill("#username", "eve")
            await visit.page.fill("#password", PASSWORD)
            await visit.page.click("#kc-login")
            await visit.page.get_by_role("link", name=re.compile(f"^{outcome}")).click()
            if outcome == "Refused":
                await expect(visit.page.locator("#kc-error-message")).to_have_text(
                    "We could not confirm your identity."
                )
        await visit.page.wait_for_url(f"{realm.application}?**")
        assert "session_token" not in visit.page.url
        return visit.page.url


@scenario
def an_answer_that_does_not_end_is_not_waited_for(world: World) -> None:
    place, over = world.going_on, Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        over.wait()

    place.wire.instead = drip
    try:
        answer = place.realm.grant("password", username="ana", password=PASSWORD, scope="openid")
        assert claims_in(answer.json()) == []
    finally:
        over.set()
        place.wire.instead = None


def test_the_page_names_each_setting_of_the_console() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in MODULE.rglob("*.java"))
    labels = set(re.findall(r'\.label\("([^"]+)"\)', sources))
    assert set(re.findall(r"^\| \*(.*?)\* \|", page("keycloak.md"), re.MULTILINE)) == labels


def _with_what_came(address: str, elsewhere: str) -> str:
    """The address with the answer that came elsewhere, and whom and what that was about."""
    token = query_of(elsewhere)["session_token"]
    about = {"user_id": payload(token)["sub"], "verification_id": payload(token)["verification_id"]}
    return str(httpx.URL(address).copy_merge_params({"session_token": token, **about}))


def _answering(status: int, body: bytes, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer
