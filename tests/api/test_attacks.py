"""What an attacker tries, one test each: by the way in, what stops it, and that the rightful user loses nothing by it.

Eve is the attacker and has an account of her own; Ana is the user whose account she wants.
"""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Callable

import httpx
import pytest

from app.sandbox import Sandbox
from tests.conftest import MakeService
from tests.harness.clock import Clock
from tests.harness.service import REDIRECT_SECRET, Json, Service, enrol, gist, problem, query_of
from tests.harness.tables import Tables, on_sqlite_only
from tests.harness.tokens import decoded
from tests.harness.waiting import arrivals

ANA, EVE = "auth0|ana", "auth0|eve"
ANA_HERSELF, EVE_HERSELF = "ana@example.com", "eve@example.com"
ANOTHER_SECRET = "another-secret-0123456789-0123456789-0123456789"


async def callback(service: Service, user_id: str, started: Json, back: dict[str, str]) -> httpx.Response:
    return await service.send_callback(user_id, started, **back)


async def assert_unknown(service: Service, user_id: str = ANA) -> None:
    """Assert that nothing at all is on file about the user's person."""
    status = await service.status(user_id)
    assert (status["reason"], status["claims"], status["app_metadata"]) == ("never_verified", {}, {})


# --- Another user's account ---


async def test_my_verification_id_with_another_users_id(service: Service) -> None:
    ana, eve = await service.start(ANA), await service.start(EVE)
    back = await service.visit(eve, person=EVE_HERSELF)

    problem(await callback(service, ANA, eve, back), 409, "verification_mismatch")

    assert service.asked("token") == 0
    await assert_unknown(service)
    assert gist((await callback(service, EVE, eve, back)).json()) == ("continue", "verified")
    assert gist(await service.finish(ANA, ana, **await service.visit(ana))) == ("continue", "verified")


async def test_my_finished_verification_with_another_users_id(service: Service) -> None:
    eve = await service.start(EVE)
    back = await service.visit(eve, person=EVE_HERSELF)
    assert gist((await callback(service, EVE, eve, back)).json()) == ("continue", "verified")

    problem(await callback(service, ANA, eve, back), 409, "verification_mismatch")

    await assert_unknown(service)


async def test_my_state_in_another_users_callback(service: Service) -> None:
    ana, eve = await service.start(ANA), await service.start(EVE)
    back = await service.visit(eve, person=EVE_HERSELF)

    problem(await callback(service, ANA, ana, back), 409, "state_invalid")

    assert service.asked("token") == 0
    await assert_unknown(service)
    assert await Tables(service).attempt_status(ana) == "pending"


async def test_my_code_in_another_users_callback_is_stopped_by_pkce(service: Service) -> None:
    ana, eve = await service.start(ANA, omit_state=True), await service.start(EVE, omit_state=True)
    back = await service.visit(eve, person=EVE_HERSELF)

    decision = await service.finish(ANA, ana, **back)

    assert gist(decision) == ("continue", "invalid_grant")
    assert decision["claims"] == {}
    assert decision["app_metadata"]["incode_identity_id"] is None
    assert (await service.status(ANA))["verified"] is False


async def test_my_code_in_another_users_callback_is_stopped_by_the_nonce(service: Service) -> None:
    service.sandbox.reconfigure(enforce_pkce=False)
    ana, eve = await service.start(ANA, omit_state=True), await service.start(EVE, omit_state=True)
    back = await service.visit(eve, person=EVE_HERSELF)

    decision = await service.finish(ANA, ana, **back)

    assert gist(decision) == ("continue", "id_token_invalid")
    assert "nonce" in decision["error"]["detail"]
    assert decision["claims"] == {}
    assert decision["app_metadata"]["incode_identity_id"] is None
    assert (await service.status(ANA))["verified"] is False


async def test_a_code_of_another_session_of_the_same_user(service: Service, clock: Clock) -> None:
    service.sandbox.reconfigure(enforce_pkce=False)
    victims = await service.start(ANA, omit_state=True)
    clock.advance(seconds=1)
    attackers = await service.start(ANA, omit_state=True)
    back = await service.visit(attackers, person=EVE_HERSELF)

    decision = await service.finish(ANA, victims, **back)

    assert gist(decision) == ("continue", "id_token_invalid")
    assert decision["app_metadata"]["incode_identity_id"] is None
    assert service.asked("userinfo") == 0


async def test_a_callback_without_a_verification_of_ones_own(service: Service) -> None:
    eve = await service.start(EVE)
    back = await service.visit(eve, person=EVE_HERSELF)

    body = {"user_id": ANA, **back}
    problem(await service.idp.post("/v1/callback", json=body), 422, "validation_error")
    body["verification_id"] = f"idv_{0:032x}"
    problem(await service.idp.post("/v1/callback", json=body), 404, "verification_not_found")

    assert service.asked("token") == 0
    await assert_unknown(service)


async def test_a_failure_without_the_state_takes_nothing_away(service: Service, clock: Clock) -> None:
    await enrol(service, clock, ANA, ANA_HERSELF)
    started = await service.start(ANA, force=True)

    for forged in ({"error": "access_denied"}, {"code": "guessed"}, {}):
        problem(await service.send_callback(ANA, started, **forged), 409, "state_invalid")
        problem(await service.send_callback(ANA, started, response_parameters=forged), 409, "state_invalid")

    assert await Tables(service).attempt_status(started) == "pending"
    assert (await service.status(ANA))["verified"] is True


# --- Old answers ---


async def _finished(service: Service) -> tuple[Json, dict[str, str]]:
    started = await service.start(ANA)
    back = await service.visit(started, person=ANA_HERSELF)
    assert gist((await callback(service, ANA, started, back)).json()) == ("continue", "verified")
    return started, back


async def test_an_old_callback_after_five_minutes(service: Service, clock: Clock) -> None:
    started, back = await _finished(service)
    clock.advance(minutes=5)
    asked = len(service.sandbox.requests)

    problem(await callback(service, ANA, started, back), 409, "verification_already_finished")

    assert len(service.sandbox.requests) == asked


@pytest.mark.parametrize("identity", [False, True])
async def test_an_old_callback_after_a_reset(service: Service, *, identity: bool) -> None:
    started, back = await _finished(service)
    reset = await service.admin.post(f"/v1/users/{ANA}/reset", json={"identity": identity})
    asked = len(service.sandbox.requests)

    problem(await callback(service, ANA, started, back), 409, "verification_already_finished")

    assert len(service.sandbox.requests) == asked
    assert await service.status(ANA) == reset.json()
    assert (await service.status(ANA))["verified"] is False


async def test_an_old_callback_after_an_erasure(service: Service) -> None:
    started, back = await _finished(service)
    assert (await service.admin.delete(f"/v1/users/{ANA}")).status_code == 204
    asked = len(service.sandbox.requests)

    problem(await callback(service, ANA, started, back), 404, "verification_not_found")

    assert len(service.sandbox.requests) == asked
    await assert_unknown(service)


async def test_an_old_code_in_a_new_verification(service: Service, clock: Clock) -> None:
    _, back = await _finished(service)
    clock.advance(minutes=6)
    again = await service.start(ANA, force=True, omit_state=True)
    del back["state"]

    decision = await service.finish(ANA, again, **back)

    assert gist(decision) == ("continue", "invalid_grant")
    assert (await service.status(ANA))["verified"] is False


# --- Resets and erasures in between ---


@pytest.mark.parametrize("identity", [False, True])
async def test_an_attempt_that_was_started_before_a_reset(service: Service, clock: Clock, *, identity: bool) -> None:
    await enrol(service, clock)
    started = await service.start(ANA, force=True)
    back = await service.visit(started)
    asked = service.asked("token")
    clock.advance(seconds=1)
    await service.admin.post(f"/v1/users/{ANA}/reset", json={"identity": identity})

    decision = (await callback(service, ANA, started, back)).json()

    assert gist(decision) == ("continue", "verification_expired")
    assert decision["claims"] == {}
    assert service.asked("token") == asked
    status = await service.status(ANA)
    assert (status["verified"], status["claims"]) == (False, {})
    assert status["app_metadata"]["incode_idv_completed_at"] is None


async def test_a_step_up_that_was_started_before_a_reset(service: Service, clock: Clock) -> None:
    await enrol(service, clock)
    started = await service.start(ANA, purpose="step_up")
    back = await service.visit(started)
    await service.admin.post(f"/v1/users/{ANA}/reset")

    decision = (await callback(service, ANA, started, back)).json()

    assert gist(decision) == ("deny", "verification_expired")
    assert service.asked("token") == 1


@pytest.mark.parametrize("identity", [False, True])
async def test_a_reset_during_an_exchange(make_service: MakeService, clock: Clock, *, identity: bool) -> None:
    service = await make_service()
    await enrol(service, clock)
    started = await service.start(ANA, force=True)
    back = await service.visit(started)
    with service.sandbox.hold("token") as gate:
        exchanging = asyncio.create_task(callback(service, ANA, started, back))
        await arrivals(gate)
        reset = await service.admin.post(f"/v1/users/{ANA}/reset", json={"identity": identity})
        assert reset.status_code == 200

    problem(await exchanging, 409, "verification_already_finished")
    assert await service.status(ANA) == reset.json()
    assert (await service.status(ANA))["verified"] is False
    problem(await callback(service, ANA, started, back), 409, "verification_already_finished")
    assert (await service.start(ANA))["reason"] == "not_verified"


async def test_a_reset_during_the_exchange_of_a_user_without_a_record(make_service: MakeService) -> None:
    service = await make_service()
    started = await service.start(ANA)
    back = await service.visit(started)
    with service.sandbox.hold("token") as gate:
        exchanging = asyncio.create_task(callback(service, ANA, started, back))
        await arrivals(gate)
        await service.admin.post(f"/v1/users/{ANA}/reset")

    problem(await exchanging, 409, "verification_already_finished")
    assert (await service.status(ANA))["verified"] is False


async def test_an_erasure_during_an_exchange_is_final(make_service: MakeService) -> None:
    service = await make_service()
    started = await service.start(ANA)
    back = await service.visit(started)
    with service.sandbox.hold("token") as gate:
        exchanging = asyncio.create_task(callback(service, ANA, started, back))
        await arrivals(gate)
        assert (await service.admin.delete(f"/v1/users/{ANA}")).status_code == 204

    problem(await exchanging, 404, "verification_not_found")
    await assert_unknown(service)
    assert await Tables(service).user(ANA) is None
    assert await Tables(service).attempts(ANA) == []


# --- Another person in the same account ---


async def test_another_person_after_enrolment_takes_the_verification_away_but_not_the_identity(
    service: Service, clock: Clock
) -> None:
    first = await enrol(service, clock)
    identity = first["verification"]["identity_id"]
    started = await service.start(ANA, force=True)

    decision = await service.finish(ANA, started, **await service.visit(started, person=EVE_HERSELF))

    assert gist(decision) == ("continue", "identity_mismatch")
    assert decision["claims"] == {}
    # The attempt remembers who came: that is what an administrator needs in order to see who it was.
    assert decision["verification"]["identity_id"] not in {identity, None}
    status = await service.status(ANA)
    assert (status["verified"], status["reason"]) == (False, "not_verified")
    assert status["app_metadata"]["incode_identity_id"] == identity
    assert status["app_metadata"]["incode_idv"] == first["app_metadata"]["incode_idv"]
    clock.advance(minutes=1)
    again = await service.start(ANA, email=EVE_HERSELF)
    assert query_of(again["redirect_url"])["login_hint"] == identity
    assert gist(await service.finish(ANA, again, **await service.visit(again))) == ("continue", "verified")


async def test_two_people_at_once_in_an_account_without_an_identity(make_service: MakeService, clock: Clock) -> None:
    services = [await make_service() for _ in range(2)]
    callbacks = []
    for service, person in zip(services, (ANA_HERSELF, EVE_HERSELF), strict=True):
        started = await service.start(ANA)
        callbacks.append((service, started, await service.visit(started, person=person)))
        clock.advance(seconds=1)
    with services[0].sandbox.hold("token") as gate:
        both = [asyncio.create_task(callback(service, ANA, started, back)) for service, started, back in callbacks]
        await arrivals(gate, 2)
    decisions = [answer.json() for answer in await asyncio.gather(*both)]

    assert sorted(decision["reason"] for decision in decisions) == ["identity_mismatch", "verified"]
    winner, loser = sorted(decisions, key=lambda decision: decision["reason"], reverse=True)
    assert winner["verification"]["identity_id"] != loser["verification"]["identity_id"]
    status = await services[0].status(ANA)
    assert status["app_metadata"]["incode_identity_id"] == winner["verification"]["identity_id"]
    assert status["app_metadata"]["incode_idv_error"] == "identity_mismatch"
    assert status["verified"] is False


async def test_a_failed_start_does_not_disturb_a_pending_attempt(
    service: Service, make_service: MakeService, sandbox: Sandbox, clock: Clock
) -> None:
    victims = await service.start(ANA)
    back = await service.visit(victims, person=ANA_HERSELF)
    clock.advance(seconds=1)
    sandbox.down = {"discovery"}
    failed = await (await make_service()).start(ANA)
    assert gist(failed) == ("continue", "provider_unavailable")
    sandbox.down = set()

    decision = await service.finish(ANA, victims, **back)

    assert gist(decision) == ("continue", "verified")


# --- One purpose for another ---


async def test_a_logins_answer_does_not_finish_a_step_up(service: Service, clock: Clock) -> None:
    await enrol(service, clock)
    step_up = await service.start(ANA, purpose="step_up", omit_state=True)
    login = await service.start(ANA, force=True, omit_state=True)

    decision = await service.finish(ANA, step_up, **await service.visit(login))

    assert gist(decision) == ("deny", "invalid_grant")


# --- The state ---


async def test_a_state_of_another_attempt_of_the_same_user(service: Service, clock: Clock) -> None:
    first = await service.start(ANA)
    clock.advance(seconds=1)
    second = await service.start(ANA)
    back = await service.visit(second)
    foreign = {**back, "state": query_of(first["redirect_url"])["state"]}

    problem(await callback(service, ANA, second, foreign), 409, "state_invalid")

    assert service.asked("token") == 0
    assert gist((await callback(service, ANA, second, back)).json()) == ("continue", "verified")


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def forged(header: Json, claims: Json, secret: str) -> str:
    signed = ".".join(encoded(json.dumps(part).encode()) for part in (header, claims))
    return f"{signed}.{encoded(hmac.digest(secret.encode(), signed.encode(), hashlib.sha256))}"


def parts(state: str) -> tuple[Json, Json, str]:
    header, claims, signature = state.split(".")
    return decoded(header), decoded(claims), signature


def _unchanged(header: Json, claims: Json, _: str) -> str:
    return forged(header, claims, REDIRECT_SECRET)


def _algorithm_none(header: Json, claims: Json, _: str) -> str:
    return f"{encoded(json.dumps({**header, 'alg': 'none'}).encode())}.{encoded(json.dumps(claims).encode())}."


def _algorithm_none_with_the_signature(header: Json, claims: Json, signature: str) -> str:
    return _algorithm_none(header, claims, signature) + signature


def _another_algorithm(header: Json, claims: Json, _: str) -> str:
    return forged({**header, "alg": "HS512"}, claims, REDIRECT_SECRET)


def _another_secret(header: Json, claims: Json, _: str) -> str:
    return forged(header, claims, ANOTHER_SECRET)


def _no_secret(header: Json, claims: Json, _: str) -> str:
    return forged(header, claims, "")


def _changed_payload(header: Json, claims: Json, signature: str) -> str:
    changed = {**claims, "exp": claims["exp"] + 1}
    return f"{encoded(json.dumps(header).encode())}.{encoded(json.dumps(changed).encode())}.{signature}"


def _another_type(header: Json, claims: Json, _: str) -> str:
    return forged({**header, "typ": "JWT"}, claims, REDIRECT_SECRET)


def _no_type(header: Json, claims: Json, _: str) -> str:
    return forged({"alg": header["alg"]}, claims, REDIRECT_SECRET)


def _nobodys_state(header: Json, claims: Json, _: str) -> str:
    return forged(header, {**claims, "verification_id": None}, REDIRECT_SECRET)


FORGERIES = (
    _algorithm_none,
    _algorithm_none_with_the_signature,
    _another_algorithm,
    _another_secret,
    _no_secret,
    _changed_payload,
    _another_type,
    _no_type,
    _nobodys_state,
)


async def test_a_state_that_is_signed_as_ours_is_ours(service: Service) -> None:
    """Assert that the forgeries below fail for what they forge, and not for how this file makes them."""
    started = await service.start(ANA)
    back = await service.visit(started)
    same = {**back, "state": _unchanged(*parts(back["state"]))}

    assert gist((await callback(service, ANA, started, same)).json()) == ("continue", "verified")


@on_sqlite_only
@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__.strip("_"))
async def test_a_forged_state(service: Service, forge: Callable[[Json, Json, str], str]) -> None:
    started = await service.start(ANA)
    back = await service.visit(started)

    answer = await callback(service, ANA, started, {**back, "state": forge(*parts(back["state"]))})

    problem(answer, 409, "state_invalid")
    assert service.asked("token") == 0
    assert await Tables(service).attempt_status(started) == "pending"


async def test_a_state_from_before_the_secret_was_rotated_is_still_good(make_service: MakeService) -> None:
    before = await make_service()
    rotating = await make_service(redirect_secret=f"{ANOTHER_SECRET},{REDIRECT_SECRET}")
    after = await make_service(redirect_secret=ANOTHER_SECRET)
    old = await before.start(ANA)
    back = await before.visit(old)

    problem(await callback(after, ANA, old, back), 409, "state_invalid")
    assert gist((await callback(rotating, ANA, old, back)).json()) == ("continue", "verified")

    new = await rotating.start(ANA, force=True)
    new_back = await rotating.visit(new)
    problem(await callback(before, ANA, new, new_back), 409, "state_invalid")
    assert gist((await callback(after, ANA, new, new_back)).json()) == ("continue", "verified")


async def test_a_callback_without_a_known_key(
    service: Service,
) -> None:
    started = await service.start(ANA)
    body = {"user_id": ANA, "verification_id": started["verification"]["id"], **await service.visit(started)}

    for key in (None, "wrong-key-0123456789-0123456789-0123456789"):
        async with service.client(key) as stranger:
            problem(await stranger.post("/v1/callback", json=body), 401, "unauthorized")
    assert service.asked("token") == 0
    assert await Tables(service).attempt_status(started) == "pending"


async def test_an_idp_key_can_neither_reset_nor_erase(service: Service, clock: Clock) -> None:
    await enrol(service, clock)
    before = await service.status(ANA)

    problem(await service.idp.post(f"/v1/users/{ANA}/reset"), 403, "forbidden")
    problem(await service.idp.delete(f"/v1/users/{ANA}"), 403, "forbidden")

    assert await service.status(ANA) == before
