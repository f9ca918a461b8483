"""Finishing a verification: what each answer of the provider comes to, and what a repeated, late or lost callback
does.
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import httpx
import pytest

from app.sandbox import OUTCOMES, Sandbox
from tests.conftest import MakeService
from tests.harness.clock import Clock
from tests.harness.queries import Queries
from tests.harness.service import (
    CLAIM,
    EMAIL,
    IDP_KEY,
    OTHER_IDP_KEY,
    USER,
    Json,
    Service,
    enrol,
    gist,
    problem,
    state_of,
    until_answered,
)
from tests.harness.tables import Tables, on_sqlite_only
from tests.harness.waiting import arrivals, until


async def answered(service: Service, started: Json, outcome: str = "verified", person: str | None = None) -> Json:
    """The body of the callback for what the provider sends back."""
    back = await service.visit(started, outcome, person)
    return {"user_id": started["verification"]["user_id"], "verification_id": started["verification"]["id"], **back}


def answer_of_the_provider(service: Service, started: Json) -> Json:
    """What the provider sends with everything that it says."""
    return {"state": state_of(started), "iss": service.sandbox.config.issuer}


async def post(service: Service, body: Json) -> httpx.Response:
    return await service.idp.post("/v1/callback", json=body)


# --- Each ending of the provider's page ---


@dataclass(frozen=True)
class Ending:
    """The error code that a new user gets and the one that an enrolled user gets, None being a success."""

    new: str | None
    enrolled: str | None
    takes_away: bool = True


ENDINGS = {
    "verified": Ending(None, None),
    "failed": Ending("status_not_accepted", "status_not_accepted"),
    "warn": Ending("status_not_accepted", "status_not_accepted"),
    "another-person": Ending(None, "identity_mismatch"),
    "denied": Ending("access_denied", "access_denied"),
    "abandoned": Ending("no_code_returned", "no_code_returned"),
    "expired": Ending("invalid_grant", "invalid_grant"),
    "no-status": Ending(None, None),
    "no-identity": Ending(None, "identity_mismatch"),
    "provider-down": Ending("provider_unavailable", "provider_unavailable", takes_away=False),
    "userinfo-down": Ending(None, None),
}
ACTION_ON_FAILURE = {False: "continue", True: "deny"}
"""By BLOCK_ON_FAILURE."""
STORED_ERROR = {
    "access_denied": "access_denied: The verification was refused",
    "provider_unavailable": "provider_unavailable: token endpoint: HTTP 503",
}


def test_every_ending_that_the_sandbox_knows_is_in_the_table() -> None:
    assert ENDINGS.keys() == OUTCOMES.keys()


def assert_success(decision: Json, clock: Clock) -> None:
    assert gist(decision) == ("continue", "verified")
    assert decision["error"] is None
    verification, metadata, claim = decision["verification"], decision["app_metadata"], decision["claims"][CLAIM]
    assert (verification["status"], verification["error"]) == ("completed", None)
    assert metadata["incode_idv_completed"] is claim["completed"] is True
    assert metadata["incode_idv_error"] is None
    assert metadata["incode_idv_completed_at"] == claim["completed_at"] == verification["finished_at"]
    assert claim["completed_at"] == clock.now.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def assert_failure(decision: Json, code: str, action: str) -> None:
    assert gist(decision) == (action, code)
    assert decision["claims"] == {}
    assert decision["redirect_url"] is None
    assert decision["error"]["code"] == code
    assert decision["error"]["detail"]
    assert decision["error"]["hint"]
    assert decision["verification"]["status"] == "failed"
    assert decision["verification"]["error"] == decision["error"]
    assert decision["app_metadata"]["incode_idv_error"] == STORED_ERROR.get(code, code)


@pytest.mark.parametrize("outcome", ENDINGS)
async def test_an_ending_for_a_new_user(make_service: MakeService, clock: Clock, outcome: str) -> None:
    for block, action in ACTION_ON_FAILURE.items():
        service, user_id = await make_service(block_on_failure=block), f"auth0|{action}"

        decision = await service.verify(user_id, outcome, email=EMAIL)

        status = await service.status(user_id)
        assert status["app_metadata"] == decision["app_metadata"]
        if code := ENDINGS[outcome].new:
            assert_failure(decision, code, action)
            assert decision["app_metadata"]["incode_idv_completed"] is False
            assert (status["verified"], status["reason"], status["claims"]) == (False, "not_verified", {})
        else:
            assert_success(decision, clock)
            assert (status["verified"], status["claims"]) == (True, decision["claims"])


@pytest.mark.parametrize("outcome", ENDINGS)
async def test_an_ending_for_a_user_whose_verification_stands(
    make_service: MakeService, clock: Clock, outcome: str
) -> None:
    for block, action in ACTION_ON_FAILURE.items():
        service, user_id = await make_service(block_on_failure=block), f"auth0|{action}"
        first = await enrol(service, clock, user_id)

        decision = await service.verify(user_id, outcome, force=True)

        status = await service.status(user_id)
        metadata = status["app_metadata"]
        assert metadata == decision["app_metadata"]
        assert metadata["incode_identity_id"] == first["verification"]["identity_id"]
        ending = ENDINGS[outcome]
        if code := ending.enrolled:
            assert_failure(decision, code, action)
            assert metadata["incode_idv_completed"] is not ending.takes_away
            assert metadata["incode_idv_completed_at"] == first["app_metadata"]["incode_idv_completed_at"]
            assert metadata["incode_idv"] == first["app_metadata"]["incode_idv"]
            assert status["claims"] == ({} if ending.takes_away else first["claims"])
        else:
            assert_success(decision, clock)
            assert status["claims"] == decision["claims"]


async def test_the_answer_names_who_started_and_who_finished(service: Service) -> None:
    started = await service.start(USER)
    body = await answered(service, started)

    async with service.client(OTHER_IDP_KEY) as other:
        decision = (await other.post("/v1/callback", json=body)).json()

    verification = decision["verification"]
    assert (verification["started_by"], verification["finished_by"]) == ("acme", "other")
    assert verification["interview_id"] == decision["app_metadata"]["incode_interview_id"]
    assert (verification["auth_overall_score"], verification["auth_overall_status"]) == ("100.0", "OK")


# --- The provider's errors ---

SAY_NOTHING_ABOUT_THE_PERSON = (
    "invalid_scope",
    "invalid_request",
    "unauthorized_client",
    "server_error",
    "temporarily_unavailable",
)
ABOUT_THE_PERSON = (
    "access_denied",
    "login_required",
    "interaction_required",
    "consent_required",
    "account_selection_required",
)


@on_sqlite_only
@pytest.mark.parametrize(
    ("error", "stands"),
    [*((e, True) for e in SAY_NOTHING_ABOUT_THE_PERSON), *((e, False) for e in ABOUT_THE_PERSON)],
)
async def test_a_registered_error_is_passed_on(service: Service, clock: Clock, error: str, *, stands: bool) -> None:
    await enrol(service, clock)
    started = await service.start(USER, force=True)
    asked = service.asked("token")

    decision = await service.finish(USER, started, error=error, **answer_of_the_provider(service, started))

    assert gist(decision) == ("continue", error)
    assert decision["app_metadata"]["incode_idv_error"] == error
    assert (await service.status(USER))["verified"] is stands
    assert service.asked("token") == asked


@on_sqlite_only
@pytest.mark.parametrize("error", ["made_up", "ACCESS_DENIED", "invalid_grant", "<script>alert(1)</script>", "\x00\n"])
async def test_an_unregistered_error_is_an_authorization_error_and_is_not_repeated(
    service: Service, error: str
) -> None:
    started = await service.start(USER)

    response = await service.send_callback(USER, started, error=error, **answer_of_the_provider(service, started))

    assert gist(response.json()) == ("continue", "authorization_error")
    assert response.json()["app_metadata"]["incode_idv_error"] == "authorization_error"
    assert error not in response.text
    assert service.asked("token") == 0


async def test_an_error_beside_a_code_wins_and_the_code_is_not_sent(service: Service) -> None:
    started = await service.start(USER)
    body = await answered(service, started)

    decision = (await post(service, {**body, "error": "access_denied"})).json()

    assert gist(decision) == ("continue", "access_denied")
    assert service.asked("token") == 0
    problem(await post(service, body), 409, "verification_already_finished")
    assert service.asked("token") == 0


DESCRIPTIONS = {
    "control characters": ("\x00 Bad\r\n\tthing\x1b[31m\x7f \x85", "Bad thing [31m"),
    "text that pretends to be another": ("\u202egnp.exe\u2066 \u2028x", "gnp.exe x"),
    "nothing but blanks": (" \n ", None),
    "200 characters": ("é" * 200, "é" * 200),
    "201 characters": ("é" * 200 + "x", "é" * 200),
    "a novel": ("word " * 9000, ("word " * 40).strip()),
}


@pytest.mark.parametrize(("sent", "kept"), DESCRIPTIONS.values(), ids=DESCRIPTIONS)
async def test_the_error_description_is_cleaned_and_cut(service: Service, sent: str, kept: str | None) -> None:
    started = await service.start(USER)

    parameters = {"error": "access_denied", "error_description": sent, **answer_of_the_provider(service, started)}
    decision = await service.finish(USER, started, **parameters)

    stored = f"access_denied: {kept}" if kept else "access_denied"
    assert decision["app_metadata"]["incode_idv_error"] == stored
    assert (await service.status(USER))["app_metadata"]["incode_idv_error"] == stored
    assert (kept or "") in decision["error"]["detail"]


@pytest.mark.parametrize("omit_state", [False, True])
async def test_nothing_but_the_state_is_an_outcome_and_empty_parameters_are_nothing(
    service: Service, clock: Clock, *, omit_state: bool
) -> None:
    nothing: tuple[Json, ...] = ({}, {"code": None, "error": None}, {"code": "", "error": "", "iss": ""})
    for parameters in nothing:
        started = await service.start(USER, omit_state=omit_state)
        state = {"state": ""} if omit_state else {"state": state_of(started)}
        assert gist(await service.finish(USER, started, **parameters, **state)) == ("continue", "no_code_returned")
        clock.advance(minutes=1)
    assert service.asked("token") == 0


@pytest.mark.parametrize("outcome", ["verified", "denied", "abandoned"])
async def test_an_answer_without_the_state_is_refused_and_changes_nothing(service: Service, outcome: str) -> None:
    started = await service.start(USER)
    body = await answered(service, started, outcome)
    came = {name: body[name] for name in body if name not in {"user_id", "verification_id", "state"}}
    whose = {"user_id": USER, "verification_id": started["verification"]["id"]}

    for parameters in (came, {**came, "state": None}, {**came, "state": ""}, {"response_parameters": came}):
        problem(await post(service, {**whose, **parameters}), 409, "state_invalid")
    assert service.asked("token") == 0
    assert await Tables(service).attempt_status(started) == "pending"
    assert (await service.status(USER))["reason"] == "never_verified"

    assert (await post(service, body)).json()["verification"]["status"] in {"completed", "failed"}


async def test_all_that_came_may_be_handed_in_together(service: Service, clock: Clock) -> None:
    for omit_state in (False, True):
        started = await service.start(USER, force=True, omit_state=omit_state)
        came = await service.visit(started)
        # What the caller's own redirect has added, and what other providers send.
        came = {"state": "the caller's own", **came, "session_state": "x", "scope": "openid"}
        body = {"user_id": USER, "verification_id": started["verification"]["id"], "response_parameters": came}
        first = await post(service, body)
        assert gist(first.json()) == ("continue", "verified")
        assert (await post(service, body)).content == first.content
        clock.advance(minutes=1)


async def test_a_success_clears_the_error(service: Service, clock: Clock) -> None:
    failed = await service.verify(USER, "denied")
    assert failed["app_metadata"]["incode_idv_error"]
    clock.advance(minutes=1)

    assert (await service.verify(USER))["app_metadata"]["incode_idv_error"] is None


# --- Which attempt is meant ---


async def test_an_attempt_that_nobody_knows_is_not_found(service: Service) -> None:
    await service.start("auth0|bob")
    for unknown in ("idv_" + "0" * 32, "'; DROP TABLE verifications; --"):
        body = {"user_id": USER, "verification_id": unknown, "code": "c"}
        problem(await post(service, body), 404, "verification_not_found")
    assert service.sandbox.requests[1:] == []


async def test_a_wrong_state_is_refused_and_changes_nothing(service: Service) -> None:
    started = await service.start(USER)
    body = await answered(service, started)
    state = body["state"]

    for wrong in (state + "x", state[:-2], "opaque state of the caller", "é.é.é", "a.b.c", ".", "x" * 8000):
        problem(await post(service, {**body, "state": wrong}), 409, "state_invalid")
    assert service.asked("token") == 0
    assert await Tables(service).attempt_status(started) == "pending"
    assert (await service.status(USER))["reason"] == "never_verified"

    assert gist((await post(service, body)).json()) == ("continue", "verified")


async def test_an_attempt_without_a_state_takes_none(service: Service) -> None:
    started = await service.start(USER, omit_state=True)
    body = await answered(service, started)
    assert "state" not in body

    for state in ("the caller's own", state_of(await service.start(USER))):
        problem(await post(service, {**body, "state": state}), 409, "state_invalid")
    assert await Tables(service).attempt_status(started) == "pending"

    assert gist((await post(service, body)).json()) == ("continue", "verified")


@pytest.mark.parametrize("outcome", ["verified", "denied"])
async def test_an_answer_of_another_issuer_or_of_none_is_refused_and_changes_nothing(
    service: Service, outcome: str
) -> None:
    started = await service.start(USER)
    body = await answered(service, started, outcome)
    asked = len(service.sandbox.requests)

    wrong: tuple[str | None, ...] = ("https://evil.example", body["iss"] + "/", body["iss"].upper(), "é", "", None)
    for iss in wrong:
        problem(await post(service, {**body, "iss": iss}), 409, "issuer_mismatch")
    problem(await post(service, {k: v for k, v in body.items() if k != "iss"}), 409, "issuer_mismatch")
    assert len(service.sandbox.requests) == asked
    assert await Tables(service).attempt_status(started) == "pending"
    assert (await service.status(USER))["reason"] == "never_verified"

    assert (await post(service, body)).json()["verification"]["status"] in {"completed", "failed"}


async def test_nothing_from_another_issuer_is_refused_and_changes_nothing(service: Service, clock: Clock) -> None:
    await enrol(service, clock)
    standing = await service.status(USER)
    started = await service.start(USER, force=True)
    state = state_of(started)
    for iss in ("https://evil.example", service.sandbox.config.issuer + "/"):
        problem(await service.send_callback(USER, started, state=state, iss=iss), 409, "issuer_mismatch")
    assert await Tables(service).attempt_status(started) == "pending"
    assert await service.status(USER) == standing

    ours = await service.finish(USER, started, state=state, iss=service.sandbox.config.issuer)
    assert gist(ours) == ("continue", "no_code_returned")


# --- The same callback again ---


@pytest.mark.parametrize("outcome", ["verified", "denied", "abandoned", "failed", "provider-down"])
async def test_the_same_callback_gets_the_same_answer_for_five_minutes(
    service: Service, make_service: MakeService, clock: Clock, outcome: str
) -> None:
    started = await service.start(USER, email=EMAIL)
    body = await answered(service, started, outcome)
    first = await post(service, body)
    finished_at = clock.now
    asked = len(service.sandbox.requests)

    clock.now = finished_at + timedelta(minutes=5) - timedelta(milliseconds=1)
    for process in (service, await make_service()):
        again = await post(process, body)
        assert (again.status_code, again.content) == (200, first.content)
    clock.now = finished_at + timedelta(minutes=5)
    problem(await post(service, body), 409, "verification_already_finished")
    assert len(service.sandbox.requests) == asked


async def test_an_answer_is_repeated_as_it_was_though_the_user_changed_since(service: Service, clock: Clock) -> None:
    body = await answered(service, await service.start(USER))
    first = await post(service, body)
    clock.advance(minutes=1)
    assert (await service.verify(USER, "denied", force=True))["reason"] == "access_denied"

    assert (await post(service, body)).content == first.content
    assert (await service.status(USER))["verified"] is False


async def test_other_parameters_after_the_end_are_refused(service: Service, clock: Clock) -> None:
    body = await answered(service, await service.start(USER))
    first = await post(service, body)
    asked = len(service.sandbox.requests)

    changes: tuple[Json, ...] = (
        {"code": "other"},
        {"state": None},
        {"error": "access_denied"},
        {"error_description": "x"},
    )
    for change in changes:
        problem(await post(service, {**body, **change}), 409, "verification_already_finished")
    assert len(service.sandbox.requests) == asked
    assert (await post(service, body)).content == first.content
    assert (await service.status(USER))["verified"] is True


# --- Many at once ---


@pytest.mark.parametrize("processes", [1, 2])
async def test_fifty_at_once_give_one_exchange_and_equal_answers(make_service: MakeService, processes: int) -> None:
    services = [await make_service() for _ in range(processes)]
    body = await answered(services[0], await services[0].start(USER, email=EMAIL))

    answers = await asyncio.gather(*(until_answered(partial(post, services[n % processes], body)) for n in range(50)))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert gist(answers[0].json()) == ("continue", "verified")
    assert services[0].asked("token") == 1
    assert (await services[0].status(USER))["claims"] == answers[0].json()["claims"]


@pytest.mark.parametrize("processes", [1, 2])
async def test_while_a_callback_exchanges_a_repeat_waits_and_another_is_told_to_come_back(
    make_service: MakeService, processes: int
) -> None:
    first, second = [await make_service() for _ in range(processes)] * (3 - processes)
    body = await answered(first, await first.start(USER))
    await second.status(USER)
    with first.sandbox.hold("token") as gate:
        exchanging = asyncio.create_task(post(first, body))
        await arrivals(gate)
        queries = Queries(second.app.state.services.database)
        repeat = asyncio.create_task(post(second, body))
        # To find the attempt takes one query; what comes after that is the waiting.
        await until(lambda: queries.count >= 3)

        refused = await post(second, {**body, "code": "another"})

        problem(refused, 409, "callback_in_progress")
        assert int(refused.headers["Retry-After"]) >= 1
        assert not repeat.done()
        assert not exchanging.done()
    answer = await exchanging
    assert gist(answer.json()) == ("continue", "verified")
    assert (await repeat).content == answer.content
    assert first.asked("token") == 1


# --- Late callbacks ---


@pytest.mark.parametrize(("block", "action"), [(False, "continue"), (True, "deny")])
async def test_an_attempt_ends_when_it_says_and_not_a_millisecond_before(
    make_service: MakeService, clock: Clock, *, block: bool, action: str
) -> None:
    service = await make_service(verification_ttl_seconds=30, block_on_failure=block)
    begun_at = clock.now
    in_time, late = await service.start(USER), await service.start("auth0|late")
    in_time_body, late_body = await answered(service, in_time), await answered(service, late)

    clock.now = begun_at + timedelta(seconds=30) - timedelta(milliseconds=1)
    assert gist((await post(service, in_time_body)).json()) == ("continue", "verified")
    asked = len(service.sandbox.requests)
    clock.now = begun_at + timedelta(seconds=30)
    answer = await post(service, late_body)

    decision = answer.json()
    assert gist(decision) == (action, "verification_expired")
    assert decision["error"]["code"] == "verification_expired"
    assert decision["verification"]["status"] == "expired"
    assert decision["claims"] == {}
    assert decision["app_metadata"]["incode_idv_completed"] is False
    assert decision["app_metadata"]["incode_idv_error"] == "verification_expired"
    assert (await post(service, late_body)).content == answer.content
    assert len(service.sandbox.requests) == asked


async def test_a_late_callback_leaves_a_standing_verification_alone(service: Service, clock: Clock) -> None:
    first = await enrol(service, clock)
    started = await service.start(USER, force=True)
    body = await answered(service, started)
    clock.advance(hours=1)

    decision = (await post(service, body)).json()

    assert gist(decision) == ("continue", "verification_expired")
    assert decision["claims"] == {}
    assert decision["app_metadata"] == {**first["app_metadata"], "incode_idv_error": "verification_expired"}
    assert (await service.status(USER))["claims"] == first["claims"]


# --- Interrupted exchanges ---


async def interrupt(service: Service, body: Json) -> None:
    """Send a callback, and let its process die while the provider is asked."""
    with service.sandbox.hold("token") as gate:
        dying = asyncio.create_task(post(service, body))
        await arrivals(gate)
        dying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dying


async def test_an_interrupted_exchange_is_given_up_after_twenty_seconds(
    make_service: MakeService, clock: Clock
) -> None:
    service = await make_service()
    first = await enrol(service, clock)
    started = await service.start(USER, force=True)
    body = await answered(service, started)
    await interrupt(service, body)
    began_at = clock.now

    clock.now = began_at + timedelta(seconds=19.999)
    problem(await post(service, {**body, "code": "another"}), 409, "callback_in_progress")
    assert await Tables(service).attempt_status(started) == "exchanging"
    clock.now = began_at + timedelta(seconds=20)
    problem(await post(service, {**body, "code": "another"}), 409, "verification_already_finished")
    answer = await post(service, body)

    decision = answer.json()
    assert gist(decision) == ("continue", "callback_interrupted")
    assert decision["verification"]["status"] == "failed"
    assert decision["verification"]["error"]["code"] == "callback_interrupted"
    assert decision["app_metadata"] == {**first["app_metadata"], "incode_idv_error": "callback_interrupted"}
    assert (await post(service, body)).content == answer.content
    assert service.asked("token") == 2
    assert (await service.status(USER))["verified"] is True


async def test_before_the_twenty_seconds_are_over_a_repeat_does_not_give_up(
    make_service: MakeService, clock: Clock
) -> None:
    service = await make_service()
    body = await answered(service, await service.start(USER))
    await interrupt(service, body)
    began_at = clock.now
    clock.now = began_at + timedelta(seconds=19.999)
    queries = Queries(service.app.state.services.database)

    repeat = asyncio.create_task(post(service, body))
    await until(lambda: queries.count >= 3)
    assert not repeat.done()
    clock.now = began_at + timedelta(seconds=20)

    assert gist((await repeat).json()) == ("continue", "callback_interrupted")
    assert service.asked("token") == 1


async def test_after_an_interruption_the_user_can_start_again_at_once(make_service: MakeService, clock: Clock) -> None:
    service = await make_service(attempt_limit=2)
    body = await answered(service, await service.start(USER))
    await interrupt(service, body)

    # At once, though the first attempt's outcome is not known yet.
    clock.advance(milliseconds=1)
    again = await service.start(USER)
    assert again["action"] == "redirect"
    finished = await service.finish(USER, again, **await service.visit(again))
    assert gist(finished) == ("continue", "verified")
    assert finished["verification"]["id"] == again["verification"]["id"]

    clock.advance(seconds=20)
    assert gist((await post(service, body)).json()) == ("continue", "callback_interrupted")
    assert (await service.status(USER))["claims"] == finished["claims"]


async def test_an_interruption_does_not_count_towards_the_limit(make_service: MakeService, clock: Clock) -> None:
    service = await make_service(attempt_limit=1)
    body = await answered(service, await service.start(USER))
    await interrupt(service, body)
    clock.advance(seconds=20)
    assert gist((await post(service, body)).json()) == ("continue", "callback_interrupted")

    assert (await service.start(USER))["action"] == "redirect"


async def test_many_who_find_an_interrupted_exchange_get_one_answer(make_service: MakeService, clock: Clock) -> None:
    services = [await make_service() for _ in range(2)]
    body = await answered(services[0], await services[0].start(USER))
    await interrupt(services[0], body)
    clock.advance(seconds=20)

    answers = await asyncio.gather(*(until_answered(partial(post, services[n % 2], body)) for n in range(20)))

    assert {(answer.status_code, answer.json()["reason"]) for answer in answers} == {(200, "callback_interrupted")}
    assert len({answer.content for answer in answers}) == 1
    assert services[0].asked("token") == 1


@pytest.mark.parametrize("found", [True, False], ids=["after a repeat gave up", "before anybody looked"])
async def test_an_exchange_that_comes_back_after_twenty_seconds_changes_nothing(
    make_service: MakeService, clock: Clock, *, found: bool
) -> None:
    service, other = await make_service(), await make_service()
    started = await service.start(USER)
    body = await answered(service, started)
    given_up: httpx.Response | None = None
    with service.sandbox.hold("token") as gate:
        slow = asyncio.create_task(post(service, body))
        await arrivals(gate)
        clock.advance(seconds=20)
        if found:
            given_up = await post(other, body)
            assert gist(given_up.json()) == ("continue", "callback_interrupted")
    answer = await slow

    assert gist(answer.json()) == ("continue", "callback_interrupted")
    assert given_up is None or answer.content == given_up.content
    status = await service.status(USER)
    assert (status["verified"], status["claims"]) == (False, {})
    assert status["app_metadata"]["incode_identity_id"] is None
    assert await Tables(service).attempt_status(started) == "failed"


async def test_an_exchange_that_takes_less_than_twenty_seconds_counts(make_service: MakeService, clock: Clock) -> None:
    service = await make_service()
    body = await answered(service, await service.start(USER))
    with service.sandbox.hold("token") as gate:
        slow = asyncio.create_task(post(service, body))
        await arrivals(gate)
        clock.advance(seconds=19.999)

    assert gist((await slow).json()) == ("continue", "verified")


async def test_a_new_process_answers_for_one_that_died(
    make_service: MakeService, sandbox: Sandbox, clock: Clock
) -> None:
    dying, heir = await make_service(), await make_service()
    started = await dying.start(USER)
    body = await answered(dying, started)
    await interrupt(dying, body)
    clock.advance(seconds=20)
    sandbox.requests.clear()

    async with heir.client(IDP_KEY) as caller:
        answer = await caller.post("/v1/callback", json=body)

    assert gist(answer.json()) == ("continue", "callback_interrupted")
    assert [request for request in sandbox.requests if request.endpoint == "token"] == []
