"""The machine's clock was wrong, and is set back: nothing may last for the time that it had been ahead."""

from datetime import timedelta

import pytest

from app.storage.encryption import Cipher
from app.storage.keeping import Keeper
from tests.conftest import MakeService
from tests.harness.browser import Browser
from tests.harness.clock import Clock
from tests.harness.provider import PUBLIC_URL
from tests.harness.service import EMAIL, ENCRYPTION_KEY, Json, Service, problem
from tests.harness.tables import Tables

USER = "auth0|ana"
WRONG = {"days": 730}


async def status_of(service: Service, started: Json) -> str:
    answer: Json = (await service.admin.get(f"/v1/verifications/{started['verification']['id']}")).json()
    return str(answer["status"])


async def test_a_verification_of_the_future_does_not_stand_and_can_be_replaced(service: Service, clock: Clock) -> None:
    clock.advance(**WRONG)
    await service.verify(USER)
    clock.advance(days=-730)

    status = await service.status(USER)
    assert (status["reason"], status["claims"]) == ("record_invalid", {})
    assert (await service.verify(USER))["reason"] == "verified"
    assert (await service.status(USER))["reason"] == "recently_verified"


async def test_an_attempt_of_the_future_has_expired_and_stands_in_nobodys_way(service: Service, clock: Clock) -> None:
    clock.advance(**WRONG)
    future = await service.start(USER)
    back = await service.visit(future)
    clock.advance(days=-730)

    assert await status_of(service, future) == "expired"
    started = await service.start(USER)
    arrived = await service.visit(started)
    assert (await service.finish(USER, started, **arrived))["reason"] == "verified"
    assert (await service.finish(USER, future, **back))["reason"] == "verification_expired"
    assert (await service.status(USER))["reason"] == "recently_verified"
    assert service.asked("token") == 1


async def test_an_answer_of_the_future_is_not_given_again(service: Service, clock: Clock) -> None:
    clock.advance(**WRONG)
    started = await service.start(USER)
    back = await service.visit(started)
    assert (await service.finish(USER, started, **back))["claims"]
    clock.advance(days=-730)

    problem(await service.send_callback(USER, started, **back), 409, "verification_already_finished")


async def test_a_session_token_of_the_future_confirms_nothing(make_service: MakeService, clock: Clock) -> None:
    service = await make_service(public_url=PUBLIC_URL, return_urls="https://tenant.example/continue")
    clock.advance(**WRONG)
    started = await service.start(USER, flow="hosted")
    async with Browser(service) as browser:
        token = (await browser.go_through(started))["session_token"]
    clock.advance(days=-730)

    problem(await service.send_callback(USER, None, session_token=token), 400, "session_token_invalid")
    assert (await service.status(USER))["reason"] == "never_verified"
    assert await status_of(service, started) == "expired"


async def test_failures_of_the_future_lock_nobody_out(make_service: MakeService, clock: Clock) -> None:
    service = await make_service(attempt_limit=1)
    clock.advance(**WRONG)
    await service.verify(USER, "denied")
    assert (await service.start(USER))["reason"] == "too_many_attempts"
    clock.advance(days=-730)

    assert (await service.verify(USER))["reason"] == "verified"


@pytest.mark.parametrize("cleared_by", ["success", "reset"])
async def test_what_cleared_the_failures_in_the_future_does_not_lift_the_limit_until_then(
    make_service: MakeService, clock: Clock, cleared_by: str
) -> None:
    service = await make_service(attempt_limit=1)
    clock.advance(**WRONG)
    await service.verify(USER)
    if cleared_by == "reset":
        await service.admin.post(f"/v1/users/{USER}/reset")
    clock.advance(days=-730)

    await service.verify(USER, "denied")
    assert (await service.start(USER))["reason"] == "too_many_attempts"


async def test_what_a_reset_has_withdrawn_does_not_come_back(service: Service, clock: Clock) -> None:
    started = await service.start(USER)
    back = await service.visit(started)
    clock.advance(seconds=30)
    await service.admin.post(f"/v1/users/{USER}/reset")
    clock.advance(seconds=-50)

    assert await status_of(service, started) == "expired"
    assert (await service.finish(USER, started, **back))["reason"] == "verification_expired"
    assert service.asked("token") == 0


async def test_what_was_sealed_in_the_future_is_cleared_and_what_is_in_use_is_not(
    make_service: MakeService, clock: Clock
) -> None:
    service = await make_service(verification_ttl_seconds=7 * 86400)
    keeper, tables = Keeper(service.app.state.services.database, Cipher([ENCRYPTION_KEY])), Tables(service)
    clock.advance(**WRONG)
    await service.verify(USER, email=EMAIL)
    await service.start(USER, force=True)
    clock.advance(days=-730, seconds=60)
    begun = await service.start("auth0|eve", email=EMAIL)
    clock.advance(seconds=-60)

    assert await keeper.purge(clock() - timedelta(days=90), clock()) == 0
    assert [each["clear_at"] for each in await tables.attempts(USER)] == [None, None]
    held = "SELECT id FROM verifications WHERE sealed_answer IS NOT NULL OR sealed_request IS NOT NULL"
    assert await tables.rows(held) == [{"id": begun["verification"]["id"]}]
    assert await tables.attempt_status(begun) == "pending"


async def test_a_clock_that_is_set_back_by_a_minute_disturbs_nobody(service: Service, clock: Clock) -> None:
    started = await service.start(USER)
    back = await service.visit(started)
    clock.advance(seconds=-20)
    finished = await service.finish(USER, started, **back)
    assert finished["reason"] == "verified"
    clock.advance(seconds=-40)
    assert await service.finish(USER, started, **back) == finished
    assert (await service.status(USER))["claims"] == finished["claims"]
