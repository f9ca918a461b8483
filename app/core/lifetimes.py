"""How long things last, and what time alone changes: total functions of an attempt and the time."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from app.core.domain import Attempt, Failure, FailureCode, Status

# How long an exchange may take before its process must have died, an answer may be asked for again, and the hosted
# flow's outcome waits for its confirmation.
INTERRUPTED_AFTER = timedelta(seconds=20)
REPEATABLE_FOR = timedelta(minutes=5)
CONFIRMABLE_FOR = timedelta(minutes=5)
# The longest that a person may be given.
ATTEMPT_LASTS_AT_MOST = timedelta(days=7)
# What began further ahead than this was begun by a clock that has been set back since: it must not last until then.
AHEAD_AT_MOST = timedelta(seconds=60)


def as_of(attempt: Attempt, now: datetime) -> Attempt:
    """The attempt as it stands at `now`: time alone expires one that waits for somebody, and interrupts an exchange."""
    if has_expired(attempt, now):
        return replace(attempt, status=Status.EXPIRED, failure=Failure(FailureCode.VERIFICATION_EXPIRED))
    if is_interrupted(attempt, now):
        return replace(attempt, status=Status.FAILED, failure=Failure(FailureCode.CALLBACK_INTERRUPTED))
    return attempt


def horizon(now: datetime) -> datetime:
    """The latest moment that something can have happened at, by clocks that differ a little."""
    return now + AHEAD_AT_MOST


def is_open(attempt: Attempt) -> bool:
    """Whether the attempt still waits for its callback, or has waited in vain and was never answered."""
    return attempt.status is Status.PENDING or (is_lapsed(attempt) and attempt.returned_at is None)


def is_lapsed(attempt: Attempt) -> bool:
    """Whether time or a reset has ended the attempt, and nobody was told yet."""
    return attempt.status is Status.EXPIRED and attempt.finished_at is None


def came_too_late(attempt: Attempt, now: datetime) -> bool:
    """Whether the person's time is over, or has not even begun since the clock was set back."""
    return now >= attempt.expires_at or attempt.created_at > horizon(now)


def has_expired(attempt: Attempt, now: datetime) -> bool:
    """Whether the person, or in the hosted flow the caller's confirmation, has come too late."""
    match attempt.status:
        case Status.PENDING:
            return came_too_late(attempt, now)
        case Status.RETURNED:
            return attempt.returned_at is not None and not _lasts(attempt.returned_at, CONFIRMABLE_FOR, now)
        case _:
            return False


def is_interrupted(attempt: Attempt, now: datetime) -> bool:
    """Whether the exchange began so long ago that the process which began it must have died."""
    began = attempt.exchange_started_at
    return attempt.status is Status.EXCHANGING and began is not None and not _lasts(began, INTERRUPTED_AFTER, now)


def is_repeatable(attempt: Attempt, now: datetime) -> bool:
    """Whether a finished attempt's answer may still be given again."""
    return attempt.finished_at is not None and _lasts(attempt.finished_at, REPEATABLE_FOR, now)


def _lasts(began: datetime, duration: timedelta, now: datetime) -> bool:
    return began <= horizon(now) and now - began < duration
