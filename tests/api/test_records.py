"""What is kept about a user, what is handed out of it, and how an administrator takes it away."""

import json
from typing import Any
from urllib.parse import quote

import pytest

from app.sandbox import OUTCOMES, Outcome, Sandbox
from tests.conftest import MakeService
from tests.harness.clock import Clock
from tests.harness.nesting import nested
from tests.harness.service import CLAIM, EMAIL, USER, Json, Service, enrol, gist, problem, query_of
from tests.harness.tables import Tables, on_sqlite_only
from tests.harness.tampering import TamperedProvider

EVE = "eve@example.com"
ALL_SCOPES = "openid profile email phone address id_attestation identity_assurance"
PII: Json = {
    "name": "Ana Torres",
    "given_name": "Ana",
    "family_name": "Torres",
    "birthdate": "1990-02-28",
    "email": EMAIL,
    "phone_number": "+34600555099",
    "address": {"locality": "Sevilla", "country": "ES"},
}
TOKENS = ("id_token", "access_token", "token_type", "expires_in")
RECORD = (
    "incode_idv_completed",
    "incode_idv_completed_at",
    "incode_interview_id",
    "incode_identity_id",
    "incode_idv_error",
    "incode_idv",
)


def without(*names: str) -> Any:
    return lambda claims: {name: value for name, value in claims.items() if name not in names}


# --- The record and the claim ---


async def test_the_record_and_the_claim_of_a_success(make_service: MakeService, provider: TamperedProvider) -> None:
    service = await make_service(scopes=ALL_SCOPES)
    sent: list[Json] = []

    def ana(claims: Json) -> Json:
        sent.append({**claims, **PII})
        return sent[-1]

    provider.alter("userinfo", ana)

    decision = await service.verify(USER)

    interview, identity = decision["verification"]["interview_id"], decision["verification"]["identity_id"]
    assert interview == sent[0]["interview_id"]
    assert identity == sent[0]["identity_id"]
    claim = {
        "completed": True,
        "completed_at": "2026-04-07T17:28:25.150Z",
        "interview_id": interview,
        "identity_id": identity,
        "auth_overall_score": "100.0",
        "auth_overall_status": "OK",
        "pii": PII,
    }
    assert decision["claims"] == {CLAIM: claim}
    assert decision["app_metadata"] == {
        "incode_idv_completed": True,
        "incode_idv_completed_at": "2026-04-07T17:28:25.150Z",
        "incode_interview_id": interview,
        "incode_identity_id": identity,
        "incode_idv_error": None,
        "incode_idv": {
            "interview_id": interview,
            "identity_id": identity,
            "auth_overall_score": "100.0",
            "auth_overall_status": "OK",
            "pii": PII,
            "userinfo": sent[0],
        },
    }
    assert {"id_attestation", "verified_claims"} <= sent[0].keys()
    assert (await service.start(USER))["claims"] == decision["claims"]
    status = await service.status(USER)
    assert (status["claims"], status["app_metadata"]) == (decision["claims"], decision["app_metadata"])


async def test_every_key_of_the_record_is_there_after_a_failure_too(service: Service) -> None:
    metadata = (await service.verify(USER, "denied"))["app_metadata"]

    assert metadata == {
        **dict.fromkeys(RECORD),
        "incode_idv_completed": False,
        "incode_idv_error": "access_denied: The verification was refused",
    }


async def test_personal_data_is_what_the_scopes_returned(make_service: MakeService) -> None:
    service = await make_service(scopes="openid")

    decision = await service.verify(USER, email=EMAIL)

    assert decision["claims"][CLAIM]["pii"] == {}
    assert EMAIL not in str(decision)


async def test_personal_data_that_is_empty_is_left_out(service: Service, provider: TamperedProvider) -> None:
    provider.alter("userinfo", lambda claims: {**claims, "name": "", "birthdate": None, "given_name": "Ana"})

    pii = (await service.verify(USER, email=EMAIL))["claims"][CLAIM]["pii"]

    assert (pii["given_name"], pii["email"]) == ("Ana", EMAIL)
    assert not {"name", "birthdate"} & pii.keys()


@on_sqlite_only
@pytest.mark.parametrize("score", [0, 0.0, 100, 99.5, "0", "100.0", "high", None], ids=repr)
async def test_a_score_stays_as_the_provider_sent_it(
    service: Service, monkeypatch: pytest.MonkeyPatch, score: Any
) -> None:
    scored = Outcome("scored", "", "", id_token=lambda claims: {**claims, "auth_overall_score": score})
    monkeypatch.setitem(OUTCOMES, "scored", scored)

    decision = await service.verify(USER, "scored")

    kept = (
        decision["claims"][CLAIM]["auth_overall_score"],
        decision["app_metadata"]["incode_idv"]["auth_overall_score"],
        decision["verification"]["auth_overall_score"],
        (await service.status(USER))["claims"][CLAIM]["auth_overall_score"],
    )
    assert kept == (score,) * 4
    assert {type(value) for value in kept} == {type(score)}


async def test_ids_that_the_id_token_lacks_come_from_userinfo(
    service: Service, provider: TamperedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    terse = Outcome("terse", "", "", id_token=without("interview_id", "identity_id"))
    monkeypatch.setitem(OUTCOMES, "terse", terse)
    provider.alter("userinfo", lambda claims: {**claims, "interview_id": "of-userinfo", "identity_id": "person-7"})

    told = await service.verify(USER)
    terse_one = await service.verify("auth0|terse", "terse")

    assert told["app_metadata"]["incode_identity_id"] != "person-7"
    assert told["app_metadata"]["incode_interview_id"] != "of-userinfo"
    assert terse_one["app_metadata"]["incode_identity_id"] == "person-7"
    assert terse_one["app_metadata"]["incode_interview_id"] == "of-userinfo"


async def test_the_claim_without_personal_data(make_service: MakeService) -> None:
    service = await make_service(claim_include_pii=False)

    decision = await service.verify(USER, email=EMAIL)

    assert decision["app_metadata"]["incode_idv"]["pii"]["email"] == EMAIL
    status = await service.status(USER)
    for claims in (decision["claims"], (await service.start(USER))["claims"], status["claims"]):
        assert claims[CLAIM]["pii"] == {}
        assert claims[CLAIM]["identity_id"]
        assert EMAIL not in str(claims)


async def test_the_claim_under_another_name(make_service: MakeService) -> None:
    name = "https://acme.example/verified"
    service = await make_service(claim_namespace=name)

    decision = await service.verify(USER)

    assert list(decision["claims"]) == [name]
    assert list((await service.start(USER))["claims"]) == [name]
    assert list((await service.status(USER))["claims"]) == [name]


@pytest.mark.parametrize(("size", "kept"), [(16 * 1024, True), (16 * 1024 + 1, False), (500_000, False)])
async def test_userinfo_is_left_out_when_it_is_over_16_kilobytes(
    service: Service, provider: TamperedProvider, size: int, *, kept: bool
) -> None:
    def padded(claims: Json) -> Json:
        empty = len(json.dumps({**claims, "padding": ""}, separators=(",", ":"), ensure_ascii=False).encode())
        return {**claims, "padding": "x" * (size - empty)}

    provider.alter("userinfo", padded)

    decision = await service.verify(USER, email=EMAIL)

    assert gist(decision) == ("continue", "verified")
    on_file = decision["app_metadata"]["incode_idv"]
    assert bool(on_file.get("userinfo")) is kept
    assert on_file["pii"]["email"] == EMAIL
    assert (await service.status(USER))["app_metadata"]["incode_idv"] == on_file
    assert "padding" not in str(decision["claims"])


@pytest.mark.parametrize(("levels", "kept"), [(31, True), (32, False), (300, False)])
@pytest.mark.parametrize("name", ["other", "address"])
async def test_what_is_nested_more_than_32_levels_deep_is_left_out(
    service: Service, provider: TamperedProvider, name: str, levels: int, *, kept: bool
) -> None:
    deep = nested(levels if name == "other" else levels + 1)
    provider.alter("userinfo", lambda claims: {**claims, name: deep})

    decision = await service.verify(USER, email=EMAIL)

    assert gist(decision) == ("continue", "verified")
    on_file = decision["app_metadata"]["incode_idv"]
    assert ("userinfo" in on_file) is (kept and name == "other")
    assert on_file["pii"]["email"] == EMAIL
    assert ("address" in on_file["pii"]) is (kept and name == "address")
    assert (await service.status(USER))["app_metadata"]["incode_idv"] == on_file
    assert gist(await service.start(USER)) == ("continue", "recently_verified")
    assert (await service.admin.post(f"/v1/users/{USER}/reset")).status_code == 200


# --- Tokens ---


def tokens_in(answer: Json) -> set[str]:
    return set(TOKENS).intersection(answer["app_metadata"]["incode_idv"])


async def test_tokens_are_not_kept_unless_asked_for(service: Service) -> None:
    await service.verify(USER)

    for client in (service.idp, service.admin):
        assert tokens_in((await client.get(f"/v1/users/{USER}")).json()) == set()


async def test_kept_tokens_are_shown_to_administrators_alone(
    make_service: MakeService, provider: TamperedProvider
) -> None:
    service = await make_service(store_tokens=True)
    issued: list[Json] = []

    def remember(answer: Json) -> Json:
        issued.append(answer)
        return answer

    provider.alter("token", remember)
    started = await service.start(USER)
    body = {"user_id": USER, "verification_id": started["verification"]["id"], **await service.visit(started)}

    for client, expected in ((service.idp, set()), (service.admin, set(TOKENS))):
        answers = [
            await client.post("/v1/callback", json=body),
            await client.get(f"/v1/users/{USER}"),
            await client.post("/v1/verifications", json={"user_id": USER}),
            await client.post("/v1/verifications", json={"user_id": USER, "force": True}),
        ]
        for answer in answers:
            assert answer.status_code == 200
            assert tokens_in(answer.json()) == expected
            shown = issued[0]["id_token"] in answer.text, issued[0]["access_token"] in answer.text
            assert shown == (bool(expected), bool(expected))
            assert "token" not in str(answer.json()["claims"])
    on_file = (await service.admin.get(f"/v1/users/{USER}")).json()["app_metadata"]["incode_idv"]
    assert {name: on_file[name] for name in TOKENS} == {name: issued[0][name] for name in TOKENS}
    reset = await service.admin.post(f"/v1/users/{USER}/reset")
    assert tokens_in(reset.json()) == set(TOKENS)


@pytest.mark.parametrize("levels", [1, 256, 600])
async def test_a_lifetime_of_the_tokens_that_is_no_number_is_not_kept(
    make_service: MakeService, provider: TamperedProvider, levels: int
) -> None:
    service = await make_service(store_tokens=True)
    provider.alter("token", lambda answer: {**answer, "expires_in": nested(levels)})

    assert gist(await service.verify(USER)) == ("continue", "verified")

    on_file = (await service.admin.get(f"/v1/users/{USER}")).json()["app_metadata"]["incode_idv"]
    assert on_file["access_token"]
    assert on_file["expires_in"] is None


async def test_tokens_that_were_kept_are_not_shown_once_the_setting_is_off(make_service: MakeService) -> None:
    keeping = await make_service(store_tokens=True)
    await keeping.verify(USER)

    service = await make_service(store_tokens=False)

    assert tokens_in((await service.admin.get(f"/v1/users/{USER}")).json()) == set()


# --- When a verification counts ---


@pytest.mark.parametrize(
    ("statuses", "outcome", "reason"),
    [
        ("OK", "warn", "status_not_accepted"),
        ("OK,WARN", "warn", "verified"),
        ("OK,WARN", "verified", "verified"),
        ("OK,WARN", "failed", "status_not_accepted"),
        ("WARN", "verified", "status_not_accepted"),
    ],
)
async def test_accepted_statuses(make_service: MakeService, statuses: str, outcome: str, reason: str) -> None:
    service = await make_service(accepted_statuses=statuses)

    decision = await service.verify(USER, outcome)

    assert decision["reason"] == reason
    assert (await service.status(USER))["verified"] is (reason == "verified")
    if (outcome, reason) == ("warn", "verified"):
        claim = decision["claims"][CLAIM]
        assert (claim["auth_overall_status"], claim["auth_overall_score"]) == ("WARN", "71.3")


@on_sqlite_only
@pytest.mark.parametrize("status", ["ok", " OK", "OK ", "", "OK,WARN", ["OK"], True, {"OK": "OK"}], ids=repr)
async def test_a_status_is_compared_exactly(service: Service, monkeypatch: pytest.MonkeyPatch, status: Any) -> None:
    odd = Outcome("odd", "", "", id_token=lambda claims: {**claims, "auth_overall_status": status})
    monkeypatch.setitem(OUTCOMES, "odd", odd)

    decision = await service.verify(USER, "odd")

    assert gist(decision) == ("continue", "status_not_accepted")
    assert (await service.status(USER))["verified"] is False


@pytest.mark.parametrize(("required", "reason"), [(False, "verified"), (True, "status_missing")])
async def test_a_verification_without_a_status(make_service: MakeService, *, required: bool, reason: str) -> None:
    service = await make_service(require_status=required)

    decision = await service.verify(USER, "no-status")

    assert decision["reason"] == reason
    if not required:
        claim = decision["claims"][CLAIM]
        assert (claim["auth_overall_status"], claim["auth_overall_score"]) == (None, None)
    assert (await service.verify("auth0|bob"))["reason"] == "verified"


async def test_an_identity_may_change_where_that_is_allowed(make_service: MakeService, clock: Clock) -> None:
    service = await make_service(allow_identity_change=True)
    first = await enrol(service, clock)

    second = await service.verify(USER, person=EVE, force=True)

    assert gist(second) == ("continue", "verified")
    enrolled = second["app_metadata"]["incode_identity_id"]
    assert enrolled == second["claims"][CLAIM]["identity_id"] != first["claims"][CLAIM]["identity_id"]
    assert query_of((await service.start(USER, force=True))["redirect_url"])["login_hint"] == enrolled


async def test_a_verification_without_an_identity_counts_but_enrols_nobody(
    service: Service, sandbox: Sandbox, clock: Clock
) -> None:
    decision = await service.verify(USER, "no-identity")

    assert gist(decision) == ("continue", "verified")
    assert decision["claims"][CLAIM]["identity_id"] is None
    assert decision["claims"][CLAIM]["interview_id"]
    assert decision["app_metadata"]["incode_identity_id"] is None
    clock.advance(minutes=1)
    # The interview's sub is nobody's identity: it must not become a hint.
    assert "login_hint" not in query_of((await service.start(USER, force=True))["redirect_url"])
    enrolled = await service.verify(USER, person=EMAIL, force=True)
    assert enrolled["app_metadata"]["incode_identity_id"] == enrolled["verification"]["identity_id"] is not None


# --- The status route ---


def verdict(status: Json) -> tuple[bool, bool, str, str | None]:
    return status["verified"], status["needs_verification"], status["reason"], status["reverify_at"]


async def test_the_status_of_a_user_from_first_to_last(service: Service, clock: Clock, sandbox: Sandbox) -> None:
    unknown = await service.status(USER)
    assert unknown == {
        "user_id": USER,
        "verified": False,
        "needs_verification": True,
        "reason": "never_verified",
        "reverify_at": None,
        "claims": {},
        "app_metadata": {},
    }
    await service.start(USER)
    assert await service.status(USER) == unknown

    await service.verify(USER, "denied")
    assert verdict(await service.status(USER)) == (False, True, "not_verified", None)
    clock.advance(minutes=1)
    finished = await service.verify(USER)
    asked = len(sandbox.requests)
    status = await service.status(USER)
    assert verdict(status) == (True, False, "recently_verified", "2026-05-07T17:29:25.150Z")
    assert (status["claims"], status["app_metadata"]) == (finished["claims"], finished["app_metadata"])

    clock.advance(hours=719, minutes=59, seconds=59.999)
    assert await service.status(USER) == status
    clock.advance(milliseconds=1)
    stale = await service.status(USER)
    assert verdict(stale) == (False, True, "reverification_due", None)
    assert stale["claims"] == {}
    assert stale["app_metadata"] == finished["app_metadata"]
    assert len(sandbox.requests) == asked


async def test_a_window_without_end_has_no_end_in_the_status(make_service: MakeService) -> None:
    service = await make_service(reverification_hours=0)
    await service.verify(USER)

    assert verdict(await service.status(USER)) == (True, False, "recently_verified", None)


async def test_a_claim_that_was_taken_away_is_not_handed_out(service: Service, clock: Clock) -> None:
    await enrol(service, clock)
    await service.verify(USER, "denied", force=True)

    status = await service.status(USER)

    assert verdict(status) == (False, True, "not_verified", None)
    assert status["claims"] == {}
    assert (await service.start(USER))["claims"] == {}


ODD_USER_IDS = (
    "samlp|tenant|http://x/y",
    "a/reset",
    "ana+1@example.com",
    "a b?c#d%2Fe&f",
    "日本|ñandú",
    "/",
    "%",
    "'\";--",
)


@pytest.mark.parametrize("user_id", ODD_USER_IDS)
async def test_user_ids_may_hold_anything(service: Service, user_id: str) -> None:
    path = f"/v1/users/{quote(user_id, safe='')}"
    await service.verify("auth0|somebody-else")
    assert (await service.admin.get(path)).json()["reason"] == "never_verified"

    decision = await service.verify(user_id)

    assert decision["verification"]["user_id"] == user_id
    status = (await service.admin.get(path)).json()
    assert (status["user_id"], status["claims"]) == (user_id, decision["claims"])
    reset = await service.admin.post(path + "/reset")
    assert (reset.status_code, reset.json()["user_id"], reset.json()["reason"]) == (200, user_id, "not_verified")
    assert (await service.admin.delete(path)).status_code == 204
    assert (await service.admin.get(path)).json()["reason"] == "never_verified"
    assert (await service.status("auth0|somebody-else"))["verified"] is True


# --- Reset and erasure ---


async def test_a_reset_makes_the_next_login_verify_the_same_person_again(service: Service, clock: Clock) -> None:
    first = await enrol(service, clock)

    reset = await service.admin.post(f"/v1/users/{USER}/reset")

    assert reset.status_code == 200
    status = reset.json()
    assert verdict(status) == (False, True, "not_verified", None)
    assert status["claims"] == {}
    cleared = {"incode_idv_completed": None, "incode_idv_completed_at": None}
    assert status["app_metadata"] == {**first["app_metadata"], **cleared}
    assert await service.status(USER) == status
    started = await service.start(USER)
    assert gist(started) == ("redirect", "not_verified")
    assert query_of(started["redirect_url"])["login_hint"] == first["verification"]["identity_id"]
    another = await service.finish(USER, started, **await service.visit(started, person=EVE))
    assert gist(another) == ("continue", "identity_mismatch")
    clock.advance(minutes=1)
    assert gist(await service.verify(USER)) == ("continue", "verified")


async def test_a_reset_of_the_identity_lets_another_person_enrol(service: Service, clock: Clock) -> None:
    first = await enrol(service, clock)

    reset = await service.admin.post(f"/v1/users/{USER}/reset", json={"identity": True})

    status = reset.json()
    assert verdict(status) == (False, True, "not_verified", None)
    assert status["app_metadata"] == dict.fromkeys(RECORD)
    assert first["verification"]["identity_id"] not in reset.text
    assert EMAIL not in reset.text
    started = await service.start(USER)
    assert "login_hint" not in query_of(started["redirect_url"])
    enrolled = await service.finish(USER, started, **await service.visit(started, person=EVE))
    assert gist(enrolled) == ("continue", "verified")
    assert enrolled["app_metadata"]["incode_identity_id"] != first["verification"]["identity_id"]


async def test_a_reset_touches_nobody_else(service: Service, clock: Clock) -> None:
    await enrol(service, clock)
    await enrol(service, clock, "auth0|bob", "bob@example.com")
    before = await service.status("auth0|bob")

    await service.admin.post(f"/v1/users/{USER}/reset", json={"identity": True})
    await service.admin.delete(f"/v1/users/{USER}")

    assert await service.status("auth0|bob") == before
    assert before["verified"] is True


@pytest.mark.parametrize("identity", [False, True])
async def test_a_reset_of_a_user_we_have_never_met_leaves_no_trace(service: Service, *, identity: bool) -> None:
    reset = await service.admin.post(f"/v1/users/{USER}/reset", json={"identity": identity})

    assert reset.status_code == 200
    assert reset.json()["reason"] == "never_verified"
    assert reset.json()["app_metadata"] == {}
    assert await Tables(service).user(USER) is None
    assert (await service.start(USER))["reason"] == "never_verified"


@pytest.mark.parametrize(
    ("content", "forgets"),
    [(None, False), (b"", False), (b"{}", False), (b'{"identity": false}', False), (b'{"identity": true}', True)],
)
async def test_the_forms_of_a_resets_body(
    service: Service, clock: Clock, content: bytes | None, *, forgets: bool
) -> None:
    await enrol(service, clock)
    headers = {} if content is None else {"Content-Type": "application/json"}

    reset = await service.admin.post(f"/v1/users/{USER}/reset", content=content, headers=headers)

    assert reset.status_code == 200
    assert (reset.json()["app_metadata"]["incode_identity_id"] is None) is forgets
    assert reset.json()["verified"] is False


@pytest.mark.parametrize(
    "content",
    [b'{"identity": "true"}', b'{"identity": 1}', b'{"identity": null}', b'{"identities": true}', b"[]", b"true", b"{"],
)
async def test_a_reset_that_is_not_understood_resets_nothing(service: Service, clock: Clock, content: bytes) -> None:
    await enrol(service, clock)
    before = await service.status(USER)

    answer = await service.admin.post(
        f"/v1/users/{USER}/reset", content=content, headers={"Content-Type": "application/json"}
    )

    problem(answer, 422, "validation_error")
    assert await service.status(USER) == before


async def test_an_erased_user_is_one_we_have_never_met(service: Service, clock: Clock) -> None:
    await enrol(service, clock)
    await service.verify(USER, "denied", force=True)
    await service.start(USER, purpose="step_up")

    erased = await service.admin.delete(f"/v1/users/{USER}")

    assert (erased.status_code, erased.content) == (204, b"")
    tables = Tables(service)
    assert (await tables.user(USER), await tables.attempts(USER)) == (None, [])
    status = await service.status(USER)
    assert (status["reason"], status["claims"], status["app_metadata"]) == ("never_verified", {}, {})
    started = await service.start(USER)
    assert gist(started) == ("redirect", "never_verified")
    assert "login_hint" not in query_of(started["redirect_url"])


async def test_a_user_we_have_never_met_can_be_erased(service: Service) -> None:
    for _ in range(2):
        assert (await service.admin.delete(f"/v1/users/{USER}")).status_code == 204
    assert await Tables(service).user(USER) is None


async def test_an_erased_users_failures_do_not_count(make_service: MakeService) -> None:
    service = await make_service(attempt_limit=1)
    await service.verify(USER, "denied")
    assert (await service.start(USER))["reason"] == "too_many_attempts"

    await service.admin.delete(f"/v1/users/{USER}")

    assert gist(await service.start(USER)) == ("redirect", "never_verified")
