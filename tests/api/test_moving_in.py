"""Moving in from the Action, login by login: a start brings what the Action has kept of a user whom we have never
met.
"""

import asyncio
from typing import Any

import pytest

from app.core.claims import timestamp
from app.sandbox import Sandbox
from tests.conftest import MakeService
from tests.harness.clock import Clock
from tests.harness.nesting import DEEP, written
from tests.harness.service import CLAIM, USER, Json, Service, gist, problem, query_of
from tests.harness.tables import Tables, on_sqlite_only

INTERVIEW, IDENTITY, SUB = "1d930fd42e7c5ad1866d837b", "2312120ecbbd3d7b78f3fdec", "6a8b21f0c7d94e55"


def kept(clock: Clock, *, idv: Json | None = None, **members: Any) -> Json:
    """What the Action has kept of a verification that was just completed."""
    return {
        "incode_idv": {
            "id_token": "ey.the.id.token",
            "access_token": "the access token",
            "interview_id": INTERVIEW,
            "identity_id": IDENTITY,
            "auth_overall_score": "100.0",
            "auth_overall_status": "OK",
            "pii": {"name": "Ana Ruiz"},
            "userinfo": {"sub": SUB, "name": "Ana Ruiz"},
            **(idv or {}),
        },
        "incode_idv_completed": True,
        "incode_idv_completed_at": timestamp(clock()),
        "incode_idv_error": None,
        "incode_interview_id": INTERVIEW,
        "incode_identity_id": IDENTITY,
        **members,
    }


@pytest.fixture
async def service(make_service: MakeService) -> Service:
    return await make_service(adopt_app_metadata="true")


async def test_who_was_verified_by_the_action_goes_on_without_a_redirect_and_with_the_claim(
    service: Service, sandbox: Sandbox, clock: Clock
) -> None:
    metadata = kept(clock)
    decision = await service.start(USER, app_metadata=metadata)
    assert gist(decision) == ("continue", "recently_verified")
    assert decision["verification"] is None
    assert decision["claims"][CLAIM] == {
        "completed": True,
        "completed_at": metadata["incode_idv_completed_at"],
        "interview_id": INTERVIEW,
        "identity_id": IDENTITY,
        "auth_overall_score": "100.0",
        "auth_overall_status": "OK",
        "pii": {"name": "Ana Ruiz"},
    }
    assert sandbox.requests == []
    # From now on the record is ours, and nothing needs to be brought.
    assert await service.start(USER) == decision
    assert await Tables(service).rows("SELECT * FROM audit") == []


async def test_tokens_that_came_along_are_not_kept(service: Service, clock: Clock) -> None:
    decision = await service.start(USER, app_metadata=kept(clock))
    assert "the access token" not in str(decision)
    status = await service.admin.get(f"/v1/users/{USER}")
    assert "the access token" not in status.text


@on_sqlite_only
@pytest.mark.parametrize(
    "place",
    [("userinfo", "x"), ("pii", "address"), ("auth_overall_status",), ("auth_overall_score",), ("identity_id",)],
)
async def test_however_deep_a_value_is_nested_the_user_can_be_shown_and_verified(
    service: Service, clock: Clock, place: tuple[str, ...]
) -> None:
    for levels in (33, 256, *range(900, 940)):
        idv: Any = DEEP
        for name in reversed(place):
            idv = {name: idv}
        user = f"user-{levels}"
        sent = {"user_id": user, "app_metadata": kept(clock, idv=idv)}
        headers = {"Content-Type": "application/json"}
        started = await service.idp.post("/v1/verifications", content=written(sent, levels), headers=headers)
        assert started.status_code in {200, 422}, levels
        shown = await service.idp.get(f"/v1/users/{user}")
        assert shown.status_code == 200
        assert gist(await service.start(user, force=True))[0] == "redirect"


async def test_without_the_setting_it_is_refused_and_nothing_is_on_file(
    make_service: MakeService, clock: Clock
) -> None:
    service = await make_service()
    refused = await service.idp.post("/v1/verifications", json={"user_id": USER, "app_metadata": kept(clock)})
    errors = problem(refused, 422, "validation_error")["errors"]
    assert [error["field"] for error in errors] == ["body.app_metadata"]
    assert "ADOPT_APP_METADATA" in errors[0]["message"]
    assert (await service.status(USER))["reason"] == "never_verified"
    assert gist(await service.start(USER, app_metadata=None)) == ("redirect", "never_verified")


@pytest.mark.parametrize("metadata", ["text", [], 7, True])
async def test_what_is_no_object_is_refused(service: Service, metadata: Any) -> None:
    refused = await service.idp.post("/v1/verifications", json={"user_id": USER, "app_metadata": metadata})
    assert problem(refused, 422, "validation_error")["errors"] == [
        {"field": "body.app_metadata", "message": "must be an object"}
    ]


@pytest.mark.parametrize("metadata", [{}, {"plan": "gold"}])
async def test_who_has_nothing_kept_is_one_whom_we_have_never_met(service: Service, metadata: Json) -> None:
    assert gist(await service.start(USER, app_metadata=metadata)) == ("redirect", "never_verified")


async def test_of_a_user_on_file_nothing_is_believed(service: Service, clock: Clock) -> None:
    started = await service.start(USER)
    await service.finish(USER, started, **await service.visit(started, "denied"))
    before = await service.status(USER)
    assert gist(await service.start(USER, app_metadata=kept(clock))) == ("redirect", "not_verified")
    assert await service.status(USER) == before
    # Nor is anybody's identity changed.
    verified = await service.verify(USER)
    await service.start(USER, app_metadata=kept(clock))
    assert (await service.status(USER))["app_metadata"]["incode_identity_id"] == verified["verification"]["identity_id"]


@pytest.mark.parametrize("order", [{}, {"identity": True}])
async def test_who_was_reset_before_we_met_him_verifies_again(service: Service, clock: Clock, order: Json) -> None:
    await service.admin.post(f"/v1/users/{USER}/reset", json=order)
    decision = await service.start(USER, app_metadata=kept(clock))
    assert gist(decision) == ("redirect", "never_verified")
    assert decision["app_metadata"] == {}


async def test_an_erased_user_is_not_brought_back(service: Service, clock: Clock) -> None:
    await service.start(USER, app_metadata=kept(clock))
    await service.admin.delete(f"/v1/users/{USER}")
    assert gist(await service.start(USER, app_metadata=kept(clock))) == ("redirect", "never_verified")
    assert (await service.status(USER))["app_metadata"] == {}


async def test_a_sub_in_the_identitys_place_enrols_nobody(service: Service, clock: Clock) -> None:
    metadata = kept(clock, idv={"identity_id": SUB}, incode_identity_id=SUB)
    decision = await service.start(USER, app_metadata=metadata)
    assert gist(decision) == ("continue", "recently_verified")
    assert decision["app_metadata"]["incode_identity_id"] is None
    # Otherwise whoever comes back with a real identity would be refused for ever.
    assert gist(await service.verify(USER, force=True)) == ("continue", "verified")


@pytest.mark.parametrize(
    "change",
    [
        {"incode_idv_completed": "false"},
        {"incode_idv_completed": False},
        {"incode_idv_completed_at": "2099-01-01T00:00:00.000Z"},
        {"incode_idv": None},
    ],
)
async def test_what_does_not_count_leads_to_a_verification(service: Service, clock: Clock, change: Json) -> None:
    decision = await service.start(USER, app_metadata=kept(clock, **change))
    assert gist(decision) == ("redirect", "not_verified")
    assert decision["verification"]["status"] == "pending"


async def test_a_status_that_is_not_accepted_leads_to_a_verification(service: Service, clock: Clock) -> None:
    decision = await service.start(USER, app_metadata=kept(clock, idv={"auth_overall_status": "FAIL"}))
    assert gist(decision) == ("redirect", "not_verified")
    assert decision["app_metadata"]["incode_idv_error"] == "status_not_accepted"
    assert decision["app_metadata"]["incode_identity_id"] is None


async def test_a_verification_that_is_due_is_made_by_the_face_that_was_enrolled(service: Service, clock: Clock) -> None:
    metadata = kept(clock)
    clock.advance(hours=721)
    decision = await service.start(USER, email="ana@example.com", app_metadata=metadata)
    assert gist(decision) == ("redirect", "reverification_due")
    assert query_of(decision["redirect_url"])["login_hint"] == IDENTITY
    # Another person than the enrolled one does not count.
    finished = await service.finish(USER, decision, **await service.visit(decision, person="eve@example.com"))
    assert gist(finished) == ("continue", "identity_mismatch")


async def test_a_step_up_compares_with_the_identity_that_was_taken_over(service: Service, clock: Clock) -> None:
    decision = await service.start(USER, purpose="step_up", app_metadata=kept(clock))
    assert gist(decision) == ("redirect", "step_up")
    assert query_of(decision["redirect_url"])["login_hint"] == IDENTITY


async def test_while_the_provider_is_away_who_was_verified_still_goes_on(
    make_service: MakeService, clock: Clock
) -> None:
    service = await make_service(adopt_app_metadata="true", incode_server_url="http://127.0.0.1:9")
    assert gist(await service.start(USER, app_metadata=kept(clock))) == ("continue", "recently_verified")


async def test_of_many_starts_at_once_all_are_answered_by_one_record(service: Service, clock: Clock) -> None:
    first, second = kept(clock), kept(clock, idv={"pii": {"name": "Eve"}})
    decisions = await asyncio.gather(*[service.start(USER, app_metadata=kept_) for kept_ in [first, second] * 5])
    assert {gist(decision) for decision in decisions} == {("continue", "recently_verified")}
    assert len({str(decision["claims"]) for decision in decisions}) == 1
    assert len(await Tables(service).rows("SELECT * FROM users")) == 1


async def test_odd_numbers_and_texts_are_left_out_of_what_is_answered(service: Service, clock: Clock) -> None:
    body = f"""{{"user_id": "{USER}", "app_metadata": {{
        "incode_idv_completed": true, "incode_idv_completed_at": "{timestamp(clock())}",
        "incode_idv": {{"auth_overall_score": 1e999, "pii": {{"name": "\\ud800", "address": {{"x": 1e999}}}}}}}}}}"""
    answer = await service.idp.post("/v1/verifications", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200
    claim = answer.json()["claims"][CLAIM]
    assert (claim["auth_overall_score"], claim["pii"]) == (None, {})
