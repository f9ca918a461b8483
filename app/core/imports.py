"""The inverse of `claims.app_metadata`.

It reads what the Action, or a mirror of ours, has kept, and gives the record that it stands for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from app.core import claims
from app.core.domain import Evidence, Failure, FailureCode, Json, Rules, Tokens, UserRecord
from app.core.evidence import (
    MAX_USERINFO_BYTES,
    fits,
    is_usable_score,
    kept_userinfo,
    personal_data,
    status_text,
    usable_id,
)
from app.core.failures import clean

MEMBERS = frozenset(claims.app_metadata(UserRecord()))
"""The members of `app_metadata` that a record is kept in."""
# How the Action begins what it keeps of a refused code, and what it writes where the provider sent no description.
_EXCHANGE_FAILED = "Incode token exchange failed"
_NO_DESCRIPTION = "undefined"


class Trap(StrEnum):
    """What in a kept record cannot be taken over as it stands."""

    IDENTITY_FROM_SUB = "identity_from_sub"
    IDENTITY_UNCONFIRMED = "identity_unconfirmed"
    NOT_TRUE_OR_FALSE = "completed_not_true_or_false"
    TIME_UNREADABLE = "time_unreadable"
    TIME_IN_THE_FUTURE = "time_in_the_future"
    EVIDENCE_MISSING = "evidence_missing"
    STATUS_NOT_ACCEPTED = "status_not_accepted"
    STATUS_MISSING = "status_missing"
    TOKENS_LEFT_OUT = "tokens_left_out"
    USERINFO_LEFT_OUT = "userinfo_left_out"
    VALUE_LEFT_OUT = "value_left_out"


MEANINGS: dict[Trap, str] = {
    Trap.IDENTITY_FROM_SUB: (
        "The identity id is userinfo's sub, which changes with each interview: nobody is enrolled by it."
    ),
    Trap.IDENTITY_UNCONFIRMED: "The identity id is not the verification's own: nobody is enrolled by it.",
    Trap.NOT_TRUE_OR_FALSE: (
        'Whether it was completed is neither true nor false, such as the text "false": it counts as not.'
    ),
    Trap.TIME_UNREADABLE: "When it was completed is missing, or is no time: it does not count.",
    Trap.TIME_IN_THE_FUTURE: "It was completed at a time that has not come yet: it does not count.",
    Trap.EVIDENCE_MISSING: "What the provider said is missing: it does not count.",
    Trap.STATUS_NOT_ACCEPTED: "Its status is none of ACCEPTED_STATUSES: it does not count, and enrols nobody.",
    Trap.STATUS_MISSING: "It has no status, and REQUIRE_STATUS wants one: it does not count, and enrols nobody.",
    Trap.TOKENS_LEFT_OUT: "It holds the provider's tokens, which only STORE_TOKENS=true keeps: they are left out.",
    Trap.USERINFO_LEFT_OUT: "Its userinfo is over 16 KB, or nested more than 32 levels deep: it is left out.",
    Trap.VALUE_LEFT_OUT: "An id, a score or personal data is of a form that no provider sends: it is left out.",
}


@dataclass(frozen=True, slots=True)
class Kept:
    """The record that was kept of a user, None where nothing was.

    `traps` are what of it could not be taken over as it stands.
    """

    record: UserRecord | None
    traps: frozenset[Trap] = frozenset()


def read_app_metadata(metadata: Mapping[str, Json], now: datetime, rules: Rules) -> Kept:
    """The record that `app_metadata` stands for. Other members than ours are somebody else's, and ignored.

    A verification that would not count if it came in now is taken over as one that did not.
    """
    if MEMBERS.isdisjoint(metadata):
        return Kept(None)
    traps: set[Trap] = set()
    told = _object(metadata.get("incode_idv"), traps)
    evidence = _evidence(told, rules, traps) if told is not None else None
    changing = _changing_ids(metadata, told or {})
    if evidence and evidence.identity_id in changing:
        traps.add(Trap.IDENTITY_FROM_SUB)
        evidence = replace(evidence, identity_id=None)
    record = UserRecord(
        completed=_completed(metadata.get("incode_idv_completed"), traps),
        completed_at=_completed_at(metadata.get("incode_idv_completed_at"), now, rules, traps),
        interview_id=_id(metadata.get("incode_interview_id"), traps),
        identity_id=_enrolled(_id(metadata.get("incode_identity_id"), traps), evidence, changing, traps),
        failure=_failure(metadata.get("incode_idv_error")),
        evidence=evidence,
    )
    return Kept(_judged(record, rules, traps), frozenset(traps))


def _judged(record: UserRecord, rules: Rules, traps: set[Trap]) -> UserRecord:
    """The record without what does not count.

    Only a verification that counts has its evidence kept, and enrols a person.
    """
    if record.evidence and (failure := _status_failure(record.evidence.auth_overall_status, rules, traps)):
        return UserRecord(completed=False, interview_id=record.interview_id, failure=record.failure or failure)
    if not record.completed:
        return record
    if record.evidence is None:
        traps.add(Trap.EVIDENCE_MISSING)
    if record.completed_at is None and Trap.TIME_IN_THE_FUTURE not in traps:
        traps.add(Trap.TIME_UNREADABLE)
    return record if record.evidence and record.completed_at else replace(record, completed=False)


def _status_failure(status: str | None, rules: Rules, traps: set[Trap]) -> Failure | None:
    if status is None and rules.require_status:
        traps.add(Trap.STATUS_MISSING)
        return Failure(FailureCode.STATUS_MISSING)
    if status is not None and status not in rules.accepted_statuses:
        traps.add(Trap.STATUS_NOT_ACCEPTED)
        return Failure(FailureCode.STATUS_NOT_ACCEPTED)
    return None


def _completed(value: Json, traps: set[Trap]) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    traps.add(Trap.NOT_TRUE_OR_FALSE)
    return False


def _completed_at(value: Json, now: datetime, rules: Rules, traps: set[Trap]) -> datetime | None:
    """The time, in the milliseconds that a record keeps; one without an offset is in UTC, as Auth0's machines are."""
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        traps.add(Trap.TIME_UNREADABLE)
        return None
    # It would count on the day when that time comes.
    if moment > now + timedelta(seconds=rules.clock_skew_seconds):
        traps.add(Trap.TIME_IN_THE_FUTURE)
        return None
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _changing_ids(metadata: Mapping[str, Json], told: Mapping[str, Json]) -> frozenset[str]:
    """The ids that belong to one interview.

    Where the provider named no identity, the Action kept one of them in its place.
    """
    userinfo = told.get("userinfo")
    userinfo = userinfo if isinstance(userinfo, Mapping) else {}
    ids = (
        metadata.get("incode_interview_id"),
        told.get("interview_id"),
        userinfo.get("interview_id"),
        userinfo.get("sub"),
    )
    return frozenset(value for value in ids if isinstance(value, str))


def _enrolled(kept: str | None, evidence: Evidence | None, changing: frozenset[str], traps: set[Trap]) -> str | None:
    if kept in changing:
        traps.add(Trap.IDENTITY_FROM_SUB)
        return None
    if kept is not None and (evidence is None or kept != evidence.identity_id):
        # It may be the sub of an interview before this one, which nobody can tell any more.
        traps.add(Trap.IDENTITY_UNCONFIRMED)
        return None
    return kept


def _failure(value: Json) -> Failure | None:
    if not isinstance(value, str) or not value:
        return None
    if failure := claims.read_error_text(value):
        described = failure.description not in {None, _NO_DESCRIPTION}
        return replace(failure, description=clean(failure.description) if described else None)
    refused = value.startswith(_EXCHANGE_FAILED)
    return Failure(FailureCode.TOKEN_EXCHANGE_FAILED if refused else FailureCode.AUTHORIZATION_ERROR, clean(value))


def _evidence(told: Mapping[str, Json], rules: Rules, traps: set[Trap]) -> Evidence:
    score = told.get("auth_overall_score")
    if not is_usable_score(score):
        traps.add(Trap.VALUE_LEFT_OUT)
        score = None
    return Evidence(
        interview_id=_id(told.get("interview_id"), traps),
        identity_id=_id(told.get("identity_id"), traps),
        auth_overall_score=score,
        auth_overall_status=status_text(told.get("auth_overall_status")),
        pii=_pii(_object(told.get("pii"), traps) or {}, traps),
        userinfo=_userinfo(_object(told.get("userinfo"), traps), traps),
        tokens=_tokens(told, rules, traps),
    )


def _pii(told: Mapping[str, Json], traps: set[Trap]) -> dict[str, Json]:
    usable = personal_data(told)
    if len(usable) < len(told):
        traps.add(Trap.VALUE_LEFT_OUT)
    return usable


def _userinfo(told: Mapping[str, Json] | None, traps: set[Trap]) -> Mapping[str, Json] | None:
    if not told:  # the Action keeps an empty object where userinfo did not answer
        return None
    kept = kept_userinfo(told)
    if kept is None:
        traps.add(Trap.USERINFO_LEFT_OUT)
    return kept


def _tokens(told: Mapping[str, Json], rules: Rules, traps: set[Trap]) -> Tokens | None:
    id_token, access_token, token_type = (told.get(name) for name in ("id_token", "access_token", "token_type"))
    if id_token is None and access_token is None:
        return None
    texts = (id_token, access_token, token_type)
    if not rules.store_tokens or not all(isinstance(text, str) and fits(text, MAX_USERINFO_BYTES) for text in texts):
        traps.add(Trap.TOKENS_LEFT_OUT)
        return None
    expires_in = told.get("expires_in")
    return Tokens(
        id_token=str(id_token),
        access_token=str(access_token),
        token_type=str(token_type),
        expires_in=expires_in if is_usable_score(expires_in) else None,
    )


def _id(value: Json, traps: set[Trap]) -> str | None:
    usable = usable_id(value)
    if usable is None and value not in (None, ""):
        traps.add(Trap.VALUE_LEFT_OUT)
    return usable


def _object(value: Json, traps: set[Trap]) -> Mapping[str, Json] | None:
    if value is None or isinstance(value, Mapping):
        return value
    traps.add(Trap.VALUE_LEFT_OUT)
    return None
