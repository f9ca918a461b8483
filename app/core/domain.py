"""The service's vocabulary: frozen values without behaviour of their own."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

Json = Any
Clock = Callable[[], datetime]

ATTEMPT_ID = re.compile(r"idv_[0-9a-f]{32}")
# No control characters, and nothing that UTF-8 cannot write.
USER_ID = re.compile(r"[^\u0000-\u001f\u007f-\u009f\ud800-\udfff]{1,255}")


def utc_now() -> datetime:
    """The current time in UTC, in whole milliseconds: the precision that the service stores and answers with."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


class Action(StrEnum):
    """What the caller does next."""

    CONTINUE = "continue"
    REDIRECT = "redirect"
    DENY = "deny"


class Reason(StrEnum):
    """Why a decision was taken, where no failure gives the reason."""

    NEVER_VERIFIED = "never_verified"
    NOT_VERIFIED = "not_verified"
    REVERIFICATION_DUE = "reverification_due"
    RECORD_INVALID = "record_invalid"
    FORCED = "forced"
    STEP_UP = "step_up"
    RECENTLY_VERIFIED = "recently_verified"
    VERIFIED = "verified"


class Flow(StrEnum):
    """Who receives the provider's answer from the browser: the caller (relay) or this service (hosted)."""

    RELAY = "relay"
    HOSTED = "hosted"


class Purpose(StrEnum):
    """What the person is verified for."""

    LOGIN = "login"
    STEP_UP = "step_up"


class Status(StrEnum):
    """Where an attempt stands."""

    PENDING = "pending"
    EXCHANGING = "exchanging"
    RETURNED = "returned"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"


class Role(StrEnum):
    """What an API key may do; an administrator may do all that the others may."""

    IDP = "idp"
    SUPPORT = "support"
    METRICS = "metrics"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """The holder of an API key."""

    name: str
    role: Role


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a verification failed: a code of the catalogue, and what was said about it, cleaned."""

    code: str
    description: str | None = None


@dataclass(frozen=True, slots=True)
class Tokens:
    """The provider's token answer, kept only with `STORE_TOKENS`."""

    id_token: str
    access_token: str
    token_type: str
    expires_in: Json


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the provider said about a person in a verification that counted."""

    interview_id: str | None = None
    identity_id: str | None = None
    auth_overall_score: Json = None
    auth_overall_status: str | None = None
    pii: Mapping[str, Json] = field(default_factory=dict)
    userinfo: Mapping[str, Json] | None = None
    tokens: Tokens | None = None


@dataclass(frozen=True, slots=True)
class UserRecord:
    """What is on file about a user. `intact` is false when the stored evidence cannot be read."""

    completed: bool | None = None
    completed_at: datetime | None = None
    interview_id: str | None = None
    identity_id: str | None = None
    error: str | None = None
    evidence: Evidence | None = None
    intact: bool = True


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a validated ID token and userinfo say. `userinfo_answered` is false when userinfo gave nothing usable."""

    evidence: Evidence
    userinfo_answered: bool = True


@dataclass(frozen=True, slots=True)
class Accepted:
    """Evidence that the policy has judged to count: the only thing that a record can be written from."""

    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Attempt:
    """One verification attempt, as the record keeps it."""

    id: str
    user_id: str
    flow: Flow
    purpose: Purpose
    status: Status
    started_by: str
    created_at: datetime
    expires_at: datetime
    finished_by: str | None = None
    exchange_started_at: datetime | None = None
    finished_at: datetime | None = None
    callback_fingerprint: str | None = None
    browser_digest: str | None = None
    returned_at: datetime | None = None
    interview_id: str | None = None
    identity_id: str | None = None
    auth_overall_score: Json = None
    auth_overall_status: str | None = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class RequestSecrets:
    """What an attempt keeps of its authorization request until the code is exchanged.

    In the hosted flow the request is made when the browser comes, and the browser is sent back to `return_to` with the
    caller's own `caller_state`.
    """

    nonce: str
    code_verifier: str
    redirect_uri: str
    login_hint: str | None = None
    return_to: str | None = None
    caller_state: str | None = None


@dataclass(frozen=True, slots=True)
class ConsumedAttempt:
    """An attempt whose callback this request alone may answer: the only thing that a code is exchanged for."""

    attempt: Attempt
    secrets: RequestSecrets
    consumed_at: datetime


@dataclass(frozen=True, slots=True)
class Decision:
    """The one answer of the service. `app_metadata` may hold tokens; who may see them is decided when it is rendered."""

    action: Action
    reason: str
    redirect_url: str | None = None
    claims: Mapping[str, Json] = field(default_factory=dict)
    app_metadata: Mapping[str, Json] = field(default_factory=dict)
    failure: Failure | None = None
    verification: Attempt | None = None


@dataclass(frozen=True, slots=True)
class Ruling:
    """What is to be recorded of a finished callback. `record` is None where the user's record stays as it is."""

    status: Status
    decision: Decision
    record: UserRecord | None
    evidence: Evidence | None = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class UserStatus:
    """Whether a user's verification stands at this moment, and what follows from it."""

    user_id: str
    reason: Reason
    reverify_at: datetime | None
    claims: Mapping[str, Json]
    app_metadata: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where browsers go: the redirect URIs of the relay flow, the first of which is the default, and what the hosted flow uses.

    Without `redirect_uris` there is no relay flow, without `return_urls` no hosted one.
    """

    redirect_uris: tuple[str, ...]
    public_url: str
    return_urls: tuple[str, ...]

    @property
    def callback_url(self) -> str:
        """The redirect URI of the hosted flow."""
        return f"{self.public_url}/v1/callback"

    def launch_url(self, attempt: Attempt) -> str:
        """Where the browser enters the hosted flow."""
        return f"{self.public_url}/v1/verifications/{attempt.id}/launch"


@dataclass(frozen=True, slots=True)
class Rules:
    """The operator's choices that decisions depend on. Windows are hours or seconds, as the names say."""

    reverification_hours: float = 720.0
    block_on_failure: bool = False
    accepted_statuses: frozenset[str] = frozenset({"OK"})
    require_status: bool = False
    allow_identity_change: bool = False
    clock_skew_seconds: float = 60.0
    attempt_limit: int = 20
    attempt_window_hours: float = 24.0
    claim_namespace: str = "https://incode.com/idv"
    claim_include_pii: bool = True
    store_tokens: bool = False
