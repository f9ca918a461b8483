from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.core import decisions
from app.core.claims import app_metadata, token_claims
from app.core.domain import (
    Action,
    Attempt,
    Decision,
    Evidence,
    Failure,
    FailureCode,
    Flow,
    Purpose,
    Reason,
    Rules,
    Ruling,
    Status,
    UserRecord,
    Verdict,
)

NOW = datetime(2026, 4, 7, 17, 28, 25, 150_000, tzinfo=UTC)
RULES = Rules(claim_namespace="urn:acme:idv")
LOGIN, STEP_UP = Purpose.LOGIN, Purpose.STEP_UP
BEFORE = Evidence("int_1", "ana", "100.0", "OK", {"name": "Ana"}, {"sub": "int_1"})
CAME = Evidence("int_2", "ana", "99.0", "OK", {"name": "Ana Ruiz"}, {"sub": "int_2"})
VERIFIED = UserRecord(
    completed=True, completed_at=NOW - timedelta(hours=1), interview_id="int_1", identity_id="ana", evidence=BEFORE
)
VERIFIED_AGAIN = UserRecord(completed=True, completed_at=NOW, interview_id="int_2", identity_id="ana", evidence=CAME)
STALE = replace(VERIFIED, completed_at=NOW - timedelta(hours=721))


def attempt(purpose: Purpose) -> Attempt:
    return Attempt(
        id="idv_1",
        user_id="u",
        flow=Flow.RELAY,
        purpose=purpose,
        status=Status.EXCHANGING,
        started_by="acme",
        created_at=NOW,
        expires_at=NOW + timedelta(hours=1),
        locale="es",
    )


def test_a_verification_that_stands_goes_on_with_its_claim() -> None:
    claim = token_claims(VERIFIED, Reason.RECENTLY_VERIFIED, RULES)
    assert claim.keys() == {"urn:acme:idv"}
    assert decisions.standing(VERIFIED, RULES) == Decision(
        Action.CONTINUE, Reason.RECENTLY_VERIFIED, claims=claim, app_metadata=app_metadata(VERIFIED)
    )


@pytest.mark.parametrize("record", [None, VERIFIED])
@pytest.mark.parametrize(
    ("purpose", "block", "action"),
    [
        (LOGIN, False, Action.CONTINUE),
        (LOGIN, True, Action.DENY),
        (STEP_UP, False, Action.DENY),
        (STEP_UP, True, Action.DENY),
    ],
)
def test_a_failure_gives_no_claim(purpose: Purpose, block: bool, action: Action, record: UserRecord | None) -> None:
    failure = Failure(FailureCode.ACCESS_DENIED, "the person left")
    decision = decisions.failed(failure, purpose, record, replace(RULES, block_on_failure=block))
    assert decision == Decision(
        action, FailureCode.ACCESS_DENIED, claims={}, app_metadata=app_metadata(record), failure=failure
    )


@pytest.mark.parametrize(
    ("purpose", "before", "recorded", "shown"),
    [
        (LOGIN, None, VERIFIED_AGAIN, VERIFIED_AGAIN),
        (LOGIN, STALE, VERIFIED_AGAIN, VERIFIED_AGAIN),
        (STEP_UP, STALE, None, STALE),
    ],
)
def test_a_verdict_that_counts_completes_the_attempt_and_only_a_login_is_put_on_record(
    purpose: Purpose, before: UserRecord | None, recorded: UserRecord | None, shown: UserRecord
) -> None:
    assert decisions.rule(Verdict(CAME), attempt(purpose), before, NOW, RULES) == Ruling(
        status=Status.COMPLETED,
        decision=Decision(
            Action.CONTINUE,
            Reason.VERIFIED,
            claims=token_claims(VERIFIED_AGAIN, Reason.VERIFIED, RULES, purpose),
            locale="es",
            app_metadata=app_metadata(shown),
        ),
        record=recorded,
        evidence=CAME,
    )


def test_what_did_not_come_back_stays_on_record() -> None:
    silent = Evidence(auth_overall_status="OK")
    ruling = decisions.rule(Verdict(silent), attempt(LOGIN), VERIFIED, NOW, replace(RULES, allow_identity_change=True))
    kept = UserRecord(completed=True, completed_at=NOW, interview_id="int_1", identity_id="ana", evidence=silent)
    assert (ruling.record, ruling.decision.app_metadata) == (kept, app_metadata(kept))


DENIED = Failure(FailureCode.ACCESS_DENIED)
EXPIRED = Failure(FailureCode.VERIFICATION_EXPIRED)
DOWN = Failure(FailureCode.PROVIDER_UNAVAILABLE, "no answer")
REFUSED = Failure(FailureCode.STATUS_NOT_ACCEPTED)
FAILED_STATUS = replace(CAME, auth_overall_status="FAIL")


def after(before: UserRecord, failure: Failure, *, stands: bool = False) -> UserRecord:
    return replace(before, completed=stands, failure=failure)


@pytest.mark.parametrize(
    ("outcome", "failure", "purpose", "before", "status", "recorded"),
    [
        (DENIED, DENIED, LOGIN, None, Status.FAILED, after(UserRecord(), DENIED)),
        (DENIED, DENIED, LOGIN, VERIFIED, Status.FAILED, after(VERIFIED, DENIED)),
        (DENIED, DENIED, STEP_UP, VERIFIED, Status.FAILED, None),
        # What says nothing about the person leaves a verification that stands, and only that.
        (DOWN, DOWN, LOGIN, VERIFIED, Status.FAILED, after(VERIFIED, DOWN, stands=True)),
        (DOWN, DOWN, LOGIN, STALE, Status.FAILED, after(STALE, DOWN)),
        (EXPIRED, EXPIRED, LOGIN, VERIFIED, Status.EXPIRED, after(VERIFIED, EXPIRED, stands=True)),
        (EXPIRED, EXPIRED, STEP_UP, VERIFIED, Status.EXPIRED, None),
        (Verdict(FAILED_STATUS), REFUSED, LOGIN, VERIFIED, Status.FAILED, after(VERIFIED, REFUSED)),
        (Verdict(FAILED_STATUS), REFUSED, STEP_UP, VERIFIED, Status.FAILED, None),
        (Verdict(CAME), Failure(FailureCode.IDENTITY_NOT_ESTABLISHED), STEP_UP, None, Status.FAILED, None),
    ],
)
def test_a_failure_ends_the_attempt_and_only_a_login_is_put_on_record(
    outcome: Verdict | Failure,
    failure: Failure,
    purpose: Purpose,
    before: UserRecord | None,
    status: Status,
    recorded: UserRecord | None,
) -> None:
    shown = recorded if purpose is LOGIN else before
    assert decisions.rule(outcome, attempt(purpose), before, NOW, RULES) == Ruling(
        status=status,
        decision=decisions.failed(failure, purpose, shown, RULES, locale="es"),
        record=recorded,
        evidence=outcome.evidence if isinstance(outcome, Verdict) else None,
        failure=failure,
    )


@pytest.mark.parametrize(("block", "action"), [(False, Action.CONTINUE), (True, Action.DENY)])
def test_the_operator_says_whether_a_failed_login_goes_on(block: bool, action: Action) -> None:
    ruling = decisions.rule(DENIED, attempt(LOGIN), None, NOW, replace(RULES, block_on_failure=block))
    assert (ruling.decision.action, ruling.decision.reason) == (action, "access_denied")


@pytest.mark.parametrize("outcome", [Verdict(CAME), DENIED])
@pytest.mark.parametrize("purpose", Purpose)
def test_a_record_that_is_not_authentic_is_left_as_it_was_found(outcome: Verdict | Failure, purpose: Purpose) -> None:
    forged = UserRecord(failure=Failure(FailureCode.RECORD_NOT_AUTHENTIC), authentic=False)
    ruling = decisions.rule(outcome, attempt(purpose), forged, NOW, RULES)
    assert ruling.record is None
    assert ruling.status is Status.FAILED
    assert ruling.decision.claims == {}
