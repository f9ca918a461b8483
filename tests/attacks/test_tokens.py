"""Tokens that were forged with the right secret, and such as were issued for something else.

Eve knows REDIRECT_SECRET: a tenant at Auth0 holds it. What she signs is as good as ours, but was never issued.
"""

from itertools import product

import pytest

from app.oidc import sign_hs256
from tests.conftest import MakeService
from tests.harness.browser import Browser
from tests.harness.clock import Clock
from tests.harness.provider import PUBLIC_URL
from tests.harness.service import EMAIL, REDIRECT_SECRET, Json, Service, enrol, gist, problem, query_of
from tests.harness.tables import Tables

HOSTED = {"public_url": PUBLIC_URL, "return_urls": "https://tenant.example/continue"}
ANA, EVE = "auth0|ana", "auth0|eve"


def forged(user_id: str, attempt_id: str, clock: Clock, kind: str = "JWT") -> str:
    """A session token in every point like ours, which was never issued."""
    now = int(clock().timestamp())
    mine = {"iss": PUBLIC_URL, "sub": user_id, "iat": now, "exp": now + 300, "jti": "x", "verification_id": attempt_id}
    return sign_hs256(mine, REDIRECT_SECRET, token_type=kind)


async def returned(service: Service, user_id: str, person: str, **body: str) -> tuple[Json, str]:
    """A hosted attempt whose browser is back with its token."""
    started = await service.start(user_id, flow="hosted", email=person, **body)
    async with Browser(service) as browser:
        arrived = await browser.go_through(started, person=person)
    return started, arrived["session_token"]


async def tables_of(service: Service) -> list[list[Json]]:
    tables = Tables(service)
    return [await tables.rows(f"SELECT * FROM {name} ORDER BY 1") for name in ("users", "verifications")]  # noqa: S608


async def test_whoever_knows_the_secret_confirms_nobody(make_service: MakeService, clock: Clock) -> None:
    service = await make_service(**HOSTED)
    anas, _ = await returned(service, ANA, EMAIL)
    eves, token = await returned(service, EVE, "eve@example.com")
    waiting = await service.start(ANA, flow="hosted")
    attempts = [started["verification"]["id"] for started in (anas, eves, waiting)]
    before = await tables_of(service)

    tried = 0
    for subject, named, caller, in_hand, kind in product(
        (ANA, EVE), attempts, (ANA, EVE), attempts, ("JWT", "idv-state+jwt")
    ):
        made_up = forged(subject, named, clock, kind)
        answer = await service.send_callback(caller, None, verification_id=in_hand, session_token=made_up)
        assert answer.status_code in {400, 409}, (subject, named, caller, in_hand, kind, answer.text)
        tried += 1

    assert tried == 72
    assert await tables_of(service) == before
    assert gist(await service.finish(EVE, eves, session_token=token)) == ("continue", "verified")
    assert (await service.status(ANA))["verified"] is False


async def test_ones_own_returned_attempt_with_anothers_subject(make_service: MakeService, clock: Clock) -> None:
    service = await make_service(**HOSTED)
    eves, token = await returned(service, EVE, "eve@example.com")
    attempt = eves["verification"]["id"]

    made_up = forged(ANA, attempt, clock)
    problem(await service.send_callback(ANA, eves, session_token=made_up), 409, "verification_mismatch")
    problem(await service.send_callback(EVE, eves, session_token=made_up), 409, "verification_mismatch")
    made_up = forged(EVE, attempt, clock)
    problem(await service.send_callback(EVE, eves, session_token=made_up), 400, "session_token_invalid")

    assert (await service.status(ANA))["app_metadata"] == {}
    assert gist(await service.finish(EVE, eves, session_token=token)) == ("continue", "verified")


@pytest.mark.parametrize("finished", [False, True])
async def test_the_confirmation_of_one_payment_is_none_for_another(
    make_service: MakeService, clock: Clock, *, finished: bool
) -> None:
    service = await make_service(**HOSTED)
    await enrol(service, clock, ANA)
    first, token = await returned(service, ANA, EMAIL, purpose="step_up")
    if finished:
        assert gist(await service.finish(ANA, first, session_token=token)) == ("continue", "verified")
    second, another = await returned(service, ANA, EMAIL, purpose="step_up")
    waiting = await service.start(ANA, flow="hosted", purpose="step_up")

    for payment in (second, waiting):
        problem(await service.send_callback(ANA, payment, session_token=token), 409, "verification_mismatch")
        in_hand = payment["verification"]["id"]
        made_up = forged(ANA, in_hand, clock)
        problem(await service.send_callback(ANA, payment, session_token=made_up), 400, "session_token_invalid")

    assert gist(await service.finish(ANA, second, session_token=another)) == ("continue", "verified")
    assert gist(await service.finish(ANA, first, session_token=token)) == ("continue", "verified")


@pytest.mark.parametrize("finished", [False, True])
async def test_the_response_of_one_payment_is_none_for_another(
    service: Service, clock: Clock, *, finished: bool
) -> None:
    await enrol(service, clock, ANA)
    first = await service.start(ANA, purpose="step_up")
    back = await service.visit(first)
    if finished:
        assert gist(await service.finish(ANA, first, **back)) == ("continue", "verified")
    second = await service.start(ANA, purpose="step_up")
    exchanged = service.asked("token")

    problem(await service.send_callback(ANA, second, **back), 409, "state_invalid")

    assert service.asked("token") == exchanged
    assert await Tables(service).attempt_status(second) == "pending"
    assert gist(await service.finish(ANA, first, **back)) == ("continue", "verified")


async def test_every_token_that_was_issued_opens_its_own_attempt_alone(make_service: MakeService) -> None:
    service = await make_service(**HOSTED)
    people = {ANA: EMAIL, EVE: "eve@example.com", "auth0|bob": "bob@example.com"}
    issued = [
        (user_id, *await returned(service, user_id, person)) for user_id, person in people.items() for _ in range(2)
    ]
    refused = 0
    for caller, own, _ in issued:
        for subject, started, token in issued:
            answer = await service.send_callback(caller, own, session_token=token)
            if (caller, own["verification"]["id"]) != (subject, started["verification"]["id"]):
                problem(answer, 409, "verification_mismatch")
                refused += 1
    assert refused == 30
    assert {gist(await service.finish(user_id, own, session_token=token)) for user_id, own, token in issued} == {
        ("continue", "verified")
    }


async def test_neither_token_is_taken_for_the_other(make_service: MakeService, clock: Clock) -> None:
    service = await make_service(**HOSTED)
    hosted, token = await returned(service, EVE, "eve@example.com")
    relay = await service.start(ANA, flow="relay")
    back = await service.visit(relay)
    launched = await service.start(ANA, flow="hosted")
    async with Browser(service) as browser:
        state = query_of((await browser.launch(launched)).headers["Location"])["state"]
        page = await browser.client.get(
            "/v1/callback", params={"code": back["code"], "state": token, "iss": back["iss"]}
        )
    assert page.status_code == 400

    for attempt, caller in ((hosted, EVE), (launched, ANA)):
        for as_token in (state, back["state"]):
            problem(await service.send_callback(caller, attempt, session_token=as_token), 400, "session_token_invalid")
    for as_state in (token, state, forged(ANA, relay["verification"]["id"], clock)):
        problem(await service.send_callback(ANA, relay, **{**back, "state": as_state}), 409, "state_invalid")
    problem(await service.send_callback(ANA, relay, session_token=token), 409, "verification_mismatch")
    problem(await service.send_callback(EVE, hosted, **back), 409, "verification_mismatch")

    assert service.asked("token") == 1
    assert gist(await service.finish(ANA, relay, **back)) == ("continue", "verified")
