"""The decisions, as total functions of their arguments: no I/O, no clock, no settings but the rules handed in."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from app.core import lifetimes
from app.core.domain import (
    Accepted,
    Action,
    Evidence,
    Failure,
    FailureCode,
    Purpose,
    Reason,
    Rules,
    UserRecord,
    Verdict,
)
from app.core.failures import is_about_the_person


def standing(record: UserRecord | None, now: datetime, rules: Rules) -> Reason:
    """`RECENTLY_VERIFIED` when the record's verification stands at `now`, else why it does not."""
    if record is None:
        return Reason.NEVER_VERIFIED
    if record.authentic and not record.completed:
        return Reason.NOT_VERIFIED
    if not _is_whole(record, now, rules):
        return Reason.RECORD_INVALID
    ends_at = reverify_at(record, rules)
    if ends_at is not None and now >= ends_at:
        return Reason.REVERIFICATION_DUE
    return Reason.RECENTLY_VERIFIED


def _is_whole(record: UserRecord, now: datetime, rules: Rules) -> bool:
    """Whether the record can be believed: ours, complete, and of a time that has come."""
    if not record.authentic or record.evidence is None or record.completed_at is None:
        return False
    return record.completed_at <= now + timedelta(seconds=rules.clock_skew_seconds)


def reverify_at(record: UserRecord, rules: Rules) -> datetime | None:
    """When the verification on file ends. None: never (a window of 0, or one that ends beyond the calendar)."""
    if record.completed_at is None or not rules.reverification_hours:
        return None
    try:
        return record.completed_at + timedelta(hours=rules.reverification_hours)
    except OverflowError:
        return None


def reason_to_verify(
    record: UserRecord | None, now: datetime, rules: Rules, *, purpose: Purpose, force: bool
) -> Reason | None:
    """Why the user must be verified now, or None inside the window."""
    if purpose is Purpose.STEP_UP:
        return Reason.STEP_UP
    reason = standing(record, now, rules)
    if reason is not Reason.RECENTLY_VERIFIED:
        return reason
    return Reason.FORCED if force else None


def obstacle(record: UserRecord | None, purpose: Purpose) -> Failure | None:
    """Why a verification that is needed cannot be begun, given what is on file."""
    if record and not record.authentic:
        return Failure(FailureCode.RECORD_NOT_AUTHENTIC)
    if purpose is Purpose.STEP_UP and not (record and record.identity_id):
        return Failure(FailureCode.IDENTITY_NOT_ESTABLISHED)
    return None


def locked_until(filled_at: datetime | None, now: datetime, rules: Rules) -> datetime | None:
    """Until when no further attempt may begin; None where one may.

    `filled_at` is when the attempt began that has filled the limit, of those without success; None where fewer have.
    """
    window = timedelta(hours=rules.attempt_window_hours)
    if not rules.attempt_limit or filled_at is None or not now - window < filled_at <= lifetimes.horizon(now):
        return None
    return filled_at + window


def judge(verdict: Verdict, record: UserRecord | None, rules: Rules, purpose: Purpose) -> Accepted | Failure:
    """Whether the verdict counts for this user: first what is on file, then the status, then the identity."""
    if record and not record.authentic:
        return Failure(FailureCode.RECORD_NOT_AUTHENTIC)
    evidence = verdict.evidence
    failure = _judge_status(evidence.auth_overall_status, rules, purpose) or _judge_identity(
        evidence.identity_id, record.identity_id if record else None, rules, purpose
    )
    if failure:
        return failure
    if verdict.userinfo_answered:
        return Accepted(evidence)
    return Accepted(_with_personal_data_on_file(evidence, record))


def _judge_status(status: str | None, rules: Rules, purpose: Purpose) -> Failure | None:
    if status is None:
        required = rules.require_status or purpose is Purpose.STEP_UP
        return Failure(FailureCode.STATUS_MISSING) if required else None
    return None if status in rules.accepted_statuses else Failure(FailureCode.STATUS_NOT_ACCEPTED)


def _judge_identity(came: str | None, enrolled: str | None, rules: Rules, purpose: Purpose) -> Failure | None:
    if purpose is Purpose.STEP_UP:
        if enrolled is None:
            return Failure(FailureCode.IDENTITY_NOT_ESTABLISHED)
        return None if came == enrolled else Failure(FailureCode.IDENTITY_MISMATCH)
    if enrolled is None or came == enrolled or rules.allow_identity_change:
        return None
    return Failure(FailureCode.IDENTITY_MISMATCH)


def _with_personal_data_on_file(evidence: Evidence, record: UserRecord | None) -> Evidence:
    on_file = record.evidence if record else None
    if on_file is None or evidence.identity_id is None or on_file.identity_id != evidence.identity_id:
        return evidence
    return replace(evidence, pii=on_file.pii, userinfo=on_file.userinfo)


def after_success(record: UserRecord | None, accepted: Accepted, now: datetime) -> UserRecord:
    """The record after a login verification that counts. Ids that did not come back stay as they were."""
    before = record or UserRecord()
    evidence = accepted.evidence
    return UserRecord(
        completed=True,
        completed_at=now,
        interview_id=evidence.interview_id or before.interview_id,
        identity_id=evidence.identity_id or before.identity_id,
        evidence=evidence,
    )


def after_failure(record: UserRecord | None, failure: Failure, now: datetime, rules: Rules) -> UserRecord:
    """The record after a failed login verification.

    It keeps the failure, and what stands unless that is taken away.
    """
    before = record or UserRecord()
    stands = standing(record, now, rules) is Reason.RECENTLY_VERIFIED
    keeps = stands and not is_about_the_person(failure)
    return replace(before, completed=before.completed if keeps else False, failure=failure)


def after_reset(record: UserRecord, *, forget_identity: bool) -> UserRecord:
    """The record after an administrator's reset; forgetting the identity forgets what that person brought, too.

    A record that is not authentic stays so until the identity is forgotten.
    """
    if forget_identity:
        return UserRecord(failure=record.failure if record.authentic else None)
    return replace(record, completed=None, completed_at=None)


def action_on_failure(purpose: Purpose, rules: Rules) -> Action:
    """What the caller does after a failure: a step-up never goes on."""
    return Action.DENY if rules.block_on_failure or purpose is Purpose.STEP_UP else Action.CONTINUE
