"""`idv export`: all that is on file about a user, as one JSON document, with what each field means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from app.api.schemas import AuditEntryView, VerificationView
from app.core import claims, failures
from app.core.domain import Attempt, AuditEntry, Json, UserStatus

RECORD = {
    "incode_idv_completed": "Whether the identity was verified. null: not asked yet, or reset by an administrator.",
    "incode_idv_completed_at": "When it was verified, in UTC.",
    "incode_interview_id": "Incode's id of the check that it was verified by.",
    "incode_identity_id": "Incode's id of the person who is enrolled for this user.",
    "incode_idv_error": "Why the last verification failed; null where it did not.",
    "incode_idv": "What Incode told about the person in the verification that counted.",
    "incode_idv.interview_id": "Incode's id of that check.",
    "incode_idv.identity_id": "Incode's id of the person who was checked.",
    "incode_idv.auth_overall_score": "The score of the check, as Incode sent it.",
    "incode_idv.auth_overall_status": "The result of the check, as Incode sent it.",
    "incode_idv.pii": "Name, birth date, e-mail address, telephone number and address, as far as Incode sent them.",
    "incode_idv.userinfo": "Incode's answer about the person, whole, as it came.",
}
_ATTEMPT = {
    "locale": "The person's language, where the caller told it.",
    "exchange_started_at": "When the provider began to be asked about the person who came back.",
    "returned_at": "When the browser came back to this service, in the hosted flow.",
    "omit_state": "Whether the caller's own state took the place of ours.",
    "callback_fingerprint": "A digest of what the browser brought back, from which nothing can be read.",
    "browser_digest": "A digest of the cookie that bound the attempt to one browser, from which nothing can be read.",
    "failure": "Why it failed: its code, and what was said about it; null where it did not.",
}
_DOCUMENT = {
    "user_id": "The user's id at the identity provider.",
    "exported_at": "When this document was made, in UTC.",
    "record": "What is on file about the user; null where nothing is.",
    "verifications": "Every verification that was begun, newest first. They are removed after RETENTION_DAYS.",
    "audit": "What administrators did with what is on file about the user, newest first.",
    "not_shown": "What is kept besides: the provider's tokens, where STORE_TOKENS keeps them; the secrets and the "
    "e-mail address of a verification that is under way, and what it has come to, until shortly after its end; and "
    "where a verification of the hosted flow goes back to, with the caller's state, for as long as the verification is "
    "listed here.",
}


def document(
    user_id: str, at: datetime, status: UserStatus, attempts: Sequence[Attempt], entries: Sequence[AuditEntry]
) -> dict[str, Json]:
    """All that is on file about a user, told as it is kept, and the meaning of each field."""
    return {
        "user_id": user_id,
        "exported_at": claims.timestamp(at),
        "record": claims.without_tokens(status.app_metadata) or None,
        "verifications": [_attempt(attempt) for attempt in attempts],
        "audit": [AuditEntryView.of(entry).model_dump(mode="json") for entry in entries],
        "meaning": {
            **_DOCUMENT,
            **{f"record.{name}": meaning for name, meaning in RECORD.items()},
            **{f"verifications.{each.name}": _meaning_of(each.name) for each in fields(Attempt)},
            **{f"audit.{name}": str(each.description) for name, each in AuditEntryView.model_fields.items()},
        },
    }


def _attempt(attempt: Attempt) -> dict[str, Json]:
    shown: dict[str, Any] = {}
    for each in fields(attempt):
        value = getattr(attempt, each.name)
        shown[each.name] = claims.timestamp(value) if isinstance(value, datetime) else value
    failure = attempt.failure
    shown["failure"] = {"code": failure.code, "description": failures.detail(failure)} if failure else None
    return shown


def _meaning_of(name: str) -> str:
    shown: Mapping[str, Any] = VerificationView.model_fields
    return _ATTEMPT[name] if name in _ATTEMPT else str(shown[name].description)
