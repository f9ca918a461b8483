"""Housekeeping: what has served its time goes by itself, no earlier, and one process of a deployment does the work."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.conftest import MakeService
from tests.harness.browser import Browser
from tests.harness.clock import Clock
from tests.harness.provider import PUBLIC_URL
from tests.harness.queries import Queries
from tests.harness.service import EMAIL, USER, Json, Service, gist, problem, query_of
from tests.harness.tables import Tables
from tests.harness.waiting import until

HOSTED = {"public_url": PUBLIC_URL, "return_urls": "https://tenant.example/continue"}
SEALED = ("sealed_request", "sealed_outcome", "sealed_return", "sealed_answer")
MILLISECOND = timedelta(milliseconds=1)

MakeHouse = Callable[..., Awaitable["House"]]


class House:
    """A service that keeps house without pause. `turns` counts how often it asked to begin, `rounds` how often it did
    so after it had gone through all that there is to do, and `steps` how often one round went to the attempts to clear
    some of them, at most.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self.rounds = self.turns = self.steps = self._steps = 0
        self._has_reached_the_end = False
        Queries(service.app.state.services.database, self._look_at)

    def _look_at(self, statement: str) -> None:
        # The last step of a round is to look for locks.
        self._has_reached_the_end |= statement.startswith("DELETE FROM users")
        self._steps = 0 if self._has_reached_the_end else self._steps + statement.startswith("UPDATE verifications")
        self.steps = max(self.steps, self._steps)
        if statement.startswith("INSERT INTO leases"):
            self.turns += 1
            self.rounds += self._has_reached_the_end
            self._has_reached_the_end = False

    async def is_kept(self) -> None:
        """Return after a round that has begun by now or later: the one under way may have looked at the clock
        before, and a driver tells of the beginning of a round when that is over.
        """
        seen = self.rounds
        await until(lambda: self.rounds >= seen + 3)

    async def has_asked(self) -> None:
        """Return after it has asked for its turn by the clock as it is now."""
        seen = self.turns
        await until(lambda: self.turns >= seen + 3)


@pytest.fixture
def make_house(make_service: MakeService) -> MakeHouse:
    async def make(**settings: Any) -> House:
        return House(await make_service(**{**HOSTED, "housekeeping": True, "housekeeping_seconds": 0.01, **settings}))

    return make


async def held(service: Service, started: Json) -> set[str]:
    """Which sealed values an attempt's row still has."""
    [row] = await Tables(service).rows("SELECT * FROM verifications WHERE id = :id", id=started["verification"]["id"])
    return {name for name in SEALED if row[name] is not None}


async def status(service: Service, started: Json) -> str:
    return await Tables(service).attempt_status(started)


async def line(capsys: pytest.CaptureFixture[str], event: str) -> str:
    """What the log says of `event`, as soon as it does."""
    told: list[str] = []

    def is_told() -> bool:
        told.extend(each for each in capsys.readouterr().out.splitlines() if f" {event} " in each)
        return bool(told)

    await until(is_told)
    return told[0]


async def test_an_answer_is_kept_for_as_long_as_it_is_repeated(make_house: MakeHouse, clock: Clock) -> None:
    house = await make_house()
    started = await house.service.start(USER, email=EMAIL)
    back = await house.service.visit(started)
    answer = await house.service.finish(USER, started, **back)
    clock.now += timedelta(minutes=5) - MILLISECOND
    await house.is_kept()
    assert await house.service.finish(USER, started, **back) == answer
    assert await held(house.service, started) == {"sealed_answer"}
    clock.now += MILLISECOND
    await house.is_kept()
    assert await held(house.service, started) == set()
    assert await status(house.service, started) == "completed"
    problem(await house.service.send_callback(USER, started, **back), 409, "verification_already_finished")
    assert (await house.service.status(USER))["claims"] == answer["claims"]


async def test_an_unconfirmed_outcome_is_kept_for_as_long_as_it_can_be_confirmed(
    make_house: MakeHouse, clock: Clock
) -> None:
    house = await make_house()
    started = await house.service.start(USER, flow="hosted", email=EMAIL)
    async with Browser(house.service) as browser:
        arrived = await browser.go_through(started)
    clock.now += timedelta(minutes=5) - MILLISECOND
    await house.is_kept()
    assert await held(house.service, started) == {"sealed_outcome", "sealed_return"}
    assert await status(house.service, started) == "returned"
    clock.now += MILLISECOND
    await house.is_kept()
    assert await held(house.service, started) == set()
    assert await status(house.service, started) == "expired"
    response = await house.service.send_callback(USER, None, session_token=arrived["session_token"])
    problem(response, 400, "session_token_invalid")
    assert (await house.service.status(USER))["app_metadata"] == {}


@pytest.mark.parametrize("flow", ["relay", "hosted"])
async def test_the_secrets_of_a_start_that_came_to_nothing_go_when_its_time_is_over(
    make_house: MakeHouse, clock: Clock, flow: str
) -> None:
    house = await make_house()
    started = await house.service.start(USER, flow=flow, email=EMAIL)
    clock.now += timedelta(hours=1) - MILLISECOND
    await house.is_kept()
    assert (await held(house.service, started), await status(house.service, started)) == ({"sealed_request"}, "pending")
    clock.now += MILLISECOND
    await house.is_kept()
    assert (await held(house.service, started), await status(house.service, started)) == (set(), "expired")


async def test_a_relay_callback_that_comes_after_the_clearing_is_answered_as_one_too_late(
    make_house: MakeHouse, clock: Clock
) -> None:
    house = await make_house()
    started = await house.service.start(USER, email=EMAIL)
    back = await house.service.visit(started)
    clock.advance(hours=1)
    await house.is_kept()
    late = await house.service.finish(USER, started, **back)
    assert gist(late) == ("continue", "verification_expired")
    assert late["verification"]["status"] == "expired"
    assert late["app_metadata"]["incode_idv_error"] == "verification_expired"
    assert await house.service.finish(USER, started, **back) == late
    assert house.service.asked("token") == 0


async def test_a_browser_that_comes_back_after_the_clearing_is_sent_on_so_that_the_caller_decides(
    make_house: MakeHouse, clock: Clock
) -> None:
    house = await make_house()
    started = await house.service.start(USER, flow="hosted", email=EMAIL, state="the caller's own")
    async with Browser(house.service) as browser:
        address = await browser.at_provider(await browser.launch(started))
        clock.advance(hours=1)
        await house.is_kept()
        arrived = query_of((await browser.come_back(address)).headers["Location"])
    assert arrived["state"] == "the caller's own"
    late = await house.service.finish(USER, None, session_token=arrived["session_token"])
    assert gist(late) == ("continue", "verification_expired")
    assert house.service.asked("token") == 0


async def test_a_start_that_was_cleared_still_counts_towards_the_limit(make_house: MakeHouse, clock: Clock) -> None:
    house = await make_house(attempt_limit=1)
    await house.service.start(USER)
    clock.advance(hours=1)
    await house.is_kept()
    assert gist(await house.service.start(USER)) == ("continue", "too_many_attempts")


async def test_attempts_go_after_retention_days_and_what_is_on_file_about_a_user_stays(
    make_house: MakeHouse, clock: Clock
) -> None:
    house = await make_house(retention_days=2)
    await house.service.verify(USER, email=EMAIL)
    await house.service.start("auth0|never came back")
    clock.now += timedelta(days=2)
    young = await house.service.start("auth0|young")
    await house.is_kept()
    assert len((await house.service.admin.get("/v1/verifications")).json()["items"]) == 3
    clock.now += MILLISECOND
    await house.is_kept()
    left = (await house.service.admin.get("/v1/verifications")).json()["items"]
    assert [item["id"] for item in left] == [young["verification"]["id"]]
    assert (await house.service.status(USER))["verified"] is True
    # Nothing tells any more that he was ever here.
    tables = Tables(house.service)
    assert await tables.user("auth0|never came back") is None
    # SQLite needs no row to hold while an attempt is put on file.
    assert (await tables.user("auth0|young") is None) is tables.is_sqlite


@pytest.mark.parametrize("number", [250])
async def test_more_than_one_step_can_take_is_all_cleared(
    make_house: MakeHouse, clock: Clock, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    house = await make_house(attempt_limit=0)
    started = await house.service.start(USER)
    tables = Tables(house.service)
    columns = (
        "user_id, flow, purpose, status, started_by, created_at, expires_at, clear_at, omit_state, counted, "
        "sealed_request"
    )
    copy = f"INSERT INTO verifications (id, {columns}) SELECT :id, {columns} FROM verifications WHERE id = :of"  # noqa: S608
    of = started["verification"]["id"]
    await tables.change_often(copy, [{"id": f"idv_{n:032x}", "of": of} for n in range(number)])
    clock.advance(hours=1)
    await house.is_kept()
    assert (
        await tables.rows("SELECT id FROM verifications WHERE clear_at IS NOT NULL OR sealed_request IS NOT NULL") == []
    )
    assert house.steps > number / 100, "a step that takes more is one that a login notices"
    assert "housekeeping_" not in capsys.readouterr().out


async def test_one_process_of_a_deployment_keeps_house(make_house: MakeHouse) -> None:
    first = await make_house()
    await first.is_kept()
    second, idle = await make_house(), await make_house(housekeeping=False)
    await second.has_asked()
    await first.is_kept()
    assert (second.rounds, idle.rounds, idle.turns) == (0, 0, 0)


async def test_another_process_takes_over_two_and_a_half_minutes_after_the_last_sign_of_life(
    make_house: MakeHouse, clock: Clock
) -> None:
    house = await make_house()
    await house.is_kept()
    await Tables(house.service).change("UPDATE leases SET holder = 'a process that died'")
    await house.has_asked()  # the round that was under way is over
    clock.now += timedelta(seconds=150) - MILLISECOND
    rounds = house.rounds
    await house.has_asked()
    assert house.rounds == rounds
    clock.now += MILLISECOND
    await house.is_kept()


async def test_a_turn_taken_by_a_clock_that_was_set_back_since_keeps_nobody_away(
    make_house: MakeHouse, clock: Clock
) -> None:
    house = await make_house()
    await house.is_kept()
    await Tables(house.service).change("UPDATE leases SET holder = 'a process that died'")
    clock.advance(days=-1)
    await house.is_kept()


async def test_a_database_that_is_away_only_postpones_the_work(
    make_house: MakeHouse, capsys: pytest.CaptureFixture[str]
) -> None:
    house = await make_house()
    await house.is_kept()
    await Tables(house.service).change("ALTER TABLE leases RENAME TO away")
    for _ in range(3):
        told = await line(capsys, "housekeeping_postponed")
        assert "code=database_unavailable" in told
    await Tables(house.service).change("ALTER TABLE away RENAME TO leases")
    await house.is_kept()


async def test_a_fault_that_nobody_foresaw_is_told_and_ends_nothing(
    make_house: MakeHouse, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    house = await make_house()
    await house.is_kept()
    right, clock.now = clock.now, datetime.max.replace(tzinfo=UTC)
    for _ in range(3):
        told = await line(capsys, "housekeeping_failed")
        assert "fault=OverflowError" in told
        assert "app/storage/keeping.py:" in told
    clock.now = right
    await house.is_kept()


@pytest.mark.parametrize("confirmed", [False, True])
async def test_a_reload_goes_back_without_the_token_once_that_has_been_cleared(
    make_house: MakeHouse, clock: Clock, confirmed: bool
) -> None:
    house = await make_house()
    hosted = house.service
    started = await hosted.start(USER, flow="hosted", state="auth0-state")
    async with Browser(hosted) as browser:
        address = await browser.at_provider(await browser.launch(started))
        arrived = query_of((await browser.come_back(address)).headers["Location"])
        token = {"session_token": arrived["session_token"]}
        if confirmed:
            await hosted.finish(USER, None, **token)
        clock.advance(minutes=5)
        await house.is_kept()
        assert await status(hosted, started) == ("completed" if confirmed else "expired")
        for back in (await browser.come_back(address), await browser.launch(started)):
            assert back.status_code == 303, back.text
            assert back.headers["Location"] == "https://tenant.example/continue?state=auth0-state"
    refused = (409, "verification_already_finished") if confirmed else (400, "session_token_invalid")
    problem(await hosted.send_callback(USER, None, **token), *refused)
