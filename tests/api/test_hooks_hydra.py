"""Ory Hydra's token hook, by its documented format; the real one is in tests/integrations/hydra."""

from typing import Any

import pytest

from tests.harness.clock import Clock
from tests.harness.hooks import REQUESTS, Vendors, asked, changed
from tests.harness.service import CLAIM, USER, Json, enrol, problem
from tests.harness.tables import on_sqlite_only

pytestmark = on_sqlite_only

STALE = {CLAIM: {"completed": True}, "plan": "gold", "deep": {"a": [1, 2.5, None, "ü"]}}


async def test_everything_is_given_back_and_a_stale_claim_is_not(vendors: Vendors) -> None:
    request = changed(asked("hydra", USER), session__extra=STALE, session__id_token__id_token_claims__ext=STALE)
    kept = {"plan": "gold", "deep": STALE["deep"]}
    assert await vendors.ask("hydra", request) == {"session": {"access_token": kept, "id_token": kept}}


async def test_a_newer_claim_takes_the_place_of_an_older_one(vendors: Vendors, clock: Clock) -> None:
    finished = await enrol(vendors.service, clock)
    answer = await vendors.ask("hydra", changed(asked("hydra", USER), session__extra=STALE))
    assert answer["session"]["access_token"] == {"plan": "gold", "deep": STALE["deep"], **finished["claims"]}


@pytest.mark.parametrize("nothing", [None, ...])
async def test_a_session_without_claims_of_its_own_gets_the_claim(vendors: Vendors, clock: Clock, nothing: Any) -> None:
    finished = await enrol(vendors.service, clock)
    request = changed(asked("hydra", USER), session__extra=nothing, session__id_token__id_token_claims=nothing)
    claims = finished["claims"]
    assert await vendors.ask("hydra", request) == {"session": {"access_token": claims, "id_token": claims}}


async def test_the_user_is_the_subject_and_not_what_one_client_calls_him(vendors: Vendors, clock: Clock) -> None:
    await enrol(vendors.service, clock)
    request = changed(asked("hydra", "somebody-else"), session__id_token__id_token_claims__sub=USER)
    assert CLAIM not in (await vendors.ask("hydra", request))["session"]["id_token"]


async def test_a_machine_that_is_called_like_a_person_is_left_alone(vendors: Vendors, clock: Clock) -> None:
    await enrol(vendors.service, clock)
    response = await vendors.send("hydra", changed(asked("hydra", USER), request__grant_types=["client_credentials"]))
    assert (response.status_code, response.content) == (204, b"")


@pytest.mark.parametrize(
    "places", [("extra",), ("id_token__id_token_claims__ext",), ("extra", "id_token__id_token_claims__ext")]
)
@pytest.mark.parametrize(
    "nobody", [{"request__grant_types": ["client_credentials"]}, {"session__id_token__subject": None}]
)
async def test_a_claim_that_came_with_nobody_is_taken_out(
    vendors: Vendors, clock: Clock, nobody: Json, places: tuple[str, ...]
) -> None:
    await enrol(vendors.service, clock)
    others = {"session__extra": {"plan": "gold"}, "session__id_token__id_token_claims__ext": {"plan": "gold"}}
    request = changed(asked("hydra", USER), **others, **nobody)
    assert (await vendors.send("hydra", request)).status_code == 204

    request = changed(request, **{f"session__{place}": {"plan": "gold", **STALE} for place in places})
    answer = (await vendors.ask("hydra", request))["session"]
    kept = {"plan": "gold", "deep": STALE["deep"]}
    assert answer["access_token"] == (kept if "extra" in places else {"plan": "gold"})
    assert answer["id_token"] == (kept if "id_token__id_token_claims__ext" in places else {"plan": "gold"})


async def test_what_hydra_always_sends_is_wanted(vendors: Vendors) -> None:
    answer = problem(await vendors.send("hydra", changed(REQUESTS["hydra"], session=...)), 422, "validation_error")
    assert answer["errors"] == [{"field": "body.session", "message": "is missing"}]
