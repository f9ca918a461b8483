"""Starting a verification: who is sent to the provider, with what, and who is not."""

import asyncio
import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography.fernet import Fernet

from app.sandbox import Sandbox
from app.sandbox.observation import Endpoint
from tests.conftest import MakeService
from tests.harness.clock import Clock
from tests.harness.provider import CLIENT_ID, REDIRECT_URI, ProviderHost
from tests.harness.service import CLAIM, EMAIL, USER, Service, gist, query_of, state_of
from tests.harness.tables import Tables
from tests.harness.tampering import TamperedProvider

EVERY_ENDPOINT: set[Endpoint] = {"discovery", "authorize", "token", "userinfo", "jwks"}


async def enrol(service: Service, user_id: str = USER, **body: Any) -> str:
    """Verify a user for the first time; returns the identity id."""
    decision = await service.verify(user_id, **body)
    assert gist(decision) == ("continue", "verified")
    identity: str = decision["verification"]["identity_id"]
    assert identity
    return identity


async def fail(service: Service, clock: Clock, times: int, outcome: str = "denied", **body: Any) -> None:
    """Let verifications fail, a minute apart."""
    for _ in range(times):
        started = await service.start(USER, force=True, **body)
        assert started["action"] == "redirect", started
        decision = await service.finish(USER, started, **await service.visit(started, outcome))
        assert decision["error"]
        clock.advance(minutes=1)


# --- Why a user is sent to the provider ---


async def test_a_user_we_have_never_met_is_sent_to_the_provider(service: Service) -> None:
    decision = await service.start(USER, email=EMAIL)

    verification = decision.pop("verification")
    address = decision.pop("redirect_url").partition("?")[0]
    assert address == service.sandbox.config.authorization_endpoint
    assert decision == {
        "action": "redirect",
        "reason": "never_verified",
        "claims": {},
        "app_metadata": {},
        "error": None,
    }
    attempt_id = verification.pop("id")
    assert attempt_id.startswith("idv_")
    assert len(bytes.fromhex(attempt_id.removeprefix("idv_"))) >= 16
    assert verification == {
        "user_id": USER,
        "status": "pending",
        "flow": "relay",
        "purpose": "login",
        "started_by": "acme",
        "finished_by": None,
        "created_at": "2026-04-07T17:28:25.150Z",
        "expires_at": "2026-04-07T18:28:25.150Z",
        "finished_at": None,
        "interview_id": None,
        "identity_id": None,
        "auth_overall_score": None,
        "auth_overall_status": None,
        "error": None,
    }


async def test_a_user_who_failed_is_not_verified(service: Service) -> None:
    await service.verify(USER, "denied")

    decision = await service.start(USER)

    assert gist(decision) == ("redirect", "not_verified")
    assert decision["app_metadata"]["incode_idv_completed"] is False
    assert decision["error"] is None


async def test_a_user_who_was_reset_is_not_verified(service: Service) -> None:
    await enrol(service)
    await service.admin.post(f"/v1/users/{USER}/reset")

    decision = await service.start(USER)

    assert gist(decision) == ("redirect", "not_verified")
    assert decision["app_metadata"]["incode_idv_completed"] is None


@pytest.mark.parametrize(("hours", "window"), [(720, timedelta(hours=720)), (0.5, timedelta(minutes=30))])
async def test_reverification_is_due_when_the_window_ends_and_not_a_millisecond_before(
    make_service: MakeService, clock: Clock, hours: float, window: timedelta
) -> None:
    service = await make_service(reverification_hours=hours)
    await enrol(service)
    verified_at = clock.now

    clock.now = verified_at + window - timedelta(milliseconds=1)
    assert gist(await service.start(USER)) == ("continue", "recently_verified")
    clock.now = verified_at + window
    due = await service.start(USER)

    assert gist(due) == ("redirect", "reverification_due")
    assert due["claims"] == {}


async def test_a_window_of_zero_never_ends(make_service: MakeService, clock: Clock) -> None:
    service = await make_service(reverification_hours=0)
    await enrol(service)

    clock.advance(days=3653)

    assert gist(await service.start(USER)) == ("continue", "recently_verified")


async def test_force_is_the_reason_only_inside_the_window(service: Service, clock: Clock) -> None:
    assert gist(await service.start(USER, force=True)) == ("redirect", "never_verified")
    await enrol(service)
    assert gist(await service.start(USER, force=True)) == ("redirect", "forced")
    clock.advance(hours=720)
    assert gist(await service.start(USER, force=True)) == ("redirect", "reverification_due")


async def _lose_the_time(tables: Tables) -> None:
    assert await tables.change("UPDATE users SET completed_at = NULL") == 1


async def _lose_the_evidence(tables: Tables) -> None:
    assert await tables.change("UPDATE users SET sealed_record = NULL") == 1


async def _come_from_the_future(tables: Tables) -> None:
    at = datetime(2026, 4, 7, 17, 29, 25, 151_000, tzinfo=UTC)
    assert await tables.change("UPDATE users SET completed_at = :at", at=tables.moment(at)) == 1


async def _seal_with_a_foreign_key(tables: Tables) -> None:
    forged = {"interview_id": "i", "identity_id": "x", "auth_overall_score": "100", "auth_overall_status": "OK"}
    sealed = Fernet(Fernet.generate_key()).encrypt(
        json.dumps([f"user\n{USER}", {**forged, "pii": {}, "userinfo": None, "tokens": None}]).encode()
    )
    assert await tables.change("UPDATE users SET sealed_record = :sealed", sealed=sealed) == 1


BROKEN_RECORDS = [_lose_the_time, _lose_the_evidence, _come_from_the_future, _seal_with_a_foreign_key]


@pytest.mark.parametrize("break_it", BROKEN_RECORDS, ids=lambda function: function.__name__.strip("_"))
async def test_a_broken_record_counts_for_nothing_until_it_is_reset_with_identity(
    service: Service, break_it: Any
) -> None:
    await enrol(service)
    await break_it(Tables(service))

    started = await service.start(USER)
    status = await service.status(USER)
    assert gist(started) == ("continue", "record_not_authentic")
    assert (started["claims"], started["redirect_url"], started["verification"]) == ({}, None, None)
    assert gist(await service.start(USER, purpose="step_up")) == ("deny", "record_not_authentic")
    assert (status["verified"], status["reason"], status["claims"]) == (False, "record_invalid", {})
    assert status["app_metadata"]["incode_identity_id"] is None

    reset = await service.admin.post(f"/v1/users/{USER}/reset")
    assert reset.json()["reason"] == "record_invalid"
    assert gist(await service.start(USER)) == ("continue", "record_not_authentic")
    await service.admin.post(f"/v1/users/{USER}/reset", json={"identity": True})
    assert gist(await service.verify(USER)) == ("continue", "verified")
    assert gist(await service.start(USER)) == ("continue", "recently_verified")


async def test_a_record_that_was_changed_after_the_start_enrols_nobody(service: Service) -> None:
    await enrol(service)
    started = await service.start(USER, force=True)
    back = await service.visit(started)
    await _lose_the_time(Tables(service))
    before = await Tables(service).user(USER)

    assert gist(await service.finish(USER, started, **back)) == ("continue", "record_not_authentic")
    assert await Tables(service).user(USER) == before


async def test_another_users_evidence_moved_into_the_record_makes_it_invalid(service: Service) -> None:
    await enrol(service)
    await enrol(service, "auth0|eve")
    moved = "UPDATE users SET sealed_record = (SELECT sealed_record FROM users WHERE user_id = 'auth0|ana')"
    assert await Tables(service).change(moved + " WHERE user_id = 'auth0|eve'") == 1

    assert gist(await service.start("auth0|eve")) == ("continue", "record_not_authentic")


async def test_a_record_within_the_clock_skew_of_the_future_counts(service: Service, clock: Clock) -> None:
    await enrol(service)

    clock.advance(seconds=-60)
    assert gist(await service.start(USER)) == ("continue", "recently_verified")
    clock.advance(milliseconds=-1)
    assert gist(await service.start(USER)) == ("redirect", "record_invalid")


# --- What the provider is asked for ---


async def test_the_authorization_request_holds_these_parameters_and_no_others(service: Service) -> None:
    started = await service.start(USER, email=EMAIL)
    query = query_of(started["redirect_url"])
    finished = await service.finish(USER, started, **await service.visit(started))

    assert finished["reason"] == "verified"
    state, nonce, challenge = (query.pop(name) for name in ("state", "nonce", "code_challenge"))
    assert query == {
        "response_type": "code",
        "client_id": CLIENT_ID,
        "redirect_uri": REDIRECT_URI,
        "scope": "openid profile email",
        "code_challenge_method": "S256",
        "login_hint": EMAIL,
    }
    assert len(_decoded(nonce)) >= 16
    exchange = next(request for request in service.sandbox.requests if request.endpoint == "token")
    verifier = exchange.parameters["code_verifier"]
    assert challenge == base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    assert len({state, nonce, challenge, verifier}) == 4


async def test_every_request_has_its_own_secrets(service: Service) -> None:
    queries = [query_of((await service.start(USER))["redirect_url"]) for _ in range(3)]

    for name in ("state", "nonce", "code_challenge"):
        assert len({query[name] for query in queries}) == 3


async def test_the_state_names_the_verification_and_nobody(service: Service) -> None:
    started = await service.start(USER, email=EMAIL)

    header, payload, _ = query_of(started["redirect_url"])["state"].split(".")
    assert json.loads(_decoded(header)) == {"alg": "HS256", "typ": "idv-state+jwt"}
    assert json.loads(_decoded(payload)) == {
        "verification_id": started["verification"]["id"],
        "iat": int(datetime(2026, 4, 7, 17, 28, 25, tzinfo=UTC).timestamp()),
        "exp": int(datetime(2026, 4, 7, 18, 28, 25, tzinfo=UTC).timestamp()),
    }


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


async def test_the_hint_is_the_email_at_first_and_the_identity_ever_after(service: Service) -> None:
    assert "login_hint" not in query_of((await service.start(USER))["redirect_url"])

    identity = await enrol(service, email=EMAIL)

    for body in ({"force": True}, {"force": True, "email": "new@example.com"}, {"purpose": "step_up", "email": EMAIL}):
        assert query_of((await service.start(USER, **body))["redirect_url"])["login_hint"] == identity


@pytest.mark.parametrize("email", [None, ""])
async def test_an_email_that_is_empty_is_none(service: Service, email: str | None) -> None:
    assert "login_hint" not in query_of((await service.start(USER, email=email))["redirect_url"])


async def test_the_state_is_left_out_for_a_caller_whose_redirect_adds_its_own(service: Service) -> None:
    started = await service.start(USER, omit_state=True)

    assert "state" not in query_of(started["redirect_url"])
    back = await service.visit(started)
    assert "state" not in back
    assert gist(await service.finish(USER, started, **back)) == ("continue", "verified")


async def test_a_query_in_the_providers_endpoint_is_kept(
    service: Service, provider_host: ProviderHost, sandbox: Sandbox
) -> None:
    endpoint = sandbox.config.authorization_endpoint
    provider = TamperedProvider(provider_host, sandbox)
    with_query = {"authorization_endpoint": f"{endpoint}?tenant=a%20b;c=%ff&flag"}
    provider.alter("discovery", lambda document: {**document, **with_query})

    started = await service.start(USER)

    assert urlsplit(started["redirect_url"]).query.startswith("tenant=a%20b;c=%ff&flag&")
    assert started["redirect_url"].partition("?")[0] == endpoint
    assert query_of(started["redirect_url"])["response_type"] == "code"


# --- Who is not sent there ---


async def test_inside_the_window_the_provider_is_not_asked_even_by_a_new_process(
    service: Service, make_service: MakeService, sandbox: Sandbox
) -> None:
    finished = await service.verify(USER, email=EMAIL)
    sandbox.down = set(EVERY_ENDPOINT)
    sandbox.requests.clear()

    for process in (service, await make_service()):
        decision = await process.start(USER)
        assert gist(decision) == ("continue", "recently_verified")
        assert decision["claims"] == finished["claims"]
        assert decision["claims"][CLAIM]["pii"]["email"] == EMAIL
        assert decision["app_metadata"] == finished["app_metadata"]
        assert (decision["redirect_url"], decision["verification"], decision["error"]) == (None, None, None)
    assert sandbox.requests == []


@pytest.mark.parametrize("block", [False, True])
async def test_the_limit_of_failures_about_the_person_is_exact(
    make_service: MakeService, block: bool, clock: Clock
) -> None:
    service = await make_service(attempt_limit=3, block_on_failure=block)
    await fail(service, clock, 3)
    before = await service.status(USER)
    asked = len(service.sandbox.requests)

    decision = await service.start(USER)

    # The oldest of the three leaves the window of 24 hours first.
    assert gist(decision) == ("deny" if block else "continue", "too_many_attempts")
    assert decision["error"]["code"] == "too_many_attempts"
    assert "2026-04-08T17:28:25.150Z" in decision["error"]["detail"]
    assert decision["error"]["hint"]
    assert (decision["claims"], decision["verification"], decision["redirect_url"]) == ({}, None, None)
    assert decision["app_metadata"] == before["app_metadata"]
    assert await service.status(USER) == before
    assert len(service.sandbox.requests) == asked


async def test_below_the_limit_and_without_one_a_user_may_try(make_service: MakeService, clock: Clock) -> None:
    limited, unlimited = await make_service(attempt_limit=3), await make_service(attempt_limit=0)
    await fail(limited, clock, 2)
    assert (await limited.start(USER))["action"] == "redirect"
    await fail(unlimited, clock, 4)
    assert (await limited.start(USER))["reason"] == "too_many_attempts"
    assert (await unlimited.start(USER))["action"] == "redirect"


async def test_the_limit_is_twenty_in_a_day_by_default(service: Service, clock: Clock) -> None:
    for _ in range(20):
        assert (await service.start(USER))["action"] == "redirect"
        clock.advance(seconds=1)
    assert (await service.start(USER))["reason"] == "too_many_attempts"


async def test_attempts_count_when_they_begin_and_not_when_their_failure_is_handed_in(
    make_service: MakeService, clock: Clock
) -> None:
    services = [await make_service(attempt_limit=3) for _ in range(2)]
    answers = await asyncio.gather(*(services[n % 2].start(USER) for n in range(12)))
    started = [answer for answer in answers if answer["action"] == "redirect"]

    assert len(started) == 3
    assert {answer["reason"] for answer in answers if answer["action"] != "redirect"} == {"too_many_attempts"}
    assert len(await Tables(services[0]).attempts(USER)) == 3
    # Given up, expired: they still count, until the window ends.
    clock.advance(hours=23)
    assert (await services[0].start(USER))["reason"] == "too_many_attempts"
    clock.advance(hours=1)
    assert (await services[0].start(USER))["action"] == "redirect"


async def test_one_success_clears_all_that_were_begun(make_service: MakeService, clock: Clock) -> None:
    service = await make_service(attempt_limit=3)
    for _ in range(2):
        await service.start(USER)
        clock.advance(seconds=1)
    await service.verify(USER)

    for _ in range(3):
        clock.advance(seconds=1)
        assert (await service.start(USER, force=True))["action"] == "redirect"
    assert (await service.start(USER, force=True))["reason"] == "too_many_attempts"


async def test_what_a_success_has_cleared_does_not_count_again_when_it_fails(
    make_service: MakeService, clock: Clock
) -> None:
    service = await make_service(attempt_limit=2)
    before = await service.start(USER)
    back = await service.visit(before, "denied")
    clock.advance(seconds=1)
    await service.verify(USER)

    assert (await service.finish(USER, before, **back))["reason"] == "access_denied"
    for _ in range(2):
        clock.advance(seconds=1)
        assert (await service.start(USER, force=True))["action"] == "redirect"
    assert (await service.start(USER, force=True))["reason"] == "too_many_attempts"


async def test_a_failure_is_forgotten_when_the_window_ends_and_not_before(
    make_service: MakeService, clock: Clock
) -> None:
    service = await make_service(attempt_limit=2, attempt_window_hours=1)
    first_failure = clock.now
    await fail(service, clock, 2)

    clock.now = first_failure + timedelta(hours=1) - timedelta(milliseconds=1)
    locked = await service.start(USER)
    assert locked["reason"] == "too_many_attempts"
    assert "2026-04-07T18:28:25.150Z" in locked["error"]["detail"]
    clock.now = first_failure + timedelta(hours=1)
    assert (await service.start(USER))["action"] == "redirect"


async def test_another_user_is_not_locked_out(make_service: MakeService, clock: Clock) -> None:
    service = await make_service(attempt_limit=1)
    await fail(service, clock, 1)

    assert (await service.start(USER))["reason"] == "too_many_attempts"
    assert (await service.start("auth0|bob"))["action"] == "redirect"


async def test_logins_and_step_ups_are_counted_apart(make_service: MakeService, clock: Clock) -> None:
    service = await make_service(attempt_limit=2)
    await enrol(service)
    clock.advance(minutes=1)

    await fail(service, clock, 2, purpose="step_up")
    locked = await service.start(USER, purpose="step_up")
    assert gist(locked) == ("deny", "too_many_attempts")
    await fail(service, clock, 2)
    assert gist(await service.start(USER)) == ("continue", "too_many_attempts")


async def test_a_success_clears_the_failures_of_its_purpose(make_service: MakeService, clock: Clock) -> None:
    service = await make_service(attempt_limit=2)
    await enrol(service)
    clock.advance(minutes=1)
    await fail(service, clock, 1)
    await fail(service, clock, 1, purpose="step_up")
    await service.verify(USER, force=True)
    clock.advance(minutes=1)

    await fail(service, clock, 1)
    assert (await service.start(USER))["action"] == "redirect"
    await fail(service, clock, 1, purpose="step_up")
    assert (await service.start(USER, purpose="step_up"))["reason"] == "too_many_attempts"


async def test_a_reset_clears_the_failures_of_both_purposes(make_service: MakeService, clock: Clock) -> None:
    service = await make_service(attempt_limit=1)
    await enrol(service)
    clock.advance(minutes=1)
    await fail(service, clock, 1, purpose="step_up")
    await fail(service, clock, 1)
    assert (await service.start(USER))["reason"] == "too_many_attempts"

    await service.admin.post(f"/v1/users/{USER}/reset")

    assert (await service.start(USER))["action"] == "redirect"
    assert (await service.start(USER, purpose="step_up"))["action"] == "redirect"


async def test_failures_that_say_nothing_about_the_person_do_not_count(
    make_service: MakeService, clock: Clock, sandbox: Sandbox
) -> None:
    service = await make_service(attempt_limit=1)
    for error in ("server_error", "temporarily_unavailable", "invalid_scope", "invalid_request", "unauthorized_client"):
        started = await service.start(USER)
        state = query_of(started["redirect_url"])["state"]
        finished = await service.finish(USER, started, error=error, iss=sandbox.config.issuer, state=state)
        assert finished["reason"] == error
    await fail(service, clock, 1, "provider-down")
    late = await service.start(USER)
    answer = await service.visit(late)
    clock.advance(hours=1)
    assert (await service.finish(USER, late, **answer))["reason"] == "verification_expired"

    # Who comes too late has used up an attempt.
    assert (await service.start(USER))["reason"] == "too_many_attempts"


async def test_a_standing_verification_is_not_touched_by_the_limit(make_service: MakeService, clock: Clock) -> None:
    service = await make_service(attempt_limit=1)
    await enrol(service)
    clock.advance(minutes=1)
    await fail(service, clock, 1, purpose="step_up")

    assert gist(await service.start(USER)) == ("continue", "recently_verified")


# --- Step-up ---


async def test_a_step_up_redirects_inside_the_window(service: Service) -> None:
    await enrol(service)

    started = await service.start(USER, purpose="step_up")

    assert gist(started) == ("redirect", "step_up")
    assert started["verification"]["purpose"] == "step_up"
    assert started["claims"] == {}


async def _never_met(_: Service) -> None:
    """Nobody of that name."""


async def _verified_without_identity(service: Service) -> None:
    assert (await service.verify(USER, "no-identity"))["reason"] == "verified"


async def _identity_forgotten(service: Service) -> None:
    await enrol(service)
    await service.admin.post(f"/v1/users/{USER}/reset", json={"identity": True})


@pytest.mark.parametrize("before", [_never_met, _verified_without_identity, _identity_forgotten])
async def test_a_step_up_without_an_identity_on_file_is_denied(service: Service, before: Any) -> None:
    await before(service)
    record = await service.status(USER)
    asked = len(service.sandbox.requests)

    decision = await service.start(USER, purpose="step_up", email=EMAIL)

    assert gist(decision) == ("deny", "identity_not_established")
    assert decision["error"]["code"] == "identity_not_established"
    assert (decision["claims"], decision["verification"], decision["redirect_url"]) == ({}, None, None)
    assert await service.status(USER) == record
    assert len(service.sandbox.requests) == asked


async def test_a_step_up_by_the_enrolled_person_succeeds_and_leaves_the_record_alone(
    service: Service, clock: Clock
) -> None:
    identity = await enrol(service, email=EMAIL)
    before = await service.status(USER)
    stored = await Tables(service).record(USER)
    clock.advance(days=1)

    decision = await service.verify(USER, purpose="step_up")

    assert gist(decision) == ("continue", "verified")
    assert decision["verification"]["status"] == "completed"
    claim = decision["claims"][CLAIM]
    assert (claim["identity_id"], claim["completed"]) == (identity, True)
    assert claim["completed_at"] == "2026-04-08T17:28:25.150Z"
    assert decision["app_metadata"] == before["app_metadata"]
    assert await service.status(USER) == before
    assert await Tables(service).record(USER) == stored


STEP_UP_FAILURES = {
    "another-person": "identity_mismatch",
    "no-identity": "identity_mismatch",
    "no-status": "status_missing",
    "failed": "status_not_accepted",
    "warn": "status_not_accepted",
    "denied": "access_denied",
    "abandoned": "no_code_returned",
    "expired": "invalid_grant",
    "provider-down": "provider_unavailable",
}


@pytest.mark.parametrize(("outcome", "code"), STEP_UP_FAILURES.items())
async def test_a_step_up_that_fails_is_denied_whatever_the_settings_say(
    make_service: MakeService, outcome: str, code: str
) -> None:
    service = await make_service(block_on_failure=False, allow_identity_change=True, require_status=False)
    await enrol(service)
    before = await service.status(USER)
    stored = await Tables(service).record(USER)

    decision = await service.verify(USER, outcome, purpose="step_up")

    assert gist(decision) == ("deny", code)
    assert decision["error"]["code"] == code
    assert decision["verification"]["status"] == "failed"
    assert decision["claims"] == {}
    assert decision["app_metadata"] == before["app_metadata"]
    assert await service.status(USER) == before
    assert await Tables(service).record(USER) == stored


async def test_a_step_up_that_comes_too_late_is_denied(service: Service, clock: Clock) -> None:
    await enrol(service)
    before = await service.status(USER)
    started = await service.start(USER, purpose="step_up")
    clock.advance(hours=1)

    decision = await service.finish(
        USER, started, code="any", state=state_of(started), iss=service.sandbox.config.issuer
    )

    assert gist(decision) == ("deny", "verification_expired")
    assert await service.status(USER) == before


# --- Starts that fail ---


def _is_down(sandbox: Sandbox, _: TamperedProvider) -> None:
    sandbox.down = {"discovery"}


def _names_another_issuer(sandbox: Sandbox, _: TamperedProvider) -> None:
    sandbox.reconfigure(issuer=sandbox.config.issuer + "/")


def _requires_pushed_requests(_: Sandbox, provider: TamperedProvider) -> None:
    provider.alter("discovery", lambda document: {**document, "require_pushed_authorization_requests": True})


@pytest.mark.parametrize(
    ("purpose", "block", "action"),
    [("login", False, "continue"), ("login", True, "deny"), ("step_up", False, "deny")],
)
@pytest.mark.parametrize("fault", [_is_down, _names_another_issuer, _requires_pushed_requests])
async def test_a_verification_that_cannot_be_started_leaves_the_record_alone(
    make_service: MakeService, provider: TamperedProvider, fault: Any, purpose: str, *, block: bool, action: str
) -> None:
    await enrol(await make_service())
    service = await make_service(block_on_failure=block)
    before = await service.status(USER)
    fault(service.sandbox, provider)
    service.sandbox.requests.clear()

    decision = await service.start(USER, purpose=purpose, force=True)

    assert gist(decision) == (action, "provider_unavailable")
    assert decision["error"]["code"] == "provider_unavailable"
    assert decision["error"]["detail"]
    assert decision["error"]["hint"]
    assert (decision["claims"], decision["verification"], decision["redirect_url"]) == ({}, None, None)
    assert decision["app_metadata"] == before["app_metadata"]
    assert await service.status(USER) == before
    assert len(await Tables(service).attempts(USER)) == 1
    assert {request.endpoint for request in service.sandbox.requests} == {"discovery"}


async def test_a_new_user_whose_start_fails_leaves_no_trace(service: Service, sandbox: Sandbox) -> None:
    sandbox.down = {"discovery"}

    decision = await service.start(USER)

    assert gist(decision) == ("continue", "provider_unavailable")
    assert decision["app_metadata"] == {}
    assert await Tables(service).user(USER) is None
    assert await Tables(service).attempts(USER) == []
