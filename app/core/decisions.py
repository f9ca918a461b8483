"""From a verdict or a failure to what is answered and what is recorded: pure, and the same for every flow."""

from __future__ import annotations

from datetime import datetime

from app.core import claims, policy
from app.core.domain import (
    Accepted,
    Action,
    Attempt,
    Decision,
    Failure,
    FailureCode,
    Purpose,
    Reason,
    Rules,
    Ruling,
    Status,
    UserRecord,
    Verdict,
)


def standing(record: UserRecord | None, rules: Rules) -> Decision:
    """The decision inside the window: go on, with the claim."""
    return Decision(
        Action.CONTINUE,
        Reason.RECENTLY_VERIFIED,
        claims=claims.token_claims(record, Reason.RECENTLY_VERIFIED, rules),
        app_metadata=claims.app_metadata(record),
    )


def redirect(reason: Reason, url: str, record: UserRecord | None, attempt: Attempt) -> Decision:
    """The decision to verify: send the browser to `url`."""
    return Decision(
        Action.REDIRECT,
        reason,
        redirect_url=url,
        app_metadata=claims.app_metadata(record),
        verification=attempt,
    )


def failed(
    failure: Failure, purpose: Purpose, record: UserRecord | None, rules: Rules, locale: str | None = None
) -> Decision:
    """The decision on a failure: no claim, whatever is on file."""
    return Decision(
        policy.action_on_failure(purpose, rules),
        failure.code,
        app_metadata=claims.app_metadata(record),
        failure=failure,
        locale=locale,
    )


def rule(
    outcome: Verdict | Failure, attempt: Attempt, record: UserRecord | None, now: datetime, rules: Rules
) -> Ruling:
    """What a finished callback means for the user and the attempt. A step-up never touches the record."""
    judged = outcome if isinstance(outcome, Failure) else policy.judge(outcome, record, rules, attempt.purpose)
    if isinstance(judged, Accepted):
        return _verified(judged, attempt, record, now, rules)
    # A record that somebody has changed is left as it was found: sealing it again would make it pass for ours.
    writes = attempt.purpose is Purpose.LOGIN and (record is None or record.authentic)
    after = policy.after_failure(record, judged, now, rules) if writes else record
    return Ruling(
        status=Status.EXPIRED if judged.code is FailureCode.VERIFICATION_EXPIRED else Status.FAILED,
        decision=failed(judged, attempt.purpose, after, rules, attempt.locale),
        record=after if writes else None,
        evidence=outcome.evidence if isinstance(outcome, Verdict) else None,
        failure=judged,
    )


def _verified(accepted: Accepted, attempt: Attempt, record: UserRecord | None, now: datetime, rules: Rules) -> Ruling:
    is_login = attempt.purpose is Purpose.LOGIN
    verified = policy.after_success(record, accepted, now)
    decision = Decision(
        Action.CONTINUE,
        Reason.VERIFIED,
        claims=claims.token_claims(verified, Reason.VERIFIED, rules, attempt.purpose),
        app_metadata=claims.app_metadata(verified if is_login else record),
        locale=attempt.locale,
    )
    return Ruling(
        status=Status.COMPLETED,
        decision=decision,
        record=verified if is_login else None,
        evidence=accepted.evidence,
    )
