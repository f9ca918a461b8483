"""What the Action, or a mirror of ours, has kept: what of it is taken over, and what is not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.core import policy
from app.core.claims import app_metadata, without_tokens
from app.core.domain import Evidence, Failure, FailureCode, Reason, Rules, Tokens, UserRecord
from app.core.evidence import PII_CLAIMS
from app.core.failures import clean
from app.core.imports import MEANINGS, Trap, read_app_metadata
from tests.harness.nesting import nested

NOW = datetime(2026, 4, 7, 17, 28, 25, 150_000, tzinfo=UTC)
RULES = Rules()
SUB = "6a8b21f0c7d94e55"
INTERVIEW = "1d930fd42e7c5ad1866d837b"
IDENTITY = "2312120ecbbd3d7b78f3fdec"


def kept(*, idv: Mapping[str, Any] | None = None, **members: Any) -> dict[str, Any]:
    """What the Action keeps of a verification, with some members changed; `idv` changes those of `incode_idv`."""
    evidence = {
        "id_token": None,
        "access_token": None,
        "token_type": None,
        "expires_in": None,
        "interview_id": INTERVIEW,
        "identity_id": IDENTITY,
        "auth_overall_score": "100.0",
        "auth_overall_status": "OK",
        "pii": {"name": "Ana Ruiz"},
        "userinfo": {"sub": SUB, "name": "Ana Ruiz"},
        **(idv or {}),
    }
    return {
        "incode_idv": evidence,
        "incode_idv_completed": True,
        "incode_idv_completed_at": "2026-04-01T12:00:00.000Z",
        "incode_idv_error": None,
        "incode_interview_id": INTERVIEW,
        "incode_identity_id": IDENTITY,
        **members,
    }


def read(metadata: Mapping[str, Any], **rules: Any) -> tuple[UserRecord, set[Trap]]:
    came = read_app_metadata(metadata, NOW, Rules(**rules))
    assert came.record is not None
    return came.record, set(came.traps)


def stands(record: UserRecord) -> bool:
    return policy.standing(record, NOW, RULES) is Reason.RECENTLY_VERIFIED


def test_who_was_verified_stays_verified_with_date_identity_and_personal_data() -> None:
    record, traps = read(kept())
    assert record == UserRecord(
        completed=True,
        completed_at=datetime(2026, 4, 1, 12, tzinfo=UTC),
        interview_id=INTERVIEW,
        identity_id=IDENTITY,
        evidence=Evidence(INTERVIEW, IDENTITY, "100.0", "OK", {"name": "Ana Ruiz"}, {"sub": SUB, "name": "Ana Ruiz"}),
    )
    assert stands(record)
    assert traps == set()


@pytest.mark.parametrize("metadata", [{}, {"plan": "gold"}, {"incode": 1}])
def test_who_was_never_asked_has_no_record(metadata: dict[str, Any]) -> None:
    assert read_app_metadata(metadata, NOW, RULES).record is None


def test_others_members_are_ignored() -> None:
    assert read({**kept(), "plan": "gold", "roles": ["x"]}) == read(kept())


@pytest.mark.parametrize(
    ("metadata", "trap"),
    [
        (kept(idv={"identity_id": SUB}, incode_identity_id=SUB), Trap.IDENTITY_FROM_SUB),
        (kept(idv={"identity_id": INTERVIEW}, incode_identity_id=INTERVIEW), Trap.IDENTITY_FROM_SUB),
        (
            kept(
                idv={"identity_id": "other", "userinfo": {"sub": SUB, "interview_id": "other"}},
                incode_identity_id="other",
            ),
            Trap.IDENTITY_FROM_SUB,
        ),
        # Userinfo is too large to be kept, but its subject is still read.
        (
            kept(idv={"identity_id": SUB, "userinfo": {"sub": SUB, "x": "y" * 20_000}}, incode_identity_id=SUB),
            Trap.IDENTITY_FROM_SUB,
        ),
        (kept(idv={"identity_id": None, "userinfo": {}}, incode_identity_id="an older sub"), Trap.IDENTITY_UNCONFIRMED),
        (kept(incode_identity_id=SUB), Trap.IDENTITY_FROM_SUB),
        (kept(incode_identity_id="another"), Trap.IDENTITY_UNCONFIRMED),
    ],
)
def test_an_id_of_one_interview_enrols_nobody_but_the_verification_stands(metadata: dict[str, Any], trap: Trap) -> None:
    record, traps = read(metadata)
    assert trap in traps
    assert record.identity_id is None
    assert stands(record)


def test_a_sub_is_not_told_as_an_identity_in_the_claim_either() -> None:
    record, _ = read(kept(idv={"identity_id": SUB}, incode_identity_id=SUB))
    assert record.evidence
    assert record.evidence.identity_id is None


@pytest.mark.parametrize("value", ["false", "true", 1, 0, "", [], {}])
def test_only_true_is_completed(value: Any) -> None:
    record, traps = read(kept(incode_idv_completed=value))
    assert traps == {Trap.NOT_TRUE_OR_FALSE}
    assert record.completed is False
    assert record.identity_id == IDENTITY
    assert not stands(record)


def test_a_verification_that_was_not_completed_is_none() -> None:
    assert policy.standing(read(kept(incode_idv_completed=False))[0], NOW, RULES) is Reason.NOT_VERIFIED
    assert read(kept(incode_idv_completed=False))[1] == set()


@pytest.mark.parametrize(
    ("at", "trap"),
    [
        ("2026-04-07T17:29:26.000Z", Trap.TIME_IN_THE_FUTURE),
        ("2099-01-01T00:00:00.000Z", Trap.TIME_IN_THE_FUTURE),
        ("yesterday", Trap.TIME_UNREADABLE),
        (1_775_000_000_000, Trap.TIME_UNREADABLE),
        ("0001-01-01T00:00:00+14:00", Trap.TIME_UNREADABLE),
        ("", Trap.TIME_UNREADABLE),
        (None, Trap.TIME_UNREADABLE),
    ],
)
def test_a_verification_without_a_time_that_has_come_does_not_count_then_or_later(at: Any, trap: Trap) -> None:
    record, traps = read(kept(incode_idv_completed_at=at))
    assert traps == {trap}
    assert (record.completed, record.completed_at) == (False, None)
    assert record.identity_id == IDENTITY


@pytest.mark.parametrize(
    ("at", "means"),
    [
        ("2026-04-07T17:29:20.000Z", datetime(2026, 4, 7, 17, 29, 20, tzinfo=UTC)),
        ("2026-04-01T12:00:00.123456+02:00", datetime(2026, 4, 1, 10, 0, 0, 123_000, tzinfo=UTC)),
        ("2026-04-01T12:00:00", datetime(2026, 4, 1, 12, tzinfo=UTC)),
        ("2026-04-01", datetime(2026, 4, 1, tzinfo=UTC)),
    ],
)
def test_times_are_read_in_utc_and_milliseconds(at: str, means: datetime) -> None:
    assert read(kept(incode_idv_completed_at=at))[0].completed_at == means


@pytest.mark.parametrize("status", ["FAIL", "WARN", "ok", "", False, ["OK"]])
def test_a_status_that_is_not_accepted_counts_not_and_enrols_nobody(status: Any) -> None:
    record, traps = read(kept(idv={"auth_overall_status": status}))
    assert Trap.STATUS_NOT_ACCEPTED in traps
    failure = Failure(FailureCode.STATUS_NOT_ACCEPTED)
    assert record == UserRecord(completed=False, interview_id=INTERVIEW, failure=failure)


def test_a_status_counts_by_the_settings() -> None:
    assert stands(read(kept(idv={"auth_overall_status": "WARN"}), accepted_statuses=frozenset({"OK", "WARN"}))[0])
    without = kept(idv={"auth_overall_status": None})
    assert stands(read(without)[0])
    record, traps = read(without, require_status=True)
    assert traps == {Trap.STATUS_MISSING}
    assert record == UserRecord(completed=False, interview_id=INTERVIEW, failure=Failure(FailureCode.STATUS_MISSING))


@pytest.mark.parametrize("evidence", [None, "gone", [], 7])
def test_a_completion_without_what_the_provider_said_does_not_count(evidence: Any) -> None:
    record, traps = read({**kept(), "incode_idv": evidence})
    assert Trap.EVIDENCE_MISSING in traps
    assert (record.completed, record.evidence, record.identity_id) == (False, None, None)


TOKENS: dict[str, Any] = {"id_token": "ey.id", "access_token": "at", "token_type": "Bearer", "expires_in": 3600}


def test_tokens_are_left_out_unless_they_are_kept_at_all() -> None:
    record, traps = read(kept(idv=TOKENS))
    assert traps == {Trap.TOKENS_LEFT_OUT}
    assert record.evidence
    assert record.evidence.tokens is None
    record, traps = read(kept(idv=TOKENS), store_tokens=True)
    assert traps == set()
    assert record.evidence
    assert record.evidence.tokens == Tokens(**TOKENS)


def test_a_userinfo_of_over_16_kilobytes_is_left_out() -> None:
    record, traps = read(kept(idv={"userinfo": {"sub": SUB, "x": "y" * 17_000}}))
    assert traps == {Trap.USERINFO_LEFT_OUT}
    assert record.evidence
    assert record.evidence.userinfo is None


@pytest.mark.parametrize(("levels", "traps"), [(31, set()), (32, {Trap.USERINFO_LEFT_OUT})])
def test_a_userinfo_of_more_than_32_levels_is_left_out(levels: int, traps: set[Trap]) -> None:
    for deep in (nested(levels), nested(levels, name="a")):
        record, found = read(kept(idv={"userinfo": {"sub": SUB, "x": deep}}))
        assert found == traps
        assert record.evidence
        assert (record.evidence.userinfo is None) is bool(traps)


@pytest.mark.parametrize(
    "odd",
    [
        {"interview_id": "a\nb"},
        {"interview_id": 7},
        {"interview_id": "x" * 256},
        {"auth_overall_score": {"of": 1}},
        {"auth_overall_score": float("inf")},
        {"pii": {"name": "\ud800"}},
        {"pii": {"name": "Ana", "shoe_size": 41}},
        {"pii": {"name": "x" * 5000}},
        {"pii": {"address": nested(33)}},
        {"pii": "Ana"},
        {"userinfo": "Ana"},
    ],
)
def test_what_no_provider_sends_is_left_out_and_the_rest_stands(odd: dict[str, Any]) -> None:
    record, traps = read(kept(idv=odd))
    assert traps == {Trap.VALUE_LEFT_OUT}
    assert stands(record)
    json.dumps(app_metadata(record), allow_nan=False, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        ("no_code_returned", Failure(FailureCode.NO_CODE_RETURNED)),
        ("access_denied: The person said no", Failure(FailureCode.ACCESS_DENIED, "The person said no")),
        ("access_denied: undefined", Failure(FailureCode.ACCESS_DENIED)),
        ("access_denied: a\nb", Failure(FailureCode.ACCESS_DENIED, "a b")),
        (
            'Incode token exchange failed (400): {"error":"invalid_grant"}',
            Failure(FailureCode.TOKEN_EXCHANGE_FAILED, 'Incode token exchange failed (400): {"error":"invalid_grant"}'),
        ),
        ("fetch failed", Failure(FailureCode.AUTHORIZATION_ERROR, "fetch failed")),
        ("telepathy: none", Failure(FailureCode.AUTHORIZATION_ERROR, "telepathy: none")),
        ("", None),
        (7, None),
    ],
)
def test_the_actions_error_becomes_a_failure_of_the_catalogue(text: Any, failure: Failure | None) -> None:
    record, traps = read({"incode_idv_completed": False, "incode_idv_error": text})
    assert record == UserRecord(completed=False, failure=failure)
    assert traps == set()


def test_a_mirror_that_drops_what_is_null_is_read_as_the_whole() -> None:
    mirrored = {name: value for name, value in app_metadata(read(kept())[0]).items() if value is not None}
    assert read(mirrored) == read(kept())


def test_each_trap_has_a_meaning() -> None:
    assert set(MEANINGS) == set(Trap)


IDS = st.text(st.characters(codec="utf-8", categories=["L", "N"]), min_size=1, max_size=40)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
).filter(lambda value: "\\ud" not in json.dumps(value))
SCORES = (
    st.none()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=40)
)
MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2026, 4, 7)).map(  # noqa: DTZ001  given their zone below
    lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000, tzinfo=UTC)
)
FAILURES = st.builds(
    Failure,
    st.sampled_from(FailureCode),
    st.none() | st.text(max_size=300).map(clean).filter(lambda text: text != "undefined"),
)
EVIDENCE = st.builds(
    Evidence,
    interview_id=st.none() | IDS,
    identity_id=st.none() | IDS,
    auth_overall_score=SCORES,
    auth_overall_status=st.none() | st.just("OK"),
    pii=st.dictionaries(st.sampled_from(PII_CLAIMS), JSON.filter(lambda value: value not in (None, "")), max_size=4),
    userinfo=st.none() | st.dictionaries(IDS, JSON, min_size=1, max_size=4),
    tokens=st.none()
    | st.builds(Tokens, id_token=IDS, access_token=IDS, token_type=IDS, expires_in=st.none() | st.integers()),
)


@st.composite
def records(draw: st.DrawFn) -> UserRecord:
    """Records as the service writes them: the enrolled identity is the evidence's, and no id of one interview."""
    evidence = draw(st.none() | EVIDENCE)
    completed = draw(st.sampled_from([True, False, None] if evidence else [False, None]))
    interview_id = draw(st.none() | IDS)
    if evidence:
        userinfo = evidence.userinfo or {}
        assume(evidence.identity_id not in {interview_id, evidence.interview_id, str(userinfo.get("sub"))} - {None})
    return UserRecord(
        completed=completed,
        completed_at=draw(MOMENTS if completed else st.none() | MOMENTS),
        interview_id=interview_id,
        identity_id=draw(st.sampled_from([None, evidence.identity_id])) if evidence else None,
        failure=draw(st.none() | FAILURES),
        evidence=evidence,
    )


@given(record=records())
def test_what_goes_out_and_comes_in_again_is_the_same_record(record: UserRecord) -> None:
    came = read_app_metadata(json.loads(json.dumps(app_metadata(record))), NOW, Rules(store_tokens=True))
    assert came.record == record
    assert came.traps == frozenset()


@given(record=records())
def test_a_mirror_without_tokens_is_the_record_without_tokens(record: UserRecord) -> None:
    came = read_app_metadata(without_tokens(app_metadata(record)), NOW, Rules())
    assert came.record is not None
    assert app_metadata(came.record) == without_tokens(app_metadata(record))
    assert came.traps == frozenset()


MEMBER_VALUES = JSON | st.sampled_from([True, "2026-04-01T12:00:00Z", float("nan"), "\ud800", INTERVIEW])


@given(
    metadata=st.fixed_dictionaries({}, optional=dict.fromkeys(kept(), MEMBER_VALUES)),
    idv=st.fixed_dictionaries({}, optional=dict.fromkeys(kept()["incode_idv"], MEMBER_VALUES)),
)
def test_whatever_was_kept_gives_a_record_that_can_be_said_again(metadata: dict[str, Any], idv: dict[str, Any]) -> None:
    came = read_app_metadata({**metadata, "incode_idv": idv}, NOW, RULES)
    assert came.record is not None
    json.dumps(app_metadata(came.record), allow_nan=False, ensure_ascii=False).encode()
    if came.record.completed:
        assert came.record.completed_at is not None
        assert came.record.completed_at <= NOW + timedelta(seconds=RULES.clock_skew_seconds)
        assert came.record.evidence is not None
