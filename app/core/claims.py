"""The one serializer of the claim and of `app_metadata`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import overload

from app.core.domain import Evidence, Failure, FailureCode, Json, Purpose, Reason, Rules, UserRecord

_TOKEN_NAMES = ("id_token", "access_token", "token_type", "expires_in")


@overload
def timestamp(moment: datetime) -> str: ...
@overload
def timestamp(moment: None) -> None: ...
def timestamp(moment: datetime | None) -> str | None:
    """UTC, ISO 8601 with milliseconds and `Z`."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def token_claims(
    record: UserRecord | None, reason: Reason, rules: Rules, purpose: Purpose = Purpose.LOGIN
) -> dict[str, Json]:
    """What to put on tokens: the claim of a verification that stands, under its namespace.

    Empty for any other `reason`.
    """
    if reason not in {Reason.RECENTLY_VERIFIED, Reason.VERIFIED} or record is None or record.evidence is None:
        return {}
    evidence = record.evidence
    claim = {
        "completed": True,
        "completed_at": timestamp(record.completed_at),
        "interview_id": evidence.interview_id,
        "identity_id": evidence.identity_id,
        "auth_overall_score": evidence.auth_overall_score,
        "auth_overall_status": evidence.auth_overall_status,
        "pii": dict(evidence.pii) if rules.claim_include_pii else {},
    }
    if purpose is Purpose.STEP_UP:
        claim["purpose"] = purpose
    return {rules.claim_namespace: claim}


def app_metadata(record: UserRecord | None) -> dict[str, Json]:
    """The record under the Action's names, tokens included where they are kept: every key, or none without a record."""
    if record is None:
        return {}
    return {
        "incode_idv_completed": record.completed,
        "incode_idv_completed_at": timestamp(record.completed_at),
        "incode_interview_id": record.interview_id,
        "incode_identity_id": record.identity_id,
        "incode_idv_error": error_text(record.failure) if record.failure else None,
        "incode_idv": _evidence(record.evidence) if record.evidence else None,
    }


def error_text(failure: Failure) -> str:
    """The failure as `incode_idv_error` holds it: `code` or `code: description`."""
    return f"{failure.code}: {failure.description}" if failure.description else failure.code


def read_error_text(text: str) -> Failure | None:
    """The failure that `error_text` has written; None where the catalogue does not have it."""
    code, _, description = text.partition(": ")
    return Failure(FailureCode(code), description or None) if code in set(FailureCode) else None


def without_tokens(metadata: Mapping[str, Json]) -> dict[str, Json]:
    """`app_metadata` as it is shown to a key that is not an administrator's, or while `STORE_TOKENS` is off."""
    evidence = metadata.get("incode_idv")
    if not evidence:
        return dict(metadata)
    shown = {name: value for name, value in evidence.items() if name not in _TOKEN_NAMES}
    return {**metadata, "incode_idv": shown}


def _evidence(evidence: Evidence) -> dict[str, Json]:
    shown: dict[str, Json] = {
        "interview_id": evidence.interview_id,
        "identity_id": evidence.identity_id,
        "auth_overall_score": evidence.auth_overall_score,
        "auth_overall_status": evidence.auth_overall_status,
        "pii": dict(evidence.pii),
    }
    if evidence.userinfo is not None:
        shown["userinfo"] = dict(evidence.userinfo)
    if evidence.tokens:
        shown |= asdict(evidence.tokens)
    return shown
