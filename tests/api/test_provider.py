"""What the provider says, once its answer has arrived whole: discovery, token errors, userinfo, client authentication.

What a verification comes to does not depend on the database here, so one engine is enough.
"""

from collections.abc import Callable
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from app.sandbox import Sandbox
from tests.conftest import MakeService
from tests.harness.clock import Clock
from tests.harness.provider import CLIENT_ID, CLIENT_SECRET
from tests.harness.service import CLAIM, EMAIL, USER, Json, Service, enrol, gist
from tests.harness.tables import on_sqlite_only
from tests.harness.tampering import TamperedProvider

pytestmark = on_sqlite_only

MIB = 1024 * 1024


# --- The discovery document ---

ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint")


def changed(**names: Any) -> Callable[[Json], Json]:
    return lambda document: {**document, **names}


UNSAFE_URLS: tuple[Any, ...] = (
    "http://provider.example/x",
    "http://10.0.0.1/x",
    "http://localhost.evil.example/x",
    "http://127.0.0.1@evil.example/x",
    "https://user:password@provider.example/x",
    "https://provider.example/x#fragment",
    "https:///x",
    "//provider.example/x",
    "/x",
    "javascript:alert(1)",
    "file:///etc/passwd",
    "https://provider.example/x\r\nx: y",
    7,
    ["https://provider.example/x"],
    {"url": "https://provider.example/x"},
)


@pytest.mark.parametrize("issuer", ["https://evil.example", "", None, 7, ["http://127.0.0.1"]])
async def test_discovery_of_another_issuer(service: Service, provider: TamperedProvider, issuer: Any) -> None:
    provider.alter("discovery", lambda document: {**document, "issuer": issuer})

    assert gist(await service.start(USER)) == ("continue", "provider_unavailable")


async def test_the_issuer_may_be_set_apart_from_the_server(make_service: MakeService, sandbox: Sandbox) -> None:
    service = await make_service(incode_issuer="https://issuer.example")
    assert gist(await service.start(USER)) == ("continue", "provider_unavailable")


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_discovery_with_an_address_that_is_not_safe(
    service: Service, provider: TamperedProvider, endpoint: str
) -> None:
    for url in UNSAFE_URLS:
        provider.alter("discovery", changed(**{endpoint: url}))

        decision = await service.start(USER)

        assert gist(decision) == ("continue", "provider_unavailable"), url
        assert endpoint in decision["error"]["detail"]


@pytest.mark.parametrize("missing", ["issuer", "authorization_endpoint", "token_endpoint", "jwks_uri"])
async def test_discovery_that_lacks_something(service: Service, provider: TamperedProvider, missing: str) -> None:
    provider.alter("discovery", lambda document: {k: v for k, v in document.items() if k != missing})

    assert gist(await service.start(USER)) == ("continue", "provider_unavailable")


async def test_a_provider_without_userinfo_is_fine(service: Service, provider: TamperedProvider) -> None:
    provider.alter("discovery", lambda document: {k: v for k, v in document.items() if k != "userinfo_endpoint"})

    decision = await service.verify(USER)

    assert gist(decision) == ("continue", "verified")
    assert decision["claims"][CLAIM]["pii"] == {}
    assert provider.asked_at("userinfo") == 0


async def test_plain_http_beyond_this_machine_where_it_is_allowed(
    make_service: MakeService, provider: TamperedProvider
) -> None:
    url = "http://provider.internal/authorize"
    provider.alter("discovery", lambda document: {**document, "authorization_endpoint": url})

    decision = await (await make_service(allow_http=True)).start(USER)

    assert decision["action"] == "redirect"
    assert decision["redirect_url"].startswith(url + "?")


@pytest.mark.parametrize("outcome", ["verified", "denied"])
async def test_a_response_without_iss_counts_for_nothing_where_it_is_not_known_whether_one_was_promised(
    service: Service, make_service: MakeService, provider: TamperedProvider, clock: Clock, outcome: str
) -> None:
    await enrol(service, clock)
    standing = await service.status(USER)
    started = await service.start(USER, force=True)
    back = await service.visit(started, outcome)
    del back["iss"]
    cold = await make_service()
    asked = provider.asked_at("token")
    unavailable = iter([Response(status_code=503)])  # once: the exchange would find the provider there again
    provider.rewrite("discovery", lambda body: next(unavailable, Response(body, media_type="application/json")))

    decision = await cold.finish(USER, started, **back)

    assert gist(decision) == ("continue", "provider_unavailable")
    assert provider.asked_at("token") == asked
    assert (await cold.status(USER))["claims"] == standing["claims"] != {}
    assert await cold.finish(USER, started, **back) == decision


async def test_a_provider_that_does_not_promise_iss(service: Service, provider: TamperedProvider) -> None:
    promise = "authorization_response_iss_parameter_supported"
    provider.alter("discovery", lambda document: {k: v for k, v in document.items() if k != promise})
    started = await service.start(USER)
    back = await service.visit(started)

    wrong = await service.send_callback(USER, started, **{**back, "iss": "https://evil.example"})
    assert (wrong.status_code, wrong.json()["code"]) == (409, "issuer_mismatch")
    del back["iss"]
    assert gist(await service.finish(USER, started, **back)) == ("continue", "verified")


# --- The token endpoint's words ---

TOKEN_ERRORS: dict[str, tuple[int, Any, str, bool]] = {
    "invalid_grant": (400, {"error": "invalid_grant"}, "invalid_grant", False),
    "invalid_grant, forbidden": (403, {"error": "invalid_grant"}, "invalid_grant", False),
    "invalid_client": (401, {"error": "invalid_client"}, "invalid_client", True),
    "invalid_client as a bad request": (400, {"error": "invalid_client"}, "invalid_client", True),
    "invalid_request": (400, {"error": "invalid_request"}, "invalid_request", True),
    "invalid_scope": (400, {"error": "invalid_scope"}, "invalid_scope", True),
    "unauthorized_client": (400, {"error": "unauthorized_client"}, "unauthorized_client", True),
    "unsupported_grant_type": (400, {"error": "unsupported_grant_type"}, "unsupported_grant_type", True),
    "a made-up error": (400, {"error": "made_up"}, "token_exchange_failed", False),
    "an error of another endpoint": (400, {"error": "access_denied"}, "token_exchange_failed", False),
    "an error that is no text": (400, {"error": ["invalid_client"]}, "token_exchange_failed", False),
    "no error": (400, {}, "token_exchange_failed", False),
    "an array": (400, ["invalid_client"], "token_exchange_failed", False),
    "an error with 200": (200, {"error": "invalid_grant"}, "invalid_grant", False),
    "an error with 200, beside tokens": (
        200,
        {"error": "invalid_client", "access_token": "a", "token_type": "Bearer", "id_token": "a.b.c"},
        "invalid_client",
        True,
    ),
}


@pytest.mark.parametrize(("status", "body", "code", "stands"), TOKEN_ERRORS.values(), ids=TOKEN_ERRORS)
async def test_the_token_endpoint_refuses(
    service: Service, provider: TamperedProvider, clock: Clock, status: int, body: Any, *, code: str, stands: bool
) -> None:
    first = await enrol(service, clock)
    said = {"error_description": "SECRET-OF-THE-PROVIDER"}
    provider.replace("token", JSONResponse({**body, **said} if isinstance(body, dict) else body, status))
    asked = provider.asked_at("token")

    started = await service.start(USER, force=True)
    response = await service.send_callback(USER, started, **await service.visit(started))

    assert gist(response.json()) == ("continue", code)
    assert "SECRET-OF-THE-PROVIDER" not in response.text
    assert provider.asked_at("token") == asked + 1
    status_now = await service.status(USER)
    assert status_now["verified"] is stands
    assert status_now["claims"] == (first["claims"] if stands else {})
    assert status_now["app_metadata"]["incode_idv_error"] == code


async def test_a_refusal_in_html_is_a_refusal(service: Service, provider: TamperedProvider) -> None:
    provider.replace("token", Response("<h1>SECRET-OF-THE-PROVIDER</h1>", 400, media_type="text/html"))

    started = await service.start(USER)
    response = await service.send_callback(USER, started, **await service.visit(started))

    assert gist(response.json()) == ("continue", "token_exchange_failed")
    assert "SECRET-OF-THE-PROVIDER" not in response.text


TOKEN_ANSWERS: dict[str, tuple[Json, str]] = {
    "token_type MAC": ({"token_type": "MAC"}, "provider_unavailable"),
    "token_type DPoP": ({"token_type": "DPoP"}, "provider_unavailable"),
    "no token_type": ({"token_type": None}, "provider_unavailable"),
    "token_type is no text": ({"token_type": ["Bearer"]}, "provider_unavailable"),
    "no access token": ({"access_token": None}, "provider_unavailable"),
    "an empty access token": ({"access_token": ""}, "provider_unavailable"),
    "an access token that breaks a header": ({"access_token": "a\r\nX-Evil: 1"}, "provider_unavailable"),
    "no ID token": ({"id_token": None}, "id_token_invalid"),
    "an empty ID token": ({"id_token": ""}, "id_token_invalid"),
    "an ID token that is no text": ({"id_token": {"sub": "x"}}, "id_token_invalid"),
    "an ID token that is no JWT": ({"id_token": "not a token"}, "id_token_invalid"),
    "an ID token of five parts": ({"id_token": "a.b.c.d.e"}, "id_token_invalid"),
    "token_type in lower case": ({"token_type": "bearer"}, "verified"),
    "no lifetime": ({"expires_in": None}, "verified"),
}


@pytest.mark.parametrize(("change", "reason"), TOKEN_ANSWERS.values(), ids=TOKEN_ANSWERS)
async def test_a_token_answer_with_something_changed(
    service: Service, provider: TamperedProvider, change: Json, reason: str
) -> None:
    def altered(answer: Json) -> Json:
        return {name: value for name, value in {**answer, **change}.items() if value is not None}

    provider.alter("token", altered)

    decision = await service.verify(USER)

    assert gist(decision) == ("continue", reason)
    assert provider.asked_at("token") == 1
    assert provider.asked_at("userinfo") == (1 if reason == "verified" else 0)


# --- Userinfo ---


async def test_personal_data_on_file_is_kept_while_userinfo_is_down(service: Service, clock: Clock) -> None:
    first = await enrol(service, clock)

    decision = await service.verify(USER, "userinfo-down", force=True)

    assert gist(decision) == ("continue", "verified")
    pii = decision["claims"][CLAIM]["pii"]
    assert pii == first["claims"][CLAIM]["pii"]
    assert pii["email"] == EMAIL
    on_file = decision["app_metadata"]["incode_idv"]
    assert on_file["userinfo"] == first["app_metadata"]["incode_idv"]["userinfo"]
    assert on_file["interview_id"] != first["app_metadata"]["incode_idv"]["interview_id"]


async def test_personal_data_of_one_person_is_never_kept_for_another(make_service: MakeService, clock: Clock) -> None:
    service = await make_service(allow_identity_change=True)
    await enrol(service, clock)

    decision = await service.verify(USER, "userinfo-down", person="bob@example.com", force=True)

    assert gist(decision) == ("continue", "verified")
    assert decision["claims"][CLAIM]["pii"] == {}
    assert decision["app_metadata"]["incode_idv"]["pii"] == {}
    assert EMAIL not in str(decision)


async def test_userinfo_of_another_subject_is_a_failure(
    service: Service, provider: TamperedProvider, clock: Clock
) -> None:
    await enrol(service, clock)
    provider.alter("userinfo", lambda claims: {**claims, "sub": claims["sub"] + "0"})

    decision = await service.verify(USER, force=True)

    assert gist(decision) == ("continue", "userinfo_sub_mismatch")
    assert decision["claims"] == {}
    assert (await service.status(USER))["verified"] is False


@pytest.mark.parametrize("sub", [None, 7, [], ""])
async def test_userinfo_of_nobody_is_not_used(service: Service, provider: TamperedProvider, sub: Any) -> None:
    provider.alter("userinfo", lambda claims: {**claims, "sub": sub})

    decision = await service.verify(USER)

    assert decision["reason"] in {"verified", "userinfo_sub_mismatch"}
    assert decision["app_metadata"]["incode_idv"] is None or decision["app_metadata"]["incode_idv"]["pii"] == {}
    assert (sub == "") == (decision["reason"] == "userinfo_sub_mismatch")


# --- The client ---


@pytest.mark.parametrize("method", ["client_secret_post", "client_secret_basic", "client_secret_jwt"])
async def test_a_client_authenticates_by_the_configured_method(make_service: MakeService, method: str) -> None:
    service = await make_service(client_auth_method=method)

    assert gist(await service.verify(USER)) == ("continue", "verified")

    request = next(request for request in service.sandbox.requests if request.endpoint == "token")
    assert request.authentication == method
    sent = set(request.parameters)
    exchange = {"grant_type", "code", "redirect_uri", "code_verifier"}
    assert (
        sent - exchange
        == {
            "client_secret_post": {"client_id", "client_secret"},
            "client_secret_basic": set(),
            "client_secret_jwt": {"client_id", "client_assertion", "client_assertion_type"},
        }[method]
    )
    if method != "client_secret_post":
        assert CLIENT_SECRET not in request.parameters.values()


@pytest.mark.parametrize("method", ["client_secret_post", "client_secret_basic", "client_secret_jwt"])
async def test_a_wrong_secret_is_invalid_client_and_says_nothing_about_the_person(
    make_service: MakeService, clock: Clock, method: str
) -> None:
    first = await enrol(await make_service(), clock)
    secret = "not-the-secret-0123456789-0123456789"
    service = await make_service(incode_client_secret=secret, client_auth_method=method)
    started = await service.start(USER, force=True)

    response = await service.send_callback(USER, started, **await service.visit(started))

    decision = response.json()
    assert gist(decision) == ("continue", "invalid_client")
    assert "INCODE_CLIENT_SECRET" in decision["error"]["hint"]
    assert secret not in response.text
    assert (await service.status(USER))["claims"] == first["claims"]


async def test_a_scope_that_is_not_enabled_is_invalid_scope(
    make_service: MakeService, sandbox: Sandbox, clock: Clock
) -> None:
    service = await make_service(scopes="openid profile")
    first = await service.verify(USER)
    clock.advance(minutes=1)
    sandbox.reconfigure(enabled_scopes=frozenset({"openid"}))

    decision = await service.verify(USER, force=True)

    assert gist(decision) == ("continue", "invalid_scope")
    assert "SCOPES" in decision["error"]["hint"]
    assert (await service.status(USER))["claims"] == first["claims"]
    assert service.asked("token") == 1


async def test_a_client_that_the_provider_does_not_know_never_gets_a_browser_back(
    make_service: MakeService,
) -> None:
    service = await make_service(incode_client_id=CLIENT_ID + "-2")
    started = await service.start(USER)

    response = await service.browser.get(started["redirect_url"])

    assert response.status_code == 400
    assert "Location" not in response.headers
