"""Every sealed value's codec: what is encrypted, for whom, and how an older or a newer version reads it.

A value is sealed for an owner, who is named by the columns that decide what the value means. Somebody who can write to
the database, but holds no key, can therefore neither change such a column nor move a value to another row: it opens no
more. Members that this version does not know are ignored, and missing ones get their defaults, so that processes of two
versions can serve side by side.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, TypeVar

from app.core.claims import error_text, timestamp
from app.core.domain import (
    Action,
    Attempt,
    Decision,
    Evidence,
    Failure,
    FailureCode,
    Flow,
    HostedSecrets,
    Json,
    Reason,
    RelaySecrets,
    RequestSecrets,
    Tokens,
    UserRecord,
    Verdict,
    WayBack,
)
from app.storage.encryption import Cipher, Unreadable

T = TypeVar("T")
NOT_AUTHENTIC = UserRecord(failure=Failure(FailureCode.RECORD_NOT_AUTHENTIC), authentic=False)
"""A record that nothing is told of, because it cannot be believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """What a hosted exchange has brought, and the digest of the session token that was issued for it."""

    outcome: Verdict | Failure
    token_digest: str


def new_stamp() -> str:
    """A mark of a row that no other state of it has had, or will have."""
    return secrets.token_hex(16)


class Seals:
    """Seals the service's values and opens them. What cannot be opened raises Unreadable."""

    def __init__(self, cipher: Cipher) -> None:
        self._cipher = cipher

    def record_columns(self, user_id: str, record: UserRecord, revision: int) -> dict[str, Any]:
        """The columns of a user's row: what decides is in the sealed value as well."""
        value = {
            "revision": revision,
            "completed": record.completed,
            "completed_at": timestamp(record.completed_at),
            "interview_id": record.interview_id,
            "identity_id": record.identity_id,
            "failure": _failure_value(record.failure),
            "evidence": _evidence_value(record.evidence),
        }
        return {
            "revision": revision,
            "completed": record.completed,
            "completed_at": record.completed_at,
            "interview_id": record.interview_id,
            "identity_id": record.identity_id,
            "error": error_text(record.failure) if record.failure else None,
            "sealed_record": self._cipher.seal(_user_owner(user_id), value),
            "stamp": new_stamp(),
        }

    def record(self, row: Any) -> UserRecord | None:
        """The record in a user's row; None for a row that is only a lock, NOT_AUTHENTIC where it does not hold."""
        if row.revision == 0 and row.sealed_record is None:
            return None
        try:
            value = self._cipher.open(_user_owner(row.user_id), row.sealed_record or b"")
            record = UserRecord(
                completed=value.get("completed"),
                completed_at=_moment(value.get("completed_at")),
                interview_id=value.get("interview_id"),
                identity_id=value.get("identity_id"),
                failure=_failure(value.get("failure")),
                evidence=_evidence(value.get("evidence")),
            )
        except (Unreadable, *_MALFORMED):
            return NOT_AUTHENTIC
        beside = (row.revision, row.completed, row.completed_at, row.interview_id, row.identity_id, row.error)
        sealed = (
            value.get("revision"),
            record.completed,
            record.completed_at,
            record.interview_id,
            record.identity_id,
            _error(value.get("failure")),
        )
        return record if beside == sealed else NOT_AUTHENTIC

    def seal_request(self, attempt: Attempt, secrets: RequestSecrets) -> bytes:
        """The secrets of an attempt's authorization request."""
        return self._cipher.seal(_owner("request", attempt, attempt.browser_digest), _members(secrets))

    def request(self, attempt: Attempt, sealed: bytes) -> RequestSecrets:
        """What `seal_request` has sealed for this attempt."""
        value = self._cipher.open(_owner("request", attempt, attempt.browser_digest), sealed)
        return _read(RelaySecrets, value) if attempt.flow is Flow.RELAY else _read(HostedSecrets, value)

    def seal_way_back(self, attempt: Attempt, way_back: WayBack) -> bytes:
        """Where a hosted attempt's browser came from."""
        return self._cipher.seal(_owner("way back", attempt), _members(way_back))

    def way_back(self, attempt: Attempt, sealed: bytes) -> WayBack:
        """What `seal_way_back` has sealed for this attempt."""
        return _read(WayBack, self._cipher.open(_owner("way back", attempt), sealed))

    def seal_returned(self, attempt: Attempt, returned: Returned) -> bytes:
        """A hosted exchange's outcome, which waits for its confirmation."""
        outcome = returned.outcome
        value = {
            "failure": _failure_value(outcome) if isinstance(outcome, Failure) else None,
            "evidence": _evidence_value(outcome.evidence) if isinstance(outcome, Verdict) else None,
            "userinfo_answered": isinstance(outcome, Verdict) and outcome.userinfo_answered,
            "token_digest": returned.token_digest,
        }
        return self._cipher.seal(_owner("outcome", attempt, timestamp(attempt.returned_at)), value)

    def returned(self, attempt: Attempt, sealed: bytes) -> Returned:
        """What `seal_returned` has sealed for this attempt."""
        value = self._cipher.open(_owner("outcome", attempt, timestamp(attempt.returned_at)), sealed)
        try:
            failure, evidence = _failure(value.get("failure")), _evidence(value.get("evidence"))
            outcome = failure or Verdict(evidence or Evidence(), userinfo_answered=value.get("userinfo_answered", True))
            return Returned(outcome=outcome, token_digest=value["token_digest"])
        except _MALFORMED:
            raise Unreadable from None

    def seal_return_location(self, attempt: Attempt, location: str) -> bytes:
        """Where a hosted attempt's browser is sent back to, with its session token."""
        return self._cipher.seal(
            _owner("return", attempt, attempt.browser_digest, timestamp(attempt.returned_at)), location
        )

    def return_location(self, attempt: Attempt, sealed: bytes) -> str:
        """What `seal_return_location` has sealed for this attempt."""
        owner = _owner("return", attempt, attempt.browser_digest, timestamp(attempt.returned_at))
        return str(self._cipher.open(owner, sealed))

    def seal_answer(self, attempt: Attempt, decision: Decision) -> bytes:
        """What a finished attempt was answered with."""
        value = {
            "action": decision.action,
            "reason": decision.reason,
            "claims": decision.claims,
            "app_metadata": decision.app_metadata,
            "failure": _failure_value(decision.failure),
        }
        return self._cipher.seal(_answer_owner(attempt), value)

    def answer(self, attempt: Attempt, sealed: bytes) -> Decision:
        """What `seal_answer` has sealed for this attempt."""
        value = self._cipher.open(_answer_owner(attempt), sealed)
        try:
            failure = _failure(value.get("failure"))
            return Decision(
                Action(value["action"]),
                failure.code if failure else Reason(value["reason"]),
                claims=value["claims"],
                app_metadata=value["app_metadata"],
                failure=failure,
                verification=attempt,
                locale=attempt.locale,
            )
        except _MALFORMED:
            raise Unreadable from None

    def seal_key(self, name: str, key: bytes) -> bytes:
        """A key of the service's own."""
        return self._cipher.seal(_key_owner(name), key.hex())

    def key(self, name: str, sealed: bytes) -> bytes:
        """What `seal_key` has sealed under this name."""
        return bytes.fromhex(self._cipher.open(_key_owner(name), sealed))


_MALFORMED = (AttributeError, KeyError, TypeError, ValueError)


def _user_owner(user_id: str) -> str:
    return f"user\n{user_id}"


def _key_owner(name: str) -> str:
    return f"key\n{name}"


def _owner(kind: str, attempt: Attempt, *more: str | None) -> str:
    """The name of an attempt's value: no user's id holds the control character that parts its members."""
    return "\n".join([
        kind,
        attempt.id,
        attempt.user_id,
        attempt.flow,
        attempt.purpose,
        "omit_state" if attempt.omit_state else "state",
        timestamp(attempt.created_at),
        timestamp(attempt.expires_at),
        *(each or "" for each in more),
    ])  # fmt: skip


def _answer_owner(attempt: Attempt) -> str:
    return _owner("answer", attempt, attempt.status, attempt.callback_fingerprint, timestamp(attempt.finished_at))


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text is not None else None


def _members(value: Any) -> dict[str, Json]:
    return {member.name: getattr(value, member.name) for member in fields(value)}


def _read(kind: type[T], value: Json) -> T:
    """An object of `kind` from the members that it knows.

    Raises Unreadable where one is missing that has no default.
    """
    try:
        return kind(**{member.name: value[member.name] for member in fields(kind) if member.name in value})  # type: ignore[arg-type]
    except _MALFORMED:
        raise Unreadable from None


def _failure_value(failure: Failure | None) -> Json:
    return _members(failure) if failure else None


def _failure(value: Mapping[str, Json] | None) -> Failure | None:
    if value is None:
        return None
    code, description = value["code"], value.get("description")
    # A newer version may know more codes; what it says about the person cannot be known here.
    return (
        Failure(FailureCode(code), description)
        if code in set(FailureCode)
        else Failure(FailureCode.AUTHORIZATION_ERROR, code)
    )


def _error(value: Mapping[str, Json] | None) -> str | None:
    """The failure as the column beside it has it.

    It has the code that was sealed, which a newer version alone may know.
    """
    if value is None:
        return None
    return f"{value['code']}: {value['description']}" if value.get("description") else str(value["code"])


def _evidence_value(evidence: Evidence | None) -> Json:
    if evidence is None:
        return None
    return {**_members(evidence), "tokens": _members(evidence.tokens) if evidence.tokens else None}


def _evidence(value: Mapping[str, Json] | None) -> Evidence | None:
    if value is None:
        return None
    tokens = value.get("tokens")
    return _read(Evidence, {**value, "tokens": _read(Tokens, tokens) if tokens else None})
