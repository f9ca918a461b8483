from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.core import lifetimes, policy
from app.core.domain import (
    Accepted,
    Action,
    Attempt,
    Evidence,
    Failure,
    FailureCode,
    Flow,
    Purpose,
    Reason,
    Rules,
    Status,
    UserRecord,
    Verdict,
)
from app.core.failures import is_about_the_person

NOW = datetime(2026, 4, 7, 17, 28, 25, 150_000, tzinfo=UTC)
MS = timedelta(milliseconds=1)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
RULES = Rules()
ANA = Evidence("int_1", "ana", "100.0", "OK", {"name": "Ana"}, {"sub": "int_1", "name": "Ana"})
VERIFIED = UserRecord(completed=True, completed_at=NOW - HOUR, interview_id="int_1", identity_id="ana", evidence=ANA)
STALE = replace(VERIFIED, completed_at=NOW - 721 * HOUR)
ENROLLED = UserRecord(identity_id="ana")
DENIED = Failure(FailureCode.ACCESS_DENIED)
LOGIN, STEP_UP = Purpose.LOGIN, Purpose.STEP_UP


def verdict(identity_id: str | None = "ana", status: str | None = "OK", *, answered: bool = True) -> Verdict:
    return Verdict(Evidence("int_2", identity_id, "99.0", status, {}, {"sub": "int_2"}), userinfo_answered=answered)


def attempt(**changes: Any) -> Attempt:
    values: dict[str, Any] = {
        "id": "idv_1",
        "user_id": "u",
        "flow": Flow.RELAY,
        "purpose": LOGIN,
        "status": Status.PENDING,
        "started_by": "acme",
        "created_at": NOW - HOUR,
        "expires_at": NOW,
    }
    return Attempt(**{**values, **changes})


STANDING: dict[str, tuple[UserRecord | None, Rules, Reason]] = {
    "no record": (None, RULES, Reason.NEVER_VERIFIED),
    "an empty record": (UserRecord(), RULES, Reason.NOT_VERIFIED),
    "reset": (replace(VERIFIED, completed=None), RULES, Reason.NOT_VERIFIED),
    "failed": (replace(VERIFIED, completed=False), RULES, Reason.NOT_VERIFIED),
    "failed and not authentic": (replace(VERIFIED, completed=False, authentic=False), RULES, Reason.RECORD_INVALID),
    "without a time": (replace(VERIFIED, completed_at=None), RULES, Reason.RECORD_INVALID),
    "without evidence": (replace(VERIFIED, evidence=None), RULES, Reason.RECORD_INVALID),
    "not authentic": (replace(VERIFIED, authentic=False), RULES, Reason.RECORD_INVALID),
    "an hour ago": (VERIFIED, RULES, Reason.RECENTLY_VERIFIED),
    "now": (replace(VERIFIED, completed_at=NOW), RULES, Reason.RECENTLY_VERIFIED),
    "at the end of the skew": (
        replace(VERIFIED, completed_at=NOW + timedelta(seconds=60)), RULES, Reason.RECENTLY_VERIFIED,
    ),
    "beyond the skew": (
        replace(VERIFIED, completed_at=NOW + timedelta(seconds=60) + MS), RULES, Reason.RECORD_INVALID,
    ),
    "in the future without skew": (
        replace(VERIFIED, completed_at=NOW + MS), Rules(clock_skew_seconds=0), Reason.RECORD_INVALID,
    ),
    "due now": (replace(VERIFIED, completed_at=NOW - 720 * HOUR), RULES, Reason.REVERIFICATION_DUE),
    "due in a millisecond": (replace(VERIFIED, completed_at=NOW - 720 * HOUR + MS), RULES, Reason.RECENTLY_VERIFIED),
    "half an hour, due now": (
        replace(VERIFIED, completed_at=NOW - HOUR / 2), Rules(reverification_hours=0.5), Reason.REVERIFICATION_DUE,
    ),
    "half an hour, due in a millisecond": (
        replace(VERIFIED, completed_at=NOW - HOUR / 2 + MS), Rules(reverification_hours=0.5), Reason.RECENTLY_VERIFIED,
    ),
    "never again": (
        replace(VERIFIED, completed_at=datetime(1970, 1, 1, tzinfo=UTC)),
        Rules(reverification_hours=0), Reason.RECENTLY_VERIFIED,
    ),
    "never again, in the future": (
        replace(VERIFIED, completed_at=NOW + HOUR), Rules(reverification_hours=0), Reason.RECORD_INVALID,
    ),
    "a window beyond the calendar": (
        replace(VERIFIED, completed_at=datetime(1970, 1, 1, tzinfo=UTC)),
        Rules(reverification_hours=1e300), Reason.RECENTLY_VERIFIED,
    ),
    "the end of the calendar": (
        replace(VERIFIED, completed_at=datetime.max.replace(tzinfo=UTC)), RULES, Reason.RECORD_INVALID,
    ),
    "the beginning of the calendar": (
        replace(VERIFIED, completed_at=datetime.min.replace(tzinfo=UTC)), RULES, Reason.REVERIFICATION_DUE,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("record", "rules", "reason"), STANDING.values(), ids=STANDING)
def test_standing(record: UserRecord | None, rules: Rules, reason: Reason) -> None:
    assert policy.standing(record, NOW, rules) is reason


@pytest.mark.parametrize(("record", "rules", "reason"), STANDING.values(), ids=STANDING)
def test_a_login_verifies_for_the_reason_that_the_record_does_not_stand(
    record: UserRecord | None, rules: Rules, reason: Reason
) -> None:
    stands = reason is Reason.RECENTLY_VERIFIED
    unforced = policy.reason_to_verify(record, NOW, rules, purpose=LOGIN, force=False)
    forced = policy.reason_to_verify(record, NOW, rules, purpose=LOGIN, force=True)
    assert unforced is (None if stands else reason)
    assert forced is (Reason.FORCED if stands else reason)


@pytest.mark.parametrize("force", [True, False])
@pytest.mark.parametrize("record", [None, UserRecord(), VERIFIED, STALE])
def test_a_step_up_always_verifies(record: UserRecord | None, force: bool) -> None:
    assert policy.reason_to_verify(record, NOW, RULES, purpose=STEP_UP, force=force) is Reason.STEP_UP


@pytest.mark.parametrize(
    ("completed_at", "hours", "expected"),
    [
        (NOW, 720, NOW + timedelta(days=30)),
        (NOW, 0.5, NOW + timedelta(minutes=30)),
        (NOW, 0, None),
        (NOW, 1e300, None),
        (NOW, 1e8, None),  # 11,000 years
        (None, 720, None),
    ],
)
def test_when_a_verification_ends(completed_at: datetime | None, hours: float, expected: datetime | None) -> None:
    record = replace(VERIFIED, completed_at=completed_at)
    assert policy.reverify_at(record, Rules(reverification_hours=hours)) == expected


def ago(**duration: float) -> datetime:
    return NOW - timedelta(**duration)


@pytest.mark.parametrize(
    ("limit", "failures", "expected"),
    [
        (2, [], None),
        (2, [ago(hours=1)], None),
        (2, [ago(hours=1), ago(hours=2)], ago(hours=2) + 24 * HOUR),
        (2, [ago(hours=2), ago(hours=1)], ago(hours=2) + 24 * HOUR),
        # Of more failures than the limit, the newest ones count: two must leave the window, not one.
        (2, [ago(hours=3), ago(hours=1), ago(hours=2)], ago(hours=2) + 24 * HOUR),
        (2, [ago(hours=1), ago(hours=24)], None),
        (2, [ago(hours=1), ago(hours=24) + MS], NOW + MS),
        (1, [NOW], NOW + 24 * HOUR),
        (0, [NOW, NOW, NOW], None),
        # A clock that was set back locks nobody out until the time that it had shown.
        (1, [NOW + MINUTE], NOW + MINUTE + 24 * HOUR),
        (1, [NOW + MINUTE + MS], None),
    ],
)
def test_until_when_a_user_is_locked(limit: int, failures: list[datetime], expected: datetime | None) -> None:
    assert policy.locked_until(filled_at(failures, limit), NOW, Rules(attempt_limit=limit)) == expected


def filled_at(begun: list[datetime], limit: int) -> datetime | None:
    """When the attempt began that has filled the limit, as the storage tells it."""
    newest = sorted((at for at in begun if at <= NOW + MINUTE), reverse=True)
    return newest[limit - 1] if limit <= len(newest) else None


@given(
    st.lists(st.timedeltas(timedelta(0), timedelta(hours=30)), max_size=8),
    st.integers(1, 4),
    st.floats(0.01, 48, allow_nan=False),
)
def test_a_lock_opens_at_the_moment_that_it_names(ages: list[timedelta], limit: int, hours: float) -> None:
    rules = Rules(attempt_limit=limit, attempt_window_hours=hours)
    failures = [NOW - age for age in ages]
    full = filled_at(failures, limit)
    until = policy.locked_until(full, NOW, rules)
    assert (until is not None) == (sum(age < timedelta(hours=hours) for age in ages) >= limit)
    if until:
        assert policy.locked_until(full, until - timedelta(microseconds=1), rules) == until
        assert policy.locked_until(full, until, rules) is None


ACCEPTED = None  # in the tables below: the verdict counts
LAX = {"allow_identity_change": True}
STRICT = {"require_status": True}


@pytest.mark.parametrize(
    ("purpose", "rules", "status", "code"),
    [
        (LOGIN, {}, "OK", ACCEPTED),
        (LOGIN, {}, None, ACCEPTED),
        (LOGIN, STRICT, None, "status_missing"),
        (LOGIN, STRICT, "OK", ACCEPTED),
        (LOGIN, {}, "WARN", "status_not_accepted"),
        (LOGIN, {}, "FAIL", "status_not_accepted"),
        (LOGIN, {}, "", "status_not_accepted"),
        (LOGIN, {}, "ok", "status_not_accepted"),
        (LOGIN, {"accepted_statuses": frozenset({"OK", "WARN"})}, "WARN", ACCEPTED),
        (LOGIN, {"accepted_statuses": frozenset({"WARN"})}, "OK", "status_not_accepted"),
        (STEP_UP, {}, "OK", ACCEPTED),
        (STEP_UP, {}, None, "status_missing"),
        (STEP_UP, STRICT, None, "status_missing"),
        (STEP_UP, {}, "WARN", "status_not_accepted"),
    ],
)
def test_the_status_must_be_accepted(
    purpose: Purpose, rules: Mapping[str, Any], status: str | None, code: str | None
) -> None:
    judged = policy.judge(verdict(status=status), ENROLLED, Rules(**rules), purpose)
    assert getattr(judged, "code", None) == code
    assert isinstance(judged, Failure if code else Accepted)


@pytest.mark.parametrize(
    ("purpose", "record", "came", "rules", "code"),
    [
        (LOGIN, None, "ana", {}, ACCEPTED),
        (LOGIN, None, None, {}, ACCEPTED),
        (LOGIN, UserRecord(), "ana", {}, ACCEPTED),
        (LOGIN, ENROLLED, "ana", {}, ACCEPTED),
        (LOGIN, ENROLLED, "bob", {}, "identity_mismatch"),
        (LOGIN, ENROLLED, "ANA", {}, "identity_mismatch"),
        (LOGIN, ENROLLED, None, {}, "identity_mismatch"),
        (LOGIN, ENROLLED, "bob", LAX, ACCEPTED),
        (LOGIN, ENROLLED, None, LAX, ACCEPTED),
        (STEP_UP, None, "ana", {}, "identity_not_established"),
        (STEP_UP, UserRecord(), None, {}, "identity_not_established"),
        (STEP_UP, UserRecord(), "ana", LAX, "identity_not_established"),
        (STEP_UP, ENROLLED, "ana", {}, ACCEPTED),
        (STEP_UP, ENROLLED, "bob", {}, "identity_mismatch"),
        (STEP_UP, ENROLLED, "bob", LAX, "identity_mismatch"),
        (STEP_UP, ENROLLED, None, LAX, "identity_mismatch"),
    ],
)
def test_the_identity_must_be_the_enrolled_one(
    purpose: Purpose, record: UserRecord | None, came: str | None, rules: Mapping[str, Any], code: str | None
) -> None:
    judged = policy.judge(verdict(came), record, Rules(**rules), purpose)
    assert getattr(judged, "code", None) == code
    assert isinstance(judged, Failure if code else Accepted)


def test_the_status_is_judged_before_the_identity() -> None:
    assert policy.judge(verdict("bob", "FAIL"), ENROLLED, RULES, LOGIN) == Failure(FailureCode.STATUS_NOT_ACCEPTED)


BOB_BEFORE = replace(VERIFIED, evidence=replace(ANA, identity_id="bob"))
NOBODY_BEFORE = replace(VERIFIED, identity_id=None, evidence=replace(ANA, identity_id=None))


@pytest.mark.parametrize(
    ("record", "came", "answered", "kept"),
    [
        (VERIFIED, "ana", False, True),
        (VERIFIED, "ana", True, False),
        (STALE, "ana", False, True),
        (BOB_BEFORE, "ana", False, False),
        (NOBODY_BEFORE, "ana", False, False),
        (NOBODY_BEFORE, None, False, False),
        (ENROLLED, "ana", False, False),
        (None, "ana", False, False),
    ],
)
def test_personal_data_on_file_is_kept_for_the_same_identity_when_userinfo_stays_away(
    record: UserRecord | None,
    came: str | None,
    answered: bool,
    kept: bool,
) -> None:
    came_back = verdict(came, answered=answered)
    judged = policy.judge(came_back, record, RULES, LOGIN)
    assert isinstance(judged, Accepted)
    expected = replace(came_back.evidence, pii=ANA.pii, userinfo=ANA.userinfo) if kept else came_back.evidence
    assert judged.evidence == expected


@pytest.mark.parametrize(
    ("before", "came", "enrolled"),
    [
        (None, "ana", "ana"),
        (None, None, None),
        (ENROLLED, "ana", "ana"),
        (ENROLLED, None, "ana"),
        (ENROLLED, "bob", "bob"),
        (replace(VERIFIED, completed=False, failure=DENIED, evidence=None), "ana", "ana"),
    ],
)
def test_after_a_success_the_record_stands(before: UserRecord | None, came: str | None, enrolled: str | None) -> None:
    evidence = verdict(came).evidence
    after = policy.after_success(before, Accepted(evidence), NOW)
    assert after == UserRecord(
        completed=True,
        completed_at=NOW,
        interview_id="int_2",
        identity_id=enrolled,
        failure=None,
        evidence=evidence,
    )
    assert policy.standing(after, NOW, RULES) is Reason.RECENTLY_VERIFIED


def test_an_interview_that_did_not_come_back_stays_as_it_was() -> None:
    after = policy.after_success(VERIFIED, Accepted(Evidence(identity_id="ana")), NOW)
    assert (after.interview_id, after.identity_id) == ("int_1", "ana")


@pytest.mark.parametrize("code", FailureCode)
@pytest.mark.parametrize(
    ("record", "stands"),
    [
        (None, False),
        (UserRecord(), False),
        (VERIFIED, True),
        (STALE, False),
        (replace(VERIFIED, completed=False), False),
    ],
    ids=["unknown", "empty", "verified", "stale", "failed"],
)
def test_only_a_failure_about_the_person_takes_a_standing_verification_away(
    record: UserRecord | None,
    stands: bool,
    code: FailureCode,
) -> None:
    failure = Failure(code, "words")
    after = policy.after_failure(record, failure, NOW, RULES)
    keeps = stands and not is_about_the_person(failure)
    assert after == replace(record or UserRecord(), completed=keeps, failure=failure)


@pytest.mark.parametrize("purpose", Purpose)
def test_a_record_that_is_not_authentic_is_an_obstacle_and_enrols_nobody(purpose: Purpose) -> None:
    refused = Failure(FailureCode.RECORD_NOT_AUTHENTIC)
    forged = replace(VERIFIED, failure=refused, authentic=False)
    assert policy.obstacle(forged, purpose) == refused
    assert policy.judge(verdict(), forged, RULES, purpose) == refused
    assert policy.standing(policy.after_reset(forged, forget_identity=False), NOW, RULES) is Reason.RECORD_INVALID
    assert policy.after_reset(forged, forget_identity=True) == UserRecord()


@pytest.mark.parametrize(
    ("record", "purpose", "code"),
    [
        (None, LOGIN, None),
        (VERIFIED, LOGIN, None),
        (UserRecord(), LOGIN, None),
        (None, STEP_UP, FailureCode.IDENTITY_NOT_ESTABLISHED),
        (UserRecord(), STEP_UP, FailureCode.IDENTITY_NOT_ESTABLISHED),
        (ENROLLED, STEP_UP, None),
    ],
)
def test_what_is_in_the_way_of_a_verification(
    record: UserRecord | None, purpose: Purpose, code: FailureCode | None
) -> None:
    assert policy.obstacle(record, purpose) == (Failure(code) if code else None)


def test_a_reset_keeps_the_identity() -> None:
    after = policy.after_reset(VERIFIED, forget_identity=False)
    assert after == replace(VERIFIED, completed=None, completed_at=None)


def test_a_reset_with_identity_forgets_all_that_the_person_brought() -> None:
    record = replace(VERIFIED, failure=DENIED)
    assert policy.after_reset(record, forget_identity=True) == UserRecord(failure=DENIED)


@pytest.mark.parametrize(
    ("purpose", "block", "action"),
    [
        (LOGIN, False, Action.CONTINUE),
        (LOGIN, True, Action.DENY),
        (STEP_UP, False, Action.DENY),
        (STEP_UP, True, Action.DENY),
    ],
)
def test_what_the_caller_does_after_a_failure(purpose: Purpose, block: bool, action: Action) -> None:
    assert policy.action_on_failure(purpose, Rules(block_on_failure=block)) is action


EXCHANGING = {"status": Status.EXCHANGING, "expires_at": NOW + HOUR}
RETURNED = {"status": Status.RETURNED, "expires_at": NOW + HOUR}
SECONDS_20 = timedelta(seconds=20)
MINUTES_5 = timedelta(minutes=5)


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"expires_at": NOW + MS}, Status.PENDING, None),
        ({"expires_at": NOW}, Status.EXPIRED, FailureCode.VERIFICATION_EXPIRED),
        ({"expires_at": NOW - MS}, Status.EXPIRED, FailureCode.VERIFICATION_EXPIRED),
        ({**EXCHANGING, "exchange_started_at": NOW - SECONDS_20 + MS}, Status.EXCHANGING, None),
        ({**EXCHANGING, "exchange_started_at": NOW - SECONDS_20}, Status.FAILED, FailureCode.CALLBACK_INTERRUPTED),
        # An exchange that began in time is not expired by the clock while it runs.
        ({**EXCHANGING, "exchange_started_at": NOW, "expires_at": NOW - MS}, Status.EXCHANGING, None),
        ({**EXCHANGING, "exchange_started_at": None}, Status.EXCHANGING, None),
        # The clock was set back since, by as much as clocks may differ, and by more.
        ({"created_at": NOW + MINUTE, "expires_at": NOW + HOUR}, Status.PENDING, None),
        ({"created_at": NOW + MINUTE + MS, "expires_at": NOW + HOUR}, Status.EXPIRED, FailureCode.VERIFICATION_EXPIRED),
        ({**EXCHANGING, "exchange_started_at": NOW + MINUTE}, Status.EXCHANGING, None),
        ({**EXCHANGING, "exchange_started_at": NOW + MINUTE + MS}, Status.FAILED, FailureCode.CALLBACK_INTERRUPTED),
        ({**RETURNED, "returned_at": NOW + MINUTE}, Status.RETURNED, None),
        ({**RETURNED, "returned_at": NOW + MINUTE + MS}, Status.EXPIRED, FailureCode.VERIFICATION_EXPIRED),
        ({"status": Status.RETURNED, "returned_at": NOW - MINUTES_5 + MS}, Status.RETURNED, None),
        ({"status": Status.RETURNED, "returned_at": NOW - MINUTES_5}, Status.EXPIRED, FailureCode.VERIFICATION_EXPIRED),
        ({"status": Status.RETURNED, "returned_at": None}, Status.RETURNED, None),
        ({"status": Status.COMPLETED, "exchange_started_at": NOW - HOUR}, Status.COMPLETED, None),
        ({"status": Status.FAILED, "exchange_started_at": NOW - HOUR}, Status.FAILED, None),
    ],
)
def test_how_an_attempt_stands(changes: Mapping[str, Any], status: Status, code: FailureCode | None) -> None:
    before = attempt(**changes)
    after = lifetimes.as_of(before, NOW)
    assert after == replace(before, status=status, failure=Failure(code) if code else None)
    assert lifetimes.has_expired(before, NOW) is (code == FailureCode.VERIFICATION_EXPIRED)
    assert lifetimes.is_interrupted(before, NOW) is (code == FailureCode.CALLBACK_INTERRUPTED)


@pytest.mark.parametrize(
    ("changes", "is_open", "is_lapsed"),
    [
        ({}, True, False),
        ({"status": Status.EXPIRED}, True, True),
        ({"status": Status.EXPIRED, "finished_at": NOW}, False, False),
        ({"status": Status.EXPIRED, "returned_at": NOW}, False, True),
        ({"status": Status.EXCHANGING}, False, False),
        ({"status": Status.RETURNED, "returned_at": NOW}, False, False),
        ({"status": Status.FAILED, "finished_at": NOW}, False, False),
        ({"status": Status.COMPLETED, "finished_at": NOW}, False, False),
    ],
)
def test_who_waits_for_a_callback(changes: Mapping[str, Any], is_open: bool, is_lapsed: bool) -> None:
    assert lifetimes.is_open(attempt(**changes)) is is_open
    assert lifetimes.is_lapsed(attempt(**changes)) is is_lapsed


@pytest.mark.parametrize(
    ("finished_at", "repeatable"),
    [
        (None, False),
        (NOW, True),
        (NOW - timedelta(minutes=5) + MS, True),
        (NOW - timedelta(minutes=5), False),
        (NOW + MINUTE, True),
        (NOW + MINUTE + MS, False),
    ],
)
def test_an_answer_is_repeated_for_five_minutes(finished_at: datetime | None, repeatable: bool) -> None:
    assert lifetimes.is_repeatable(attempt(finished_at=finished_at), NOW) is repeatable


# Properties. The rules span what the settings allow; the moments on file are any that a database can hold.
names = st.one_of(st.none(), st.sampled_from(["ana", "bob", "carl"]))
statuses = st.one_of(st.none(), st.sampled_from(["OK", "WARN", "FAIL", ""]))
moments = st.datetimes(timezones=st.just(UTC))
near_now = st.timedeltas(timedelta(hours=-2), timedelta(hours=2)).map(lambda delta: NOW + delta)
evidences = st.builds(Evidence, interview_id=names, identity_id=names, auth_overall_status=statuses)
records = st.builds(
    UserRecord,
    completed=st.sampled_from([None, False, True]),
    completed_at=st.one_of(st.none(), near_now, moments),
    interview_id=names,
    identity_id=names,
    failure=st.none(),
    evidence=st.one_of(st.none(), evidences),
    authentic=st.booleans(),
)
maybe_records = st.one_of(st.none(), records)
verdicts = st.builds(Verdict, evidences, st.booleans())
rule_sets = st.builds(
    Rules,
    reverification_hours=st.one_of(
        st.sampled_from([0.0, 1.0, 720.0, 1e300]), st.floats(0, 3), st.floats(0, allow_nan=False, allow_infinity=False)
    ),
    block_on_failure=st.booleans(),
    accepted_statuses=st.frozensets(st.sampled_from(["OK", "WARN"]), min_size=1),
    require_status=st.booleans(),
    allow_identity_change=st.booleans(),
    clock_skew_seconds=st.floats(0, 3600),
    attempt_limit=st.integers(0, 5),
    attempt_window_hours=st.floats(0, 87600, exclude_min=True),
)
purposes = st.sampled_from(Purpose)
known_failures = st.builds(Failure, st.sampled_from(FailureCode), st.one_of(st.none(), st.text()))


def stands_by_the_contract(record: UserRecord | None, rules: Rules) -> bool:
    """An oracle that counts in microseconds, so that it shares no date arithmetic with the code."""
    if record is None or record.completed is not True or not record.authentic or record.evidence is None:
        return False
    if record.completed_at is None:
        return False
    age = (NOW - record.completed_at) // timedelta(microseconds=1)
    if -age > round(rules.clock_skew_seconds * 1e6):
        return False
    window = rules.reverification_hours * 3600e6
    return rules.reverification_hours == 0 or math.isinf(window) or age < round(window)


@given(maybe_records, rule_sets)
@example(VERIFIED, RULES)
@example(STALE, RULES)
def test_a_verification_stands_only_when_every_condition_holds(record: UserRecord | None, rules: Rules) -> None:
    stands = policy.standing(record, NOW, rules) is Reason.RECENTLY_VERIFIED
    assert stands == stands_by_the_contract(record, rules)


@given(verdicts, maybe_records, rule_sets)
@example(verdict("bob"), ENROLLED, Rules(allow_identity_change=True))
@example(verdict(status=None), ENROLLED, RULES)
def test_a_step_up_accepts_nobody_but_the_enrolled_person_with_an_accepted_status(
    came: Verdict, record: UserRecord | None, rules: Rules
) -> None:
    may_count = (
        record is not None
        and record.authentic
        and record.identity_id is not None
        and came.evidence.identity_id == record.identity_id
        and came.evidence.auth_overall_status in rules.accepted_statuses
    )
    assert isinstance(policy.judge(came, record, rules, STEP_UP), Accepted) == may_count


@given(verdicts, records, rule_sets, purposes)
def test_no_login_changes_an_enrolled_identity_unless_that_is_allowed(
    came: Verdict, record: UserRecord, rules: Rules, purpose: Purpose
) -> None:
    judged = policy.judge(came, record, replace(rules, allow_identity_change=False), purpose)
    if record.identity_id is not None and isinstance(judged, Accepted):
        assert policy.after_success(record, judged, NOW).identity_id == record.identity_id


@given(verdicts, maybe_records, rule_sets)
@example(verdict("bob"), VERIFIED, RULES)
def test_a_refused_verdict_never_makes_a_record_stand(came: Verdict, record: UserRecord | None, rules: Rules) -> None:
    judged = policy.judge(came, record, rules, LOGIN)
    if isinstance(judged, Failure):
        after = policy.after_failure(record, judged, NOW, rules)
        assert after.completed is False
        assert policy.standing(after, NOW, rules) in {Reason.NOT_VERIFIED, Reason.RECORD_INVALID}


@given(maybe_records, known_failures, rule_sets)
def test_no_failure_makes_a_record_stand_that_did_not(
    record: UserRecord | None, failure: Failure, rules: Rules
) -> None:
    after = policy.after_failure(record, failure, NOW, rules)
    if policy.standing(after, NOW, rules) is Reason.RECENTLY_VERIFIED:
        assert record is not None
        assert policy.standing(record, NOW, rules) is Reason.RECENTLY_VERIFIED
        assert after == replace(record, failure=failure)


@given(
    record=maybe_records,
    came=verdicts,
    failure=known_failures,
    rules=rule_sets,
    purpose=purposes,
    force=st.booleans(),
    failed_at=st.none() | moments,
)
def test_every_decision_has_an_answer(
    *,
    record: UserRecord | None,
    came: Verdict,
    failure: Failure,
    rules: Rules,
    purpose: Purpose,
    force: bool,
    failed_at: datetime | None,
) -> None:
    assert policy.reason_to_verify(record, NOW, rules, purpose=purpose, force=force) in {None, *Reason}
    assert isinstance(policy.judge(came, record, rules, purpose), Accepted | Failure)
    assert policy.after_success(record, Accepted(came.evidence), NOW).completed
    assert policy.after_failure(record, failure, NOW, rules).failure == failure
    assert policy.after_reset(record or UserRecord(), forget_identity=force).completed is None
    assert policy.action_on_failure(purpose, rules) in {Action.CONTINUE, Action.DENY}
    assert isinstance(policy.locked_until(failed_at, NOW, rules), datetime | None)


@given(began=moments, status=st.sampled_from(Status))
def test_whenever_an_attempt_began_its_status_is_known(*, began: datetime, status: Status) -> None:
    moved = {"created_at": began, "exchange_started_at": began, "returned_at": began, "finished_at": began}
    begun = attempt(status=status, expires_at=NOW + HOUR, **moved)
    lasting = {Status.COMPLETED, Status.FAILED, Status.EXPIRED}
    if began > NOW + MINUTE:
        assert not lifetimes.is_repeatable(begun, NOW)
        assert lifetimes.as_of(begun, NOW).status in lasting
    else:
        assert lifetimes.as_of(begun, NOW).status in {*lasting, status}
