"""From a verdict or a failure to what is answered and what is recorded: pure, and the same for every flow."""

from __future__ import annotations

from datetime import datetime

from app.core import claims, policy
from app.core.domain import Accepted, Action, Decision, Failure, Purpose, Reason, Rules, Ruling, Status, UserRecord, Verdict


def standing(record: UserRecord | None, rules: Rules) -> Decision:
    """The decision inside the window: go on, with the claim."""
    return Decision(
        Action.CONTINUE,
        Reason.RECENTLY_VERIFIED,
        claims=claims.claims(record, Reason.RECENTLY_VERIFIED, rules),
        app_metadata=claims.app_metadata(record),
    )


def failed(failure: Failure, purpose: Purpose, record: UserRecord | None, rules: Rules) -> Decision:
    """The decision on a failure: no claim, whatever is on file."""
    return Decision(
        policy.action_on_failure(purpose, rules),
        failure.code,
        app_metadata=claims.app_metadata(record),
        failure=failure,
    )


def rule(outcome: Verdict | Failure, purpose: Purpose, record: UserRecord | None, now: datetime, rules: Rules) -> Ruling:
    """What a finished callback means for the user and the attempt. A step-up never touches the record."""
    judged = outcome if isinstance(outcome, Failure) else policy.judge(outcome, record, rules, purpose)
    if isinstance(judged, Accepted):
        return _verified(judged, purpose, record, now, rules)
    after = policy.after_failure(record, judged, now, rules) if purpose is Purpose.LOGIN else record
    return Ruling(
        status=Status.EXPIRED if judged.code == "verification_expired" else Status.FAILED,
        decision=failed(judged, purpose, after, rules),
        record=after if purpose is Purpose.LOGIN else None,
        evidence=outcome.evidence if isinstance(outcome, Verdict) else None,
        failure=judged,
    )


def _verified(accepted: Accepted, purpose: Purpose, record: UserRecord | None, now: datetime, rules: Rules) -> Ruling:
    verified = policy.after_success(record, accepted, now)
    decision = Decision(
        Action.CONTINUE,
        Reason.VERIFIED,
        claims=claims.claims(verified, Reason.VERIFIED, rules),
        app_metadata=claims.app_metadata(verified if purpose is Purpose.LOGIN else record),
    )
    return Ruling(
        status=Status.COMPLETED,
        decision=decision,
        record=verified if purpose is Purpose.LOGIN else None,
        evidence=accepted.evidence,
    )
