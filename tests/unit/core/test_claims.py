from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from app.core.claims import app_metadata, timestamp, token_claims, without_tokens
from app.core.domain import Evidence, Failure, FailureCode, Purpose, Reason, Rules, Tokens, UserRecord

AT = datetime(2026, 4, 7, 17, 28, 25, 150_000, tzinfo=UTC)
TOKENS = Tokens(id_token="the id token", access_token="the access token", token_type="Bearer", expires_in=3600)
EVIDENCE = Evidence(
    "int_1", "ana", "100.0", "OK", {"name": "Ana", "address": {"country": "MX"}}, {"sub": "int_1", "raw": 1}, TOKENS
)
RECORD = UserRecord(completed=True, completed_at=AT, interview_id="int_1", identity_id="ana", evidence=EVIDENCE)
NAMESPACE = "https://incode.com/idv"
EVIDENCE_KEYS = ["interview_id", "identity_id", "auth_overall_score", "auth_overall_status", "pii", "userinfo"]
TOKEN_KEYS = ["id_token", "access_token", "token_type", "expires_in"]
METADATA_KEYS = [
    "incode_idv_completed",
    "incode_idv_completed_at",
    "incode_interview_id",
    "incode_identity_id",
    "incode_idv_error",
    "incode_idv",
]


def claim_of(record: UserRecord, **rules: Any) -> dict[str, Any]:
    claim: dict[str, Any] = token_claims(record, Reason.RECENTLY_VERIFIED, Rules(**rules))[NAMESPACE]
    return claim


@pytest.mark.parametrize("reason", [Reason.VERIFIED, Reason.RECENTLY_VERIFIED])
def test_the_claim_has_one_shape(reason: Reason) -> None:
    expected = {
        NAMESPACE: {
            "completed": True,
            "completed_at": "2026-04-07T17:28:25.150Z",
            "interview_id": "int_1",
            "identity_id": "ana",
            "auth_overall_score": "100.0",
            "auth_overall_status": "OK",
            "pii": {"name": "Ana", "address": {"country": "MX"}},
        }
    }
    # Compared as text: the order of the keys belongs to the contract.
    assert json.dumps(token_claims(RECORD, reason, Rules())) == json.dumps(expected)


def test_the_claim_is_complete_when_the_provider_sent_nothing() -> None:
    bare = UserRecord(completed=True, completed_at=AT, evidence=Evidence())
    assert list(claim_of(bare)) == list(claim_of(RECORD))
    assert claim_of(bare)["pii"] == {}


def test_the_claim_carries_neither_tokens_nor_userinfo() -> None:
    text = json.dumps(token_claims(RECORD, Reason.VERIFIED, Rules(store_tokens=True)))
    assert not any(word in text for word in ("token", "Bearer", "3600", "userinfo", "raw"))


@pytest.mark.parametrize("reason", sorted(set(Reason) - {Reason.VERIFIED, Reason.RECENTLY_VERIFIED}))
def test_a_verification_that_does_not_stand_gives_no_claim(reason: Reason) -> None:
    assert token_claims(RECORD, reason, Rules()) == {}


@pytest.mark.parametrize("record", [None, UserRecord(), replace(RECORD, evidence=None)])
def test_a_record_without_evidence_gives_no_claim(record: UserRecord | None) -> None:
    assert token_claims(record, Reason.RECENTLY_VERIFIED, Rules()) == {}


def test_personal_data_can_be_left_out() -> None:
    assert claim_of(RECORD, claim_include_pii=False) == {**claim_of(RECORD), "pii": {}}


def test_the_claim_is_called_by_the_namespace() -> None:
    renamed = token_claims(RECORD, Reason.VERIFIED, Rules(claim_namespace="urn:acme:idv"))
    assert renamed == {"urn:acme:idv": claim_of(RECORD)}


@pytest.mark.parametrize("score", [0, 0.0, 100, 99.5, "100.0", "0", "", None, 10**40])
def test_a_score_stays_as_the_provider_sent_it(score: object) -> None:
    record = replace(RECORD, evidence=replace(EVIDENCE, auth_overall_score=score))
    shown = claim_of(record)["auth_overall_score"]
    kept = app_metadata(record)["incode_idv"]["auth_overall_score"]
    assert (shown, type(shown)) == (kept, type(kept)) == (score, type(score))


def test_without_a_record_there_is_no_metadata() -> None:
    assert app_metadata(None) == {}


def test_the_metadata_of_an_empty_record_has_every_key() -> None:
    metadata = app_metadata(UserRecord())
    assert list(metadata) == METADATA_KEYS
    assert set(metadata.values()) == {None}


def test_the_metadata_keeps_the_names_of_the_action() -> None:
    metadata = app_metadata(replace(RECORD, failure=Failure(FailureCode.ACCESS_DENIED)))
    assert list(metadata) == METADATA_KEYS
    assert {name: metadata[name] for name in METADATA_KEYS[:-1]} == {
        "incode_idv_completed": True,
        "incode_idv_completed_at": "2026-04-07T17:28:25.150Z",
        "incode_interview_id": "int_1",
        "incode_identity_id": "ana",
        "incode_idv_error": "access_denied",
    }
    assert metadata["incode_idv"]["userinfo"] == {"sub": "int_1", "raw": 1}
    assert list(metadata["incode_idv"]) == [*EVIDENCE_KEYS, *TOKEN_KEYS]


def test_a_userinfo_that_is_not_kept_is_left_out() -> None:
    metadata = app_metadata(replace(RECORD, evidence=replace(EVIDENCE, userinfo=None, tokens=None)))
    assert list(metadata["incode_idv"]) == EVIDENCE_KEYS[:-1]


def test_tokens_are_taken_out_and_nothing_else() -> None:
    metadata = app_metadata(RECORD)
    untouched = json.dumps(metadata)
    shown = without_tokens(metadata)
    assert list(shown) == METADATA_KEYS
    assert list(shown["incode_idv"]) == EVIDENCE_KEYS
    assert shown == app_metadata(replace(RECORD, evidence=replace(EVIDENCE, tokens=None)))
    assert json.dumps(metadata) == untouched


@pytest.mark.parametrize("record", [None, UserRecord(), replace(RECORD, evidence=replace(EVIDENCE, tokens=None))])
def test_metadata_without_tokens_stays_as_it_is(record: UserRecord | None) -> None:
    assert without_tokens(app_metadata(record)) == app_metadata(record)


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (AT, "2026-04-07T17:28:25.150Z"),
        (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00.000Z"),
        (datetime(2026, 1, 1, 0, 0, 0, 999, tzinfo=UTC), "2026-01-01T00:00:00.000Z"),
        (datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=2))), "2025-12-31T23:00:00.000Z"),
        (datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=-5, minutes=-30))), "2026-01-01T06:30:00.000Z"),
        (None, None),
    ],
)
def test_times_are_utc_with_milliseconds(moment: datetime | None, text: str | None) -> None:
    assert timestamp(moment) == text


@pytest.fixture
def far_from_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The machine's own time zone is five hours ahead."""
    with monkeypatch.context() as environment:
        environment.setenv("TZ", "AHEAD-5")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("far_from_utc")
def test_times_are_utc_wherever_the_service_runs() -> None:
    assert AT.astimezone().utcoffset() == timedelta(hours=5)
    assert timestamp(AT) == "2026-04-07T17:28:25.150Z"


def test_the_claim_of_a_step_up_says_so() -> None:
    login = token_claims(RECORD, Reason.VERIFIED, Rules())[NAMESPACE]
    step_up = token_claims(RECORD, Reason.VERIFIED, Rules(), Purpose.STEP_UP)[NAMESPACE]
    assert step_up == {**login, "purpose": "step_up"}
