"""WSO2's service extensions, by their documented formats: tokens, and the verification as a step of a login."""

from typing import Any

import pytest

from tests.conftest import MakeService
from tests.harness.browser import Browser
from tests.harness.clock import Clock
from tests.harness.hooks import COMMONAUTH, HOOKS, Tenant, Vendors, asked, changed
from tests.harness.provider import PUBLIC_URL
from tests.harness.service import CLAIM, EMAIL, USER, Json, enrol, problem
from tests.harness.tables import on_sqlite_only
from tests.integrations.documents import check_exchanges, page

pytestmark = on_sqlite_only

TOKEN, AUTHENTICATION = "wso2/token", "wso2/authentication"
FLOW = "8f5f25a8-1fb7-4c93-9e86-2c328beac833"


def access_token(user_id: str, *claims: Json) -> Json:
    request = changed(asked(TOKEN, user_id), actionType="PRE_ISSUE_ACCESS_TOKEN", event__idToken=...)
    return changed(request, event__accessToken={"claims": list(claims)})


def login(flow: str = FLOW, *tokens: str, user: str = USER, **changes: Any) -> Json:
    request = changed(asked(AUTHENTICATION, user), flowId=flow, **changes)
    if tokens:
        request["event"]["request"] = {"additionalParams": [{"name": "session_token", "value": list(tokens)}]}
    return request


async def went_through(
    vendors: Vendors, first: Json, outcome: str = "verified", person: str | None = EMAIL
) -> dict[str, str]:
    assert first["actionStatus"] == "INCOMPLETE"
    async with Browser(vendors.service) as browser:
        return await browser.go_through({"redirect_url": first["operations"][0]["url"]}, outcome, person)


@pytest.fixture
async def wso2(make_service: MakeService, tenant: Tenant, clock: Clock) -> Vendors:
    return Vendors(await make_service(entra_url=tenant.url, **HOOKS, public_url=PUBLIC_URL), tenant.key, clock)


async def test_an_access_token_gets_the_members_one_by_one(wso2: Vendors, clock: Clock) -> None:
    claim = (await enrol(wso2.service, clock))["claims"][CLAIM]
    answer = await wso2.ask(TOKEN, access_token(USER, {"name": "sub", "value": USER}))
    added = {operation["value"]["name"]: operation["value"]["value"] for operation in answer["operations"]}
    assert {operation["path"] for operation in answer["operations"]} == {"/accessToken/claims/-"}
    assert added["idv_completed"] is True
    assert added["idv_given_name"] == claim["pii"]["given_name"]


async def test_members_that_wso2_has_kept_are_replaced_and_later_removed(wso2: Vendors, clock: Clock) -> None:
    await enrol(wso2.service, clock)
    kept = (
        {"name": "idv_completed_at", "value": "2020"},
        {"name": "idv_phone_number", "value": "1"},
        {"name": "plan", "value": "x"},
    )
    operations = (await wso2.ask(TOKEN, access_token(USER, *kept)))["operations"]
    assert operations[0] == {"op": "remove", "path": "/accessToken/claims/idv_phone_number"}
    assert (operations[1]["op"], operations[1]["path"]) == ("replace", "/accessToken/claims/idv_completed_at")
    assert operations[1]["value"] != "2020"
    assert {operation["op"] for operation in operations[2:]} == {"add"}

    await wso2.service.admin.post(f"/v1/users/{USER}/reset")
    assert (await wso2.ask(TOKEN, access_token(USER, *kept)))["operations"] == [
        {"op": "remove", "path": "/accessToken/claims/idv_completed_at"},
        {"op": "remove", "path": "/accessToken/claims/idv_phone_number"},
    ]


@pytest.mark.parametrize(
    "changes", [{"event__user": ...}, {"event__user": None}, {"event__request__grantType": "client_credentials"}]
)
async def test_a_machine_is_left_alone(wso2: Vendors, clock: Clock, changes: Json) -> None:
    await enrol(wso2.service, clock)
    assert await wso2.ask(TOKEN, changed(asked(TOKEN, USER), **changes)) == {
        "actionStatus": "SUCCESS",
        "operations": [],
    }


async def test_a_login_goes_through_the_hosted_flow_and_back_to_its_own_flow(wso2: Vendors) -> None:
    arrived = await went_through(wso2, await wso2.ask(AUTHENTICATION, login()))
    assert arrived["flowId"] == arrived["state"] == FLOW
    assert (await wso2.service.status(USER))["verified"] is False

    assert await wso2.ask(AUTHENTICATION, login(FLOW, arrived["session_token"])) == {"actionStatus": "SUCCESS"}
    assert (await wso2.service.status(USER))["verified"] is True
    [attempt] = (await wso2.service.admin.get("/v1/verifications")).json()["items"]
    assert (attempt["started_by"], attempt["finished_by"]) == ("acme", "acme")
    assert await wso2.ask(AUTHENTICATION, login(FLOW, arrived["session_token"])) == {"actionStatus": "SUCCESS"}
    assert await wso2.ask(AUTHENTICATION, login("another-flow")) == {"actionStatus": "SUCCESS"}


async def test_a_verification_by_a_link_that_was_passed_on_confirms_nothing(wso2: Vendors) -> None:
    """The attacker knows the flow's id, but the token went to the browser of whom he gave the link to."""
    await went_through(wso2, await wso2.ask(AUTHENTICATION, login()))
    assert (await wso2.ask(AUTHENTICATION, login()))["actionStatus"] == "INCOMPLETE"
    assert (await wso2.service.status(USER))["verified"] is False


async def test_a_token_of_another_flow_or_another_user_confirms_nothing(wso2: Vendors) -> None:
    arrived = await went_through(wso2, await wso2.ask(AUTHENTICATION, login()))
    token = arrived["session_token"]
    problem(await wso2.send(AUTHENTICATION, login("another-flow", token)), 409, "verification_mismatch")
    problem(await wso2.send(AUTHENTICATION, login(FLOW, token, user="auth0|eve")), 409, "verification_mismatch")
    problem(await wso2.send(AUTHENTICATION, login(FLOW, token, token)), 400, "session_token_invalid")
    problem(await wso2.send(AUTHENTICATION, login(FLOW, token + "x")), 400, "session_token_invalid")
    problem(await wso2.send(AUTHENTICATION, login(FLOW, "")), 400, "session_token_invalid")
    assert (await wso2.service.status(USER))["verified"] is False


async def test_a_refusal_fails_the_step_where_failures_block(
    make_service: MakeService, tenant: Tenant, clock: Clock
) -> None:
    for blocking, expected in ((True, "FAILED"), (False, "SUCCESS")):
        service = await make_service(entra_url=tenant.url, **HOOKS, public_url=PUBLIC_URL, block_on_failure=blocking)
        vendors = Vendors(service, tenant.key, clock)
        arrived = await went_through(vendors, await vendors.ask(AUTHENTICATION, login()), "denied")
        answer = await vendors.ask(AUTHENTICATION, login(FLOW, arrived["session_token"]))
        assert answer["actionStatus"] == expected
        assert not blocking or answer["failureReason"] == "identity_verification_failed"
        assert not blocking or answer["failureDescription"]


async def test_each_tenant_has_its_own_way_back_and_one_without_is_refused(
    make_service: MakeService, tenant: Tenant, clock: Clock
) -> None:
    urls = f"https://shop.example/continue,{COMMONAUTH},https://id.example/t/acme/commonauth"
    own = {**HOOKS, "return_urls": urls, "public_url": PUBLIC_URL}
    vendors = Vendors(await make_service(entra_url=tenant.url, **own), tenant.key, clock)
    for name, path in (("acme", "/t/acme/commonauth"), ("carbon.super", "/commonauth")):
        first = await vendors.ask(AUTHENTICATION, login(f"flow & {name}", event__tenant={"name": name}, user=name))
        async with Browser(vendors.service) as browser:
            started = {"redirect_url": first["operations"][0]["url"]}
            back = await browser.come_back(await browser.at_provider(await browser.launch(started)))
        assert back.headers["Location"].startswith(f"https://id.example{path}?flowId=flow%20%26%20{name}&state=")
    none = {**HOOKS, "return_urls": "https://shop.example/continue"}
    vendors = Vendors(await make_service(entra_url=tenant.url, **none), tenant.key, clock)
    answer = problem(await vendors.send(AUTHENTICATION, login()), 422, "validation_error")
    assert "RETURN_URLS" in answer["errors"][0]["message"]


async def test_a_step_is_counted_as_every_other_decision(wso2: Vendors) -> None:
    arrived = await went_through(wso2, await wso2.ask(AUTHENTICATION, login()))
    await wso2.ask(AUTHENTICATION, login(FLOW, arrived["session_token"]))
    metrics = (await wso2.service.admin.get("/metrics")).text
    assert 'idv_decisions_total{action="redirect",reason="never_verified"} 1.0' in metrics
    assert 'idv_decisions_total{action="continue",reason="verified"} 1.0' in metrics
    assert 'idv_callbacks_total{outcome="verified",step="confirmation"} 1.0' in metrics


async def test_the_page_shows_what_crosses_the_wire(wso2: Vendors) -> None:
    request = login(event__request=..., event__tenant=...)
    arrived = await went_through(wso2, await wso2.ask(AUTHENTICATION, request))
    await wso2.ask(AUTHENTICATION, login(FLOW, arrived["session_token"]))
    await wso2.ask(TOKEN, asked(TOKEN, USER))
    check_exchanges(page("wso2.md"), wso2.exchanges)
