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


class FailureCode(StrEnum):
    """Why a verification failed; what each code means and what to do about it stands in `failures.CATALOGUE`."""

    NO_CODE_RETURNED = "no_code_returned"
    # RFC 6749 section 4.1.2.1
    ACCESS_DENIED = "access_denied"
    INVALID_REQUEST = "invalid_request"
    INVALID_SCOPE = "invalid_scope"
    SERVER_ERROR = "server_error"
    TEMPORARILY_UNAVAILABLE = "temporarily_unavailable"
    UNAUTHORIZED_CLIENT = "unauthorized_client"
    UNSUPPORTED_RESPONSE_TYPE = "unsupported_response_type"
    # OpenID Connect Core 1.0 section 3.1.2.6
    ACCOUNT_SELECTION_REQUIRED = "account_selection_required"
    CONSENT_REQUIRED = "consent_required"
    INTERACTION_REQUIRED = "interaction_required"
    INVALID_REQUEST_OBJECT = "invalid_request_object"
    INVALID_REQUEST_URI = "invalid_request_uri"
    LOGIN_REQUIRED = "login_required"
    REGISTRATION_NOT_SUPPORTED = "registration_not_supported"
    REQUEST_NOT_SUPPORTED = "request_not_supported"
    REQUEST_URI_NOT_SUPPORTED = "request_uri_not_supported"
    # RFC 8707 section 2; OpenID Connect Core Error Code unmet_authentication_requirements 1.0
    INVALID_TARGET = "invalid_target"
    UNMET_AUTHENTICATION_REQUIREMENTS = "unmet_authentication_requirements"
    AUTHORIZATION_ERROR = "authorization_error"
    # RFC 6749 section 5.2
    INVALID_CLIENT = "invalid_client"
    INVALID_GRANT = "invalid_grant"
    UNSUPPORTED_GRANT_TYPE = "unsupported_grant_type"
    TOKEN_EXCHANGE_FAILED = "token_exchange_failed"  # noqa: S105  a code, no secret
    PROVIDER_UNAVAILABLE = "provider_unavailable"
    ID_TOKEN_INVALID = "id_token_invalid"  # noqa: S105  a code, no secret
    USERINFO_SUB_MISMATCH = "userinfo_sub_mismatch"
    STATUS_NOT_ACCEPTED = "status_not_accepted"
    STATUS_MISSING = "status_missing"
    IDENTITY_MISMATCH = "identity_mismatch"
    IDENTITY_NOT_ESTABLISHED = "identity_not_established"
    RECORD_NOT_AUTHENTIC = "record_not_authentic"
    VERIFICATION_EXPIRED = "verification_expired"
    CALLBACK_INTERRUPTED = "callback_interrupted"
    TOO_MANY_ATTEMPTS = "too_many_attempts"


class AuditAction(StrEnum):
    """What an administrator did."""

    RESET = "reset"
    RESET_IDENTITY = "reset_identity"
    ERASE = "erase"
    EXPORT = "export"
    IMPORT = "import"


@dataclass(frozen=True, slots=True)
class Caller:
    """The holder of an API key."""

    name: str
    role: Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who acts as an administrator: an API key's name or `cli`, and the request in which it happened."""

    name: str
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One act of an administrator.

    `action` is an AuditAction, or the word of a newer version that has served this database. `user_id` is None for an
    act on nobody in particular, and once the user is erased.
    """

    id: str
    at: datetime
    action: str
    by: str
    user_id: str | None
    request_id: str | None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a verification failed, and what was said about it, cleaned."""

    code: FailureCode
    description: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """The provider's token answer, kept only with `STORE_TOKENS`."""

    id_token: str = field(repr=False)
    access_token: str = field(repr=False)
    token_type: str
    expires_in: Json = None


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
    """What is on file about a user.

    `authentic` is false when somebody without the keys has changed it, or when no key opens it: then nothing else is
    told.
    """

    completed: bool | None = None
    completed_at: datetime | None = None
    interview_id: str | None = None
    identity_id: str | None = None
    failure: Failure | None = None
    evidence: Evidence | None = None
    authentic: bool = True


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a validated ID token and userinfo say. `userinfo_answered` is false when userinfo gave nothing usable."""

    evidence: Evidence
    userinfo_answered: bool = True


@dataclass(frozen=True, slots=True)
class Accepted:
    """Evidence that the policy has judged to count: the only thing that a record can be written from."""

    evidence: Evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One verification attempt, as the record keeps it.

    `omit_state`: our state was left out of the authorization request. `locale` is the person's language, where it is
    known.
    """

    id: str
    user_id: str
    flow: Flow
    purpose: Purpose
    status: Status
    started_by: str
    created_at: datetime
    expires_at: datetime
    omit_state: bool = False
    locale: str | None = None
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


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaySecrets:
    """What a relay attempt keeps of its authorization request until the code is exchanged."""

    nonce: str = field(repr=False)
    code_verifier: str = field(repr=False)
    redirect_uri: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedSecrets:
    """What a hosted attempt keeps of its authorization request, which is made when the browser comes."""

    nonce: str = field(repr=False)
    code_verifier: str = field(repr=False)
    redirect_uri: str
    login_hint: str | None = field(default=None, repr=False)


RequestSecrets = RelaySecrets | HostedSecrets


@dataclass(frozen=True, slots=True, kw_only=True)
class WayBack:
    """Where a hosted attempt's browser came from and goes back to, with the caller's own state."""

    return_to: str
    caller_state: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumedAttempt:
    """An attempt whose callback this request alone may answer: the only thing that a code is exchanged for.

    `secrets` is a failure where the request was withdrawn, or cannot be opened any more; `way_back` is None in the
    relay flow, and where nobody can tell any more.
    """

    attempt: Attempt
    secrets: RequestSecrets | Failure
    way_back: WayBack | None
    consumed_at: datetime


@dataclass(frozen=True, slots=True)
class Decision:
    """The one answer of the service. `app_metadata` may hold tokens; who may see them is decided when it is rendered.

    `locale` is the language of what is said to the person.
    """

    action: Action
    reason: Reason | FailureCode
    redirect_url: str | None = None
    claims: Mapping[str, Json] = field(default_factory=dict)
    app_metadata: Mapping[str, Json] = field(default_factory=dict)
    failure: Failure | None = None
    verification: Attempt | None = None
    locale: str | None = None


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
    """Where the operator lets browsers go. The first of `redirect_uris`, and of `return_urls`, is the default.

    Without `redirect_uris` there is no relay flow, without `return_urls` no hosted flow.
    """

    redirect_uris: tuple[str, ...]
    public_url: str
    return_urls: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedAddresses:
    """Where browsers meet this service in the hosted flow: `launch_url` is called with an attempt's id."""

    launch_url: Callable[[str], str]
    callback_url: str


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
