"""What travels over HTTP: the requests as they are accepted and the answers as they are shown."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, field_validator, model_validator
from pydantic_core import PydanticCustomError

from app.core import failures
from app.core.claims import timestamp, without_tokens
from app.core.domain import ATTEMPT_ID, Action, Attempt, Decision, Failure, Flow, Purpose, Reason, Status, UserStatus
from app.flows.exchange import AuthorizationResponse
from app.flows.verification import Callback, StartRequest
from app.storage.store import AttemptFilter, Page, Position

_NO_CONTROLS = r"^[^\u0000-\u001f\u007f-\u009f]*$"


def _absent_when_empty(value: Any) -> Any:
    return None if value == "" else value


UserId = Annotated[
    str,
    Field(
        min_length=1,
        max_length=255,
        pattern=_NO_CONTROLS,
        description="The user's id at the identity provider. Any characters but control characters.",
        examples=["auth0|66f1c0ffee"],
    ),
]
VerificationId = Annotated[
    str,
    Field(
        max_length=64,
        pattern=_NO_CONTROLS,
        description="`verification.id` of the answer that started it.",
        examples=["idv_6f1d2c3b4a5968778695a4b3c2d1e0f1"],
    ),
]
# The bounds belong to the text, not to the union: an absent value has no length.
Parameter = Annotated[Annotated[str, Field(max_length=8192, pattern=_NO_CONTROLS)] | None, BeforeValidator(_absent_when_empty)]
HostedText = Annotated[Annotated[str, Field(max_length=2048, pattern=_NO_CONTROLS)] | None, BeforeValidator(_absent_when_empty)]
Email = Annotated[Annotated[str, Field(max_length=320, pattern=_NO_CONTROLS)] | None, BeforeValidator(_absent_when_empty)]
ForeignText = Annotated[str | None, BeforeValidator(_absent_when_empty)]
Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"}, examples=["2026-04-07T17:28:25.150Z"])]
AttemptStatus = Annotated[
    Status,
    Field(
        description="How far the attempt has come:\n\n"
        "- `pending`: it was started, and the person has not come back yet.\n"
        "- `exchanging`: a callback is under way; the provider is being asked.\n"
        "- `returned`: hosted only. The person is back, and your `POST /v1/callback` is missing. It waits for 5 minutes.\n"
        "- `completed`: the person was verified.\n"
        "- `failed`: it ended without a verification; `error` says why.\n"
        "- `expired`: it was not finished in time."
    ),
]


class StartBody(BaseModel):
    """Whom to verify, and how."""

    model_config = ConfigDict(extra="forbid")

    user_id: UserId
    email: Email = Field(
        None, description="The `login_hint` of a first verification. A returning user's enrolled identity is preferred."
    )
    purpose: Purpose = Field(Purpose.LOGIN, description="`step_up` always redirects and never changes the user's record.")
    flow: Flow | None = Field(
        None,
        description=(
            "`relay`: the provider sends the browser to the identity provider, whose backend relays the parameters to us. "
            "`hosted`: the provider sends the browser to us. Default: `relay` where `REDIRECT_URI` is set or derived."
        ),
    )
    omit_state: StrictBool = Field(
        False, description="For callers whose own redirect adds a `state` (Auth0): ours is left out of `redirect_url`."
    )
    return_to: HostedText = Field(
        None, description="Hosted only: where the browser goes afterwards, one of `RETURN_URLS`. Default: the first of them."
    )
    state: HostedText = Field(None, description="Hosted only: your own opaque state, which comes back to `return_to`.")
    force: StrictBool = Field(False, description="Verify even inside the window.")

    def request(self) -> StartRequest:
        """The use-case's request."""
        return StartRequest(**self.model_dump())


class CallbackBody(BaseModel):
    """What arrived at the identity provider's continue URL, and whom its own session is about."""

    model_config = ConfigDict(extra="forbid")

    user_id: UserId
    verification_id: Annotated[VerificationId | None, BeforeValidator(_absent_when_empty)] = Field(
        None, description="From the caller's own session. Without it the user's newest pending relay login is meant."
    )
    code: Parameter = Field(None, description="The provider's code. It works once, for about 60 seconds.")
    state: Parameter = Field(
        None, description="The provider's echo of our `state`; left out where the caller's own took its place."
    )
    iss: Parameter = Field(None, description="The provider's issuer, as it came (RFC 9207).")
    error: ForeignText = Field(None, description="The provider's error. It wins over a `code`, which is then not sent.")
    error_description: ForeignText = Field(None, description="The provider's words about the error.")
    session_token: Parameter = Field(None, description="Hosted: the token that the browser brought, alone. It works once.")

    @model_validator(mode="after")
    def _session_token_stands_alone(self) -> Self:
        response = (self.code, self.state, self.iss, self.error, self.error_description)
        if self.session_token is not None and any(part is not None for part in response):
            raise PydanticCustomError("session_token_alone", "session_token stands alone: leave the provider's parameters out")
        return self

    def callback(self) -> Callback:
        """The use-case's callback."""
        response = AuthorizationResponse(self.code, self.state, self.iss, self.error, self.error_description)
        return Callback(self.user_id, self.verification_id, response, self.session_token)


class ResetBody(BaseModel):
    """What to reset besides the verification itself."""

    model_config = ConfigDict(extra="forbid")

    identity: StrictBool = Field(False, description="Also forget the enrolled identity, so that another person can enrol.")


class ErrorView(BaseModel):
    """What went wrong, and what to do about it."""

    code: str = Field(
        description="Stable, for a program to read. One of:\n\n"
        + "\n".join(f"- `{code}`: {kind.detail}" for code, kind in failures.CATALOGUE.items()),
        examples=["access_denied"],
    )
    detail: str = Field(description="What went wrong, for a person to read.")
    hint: str = Field(description="What to do about it.")

    @classmethod
    def of(cls, failure: Failure | None) -> ErrorView | None:
        """The view of a failure, if there is one."""
        if failure is None:
            return None
        return cls(code=failure.code, detail=failures.detail(failure), hint=failures.hint(failure))


class VerificationView(BaseModel):
    """One attempt."""

    id: str = Field(description="The attempt's id. Keep it in the user's session for the callback.")
    user_id: str = Field(description="Whom the attempt is about.")
    status: AttemptStatus
    flow: Flow = Field(description="Who takes the browser back from the provider: you (`relay`) or this service (`hosted`).")
    purpose: Purpose = Field(description="`step_up` guards one action and never changes the user's record.")
    started_by: str = Field(description="The name of the API key that started it.")
    finished_by: str | None = Field(description="The name of the API key that finished it; null until then.")
    created_at: Timestamp = Field(description="When it was started.")
    expires_at: Timestamp = Field(description="Until when the person can finish it.")
    finished_at: Timestamp | None = Field(description="When it was finished; null until then.")
    interview_id: str | None = Field(description="Incode's id of this one check of the person.")
    identity_id: str | None = Field(description="Incode's id of the person, the same at each check.")
    auth_overall_score: Any = Field(description="The score of the check, as Incode sent it; null where it sent none.")
    auth_overall_status: str | None = Field(
        description="The result of the check, such as `OK`. `ACCEPTED_STATUSES` says which results count."
    )
    error: ErrorView | None = Field(description="Why it failed; null where it did not.")

    @classmethod
    def of(cls, attempt: Attempt) -> VerificationView:
        """The view of an attempt."""
        return cls(
            id=attempt.id,
            user_id=attempt.user_id,
            status=attempt.status,
            flow=attempt.flow,
            purpose=attempt.purpose,
            started_by=attempt.started_by,
            finished_by=attempt.finished_by,
            created_at=timestamp(attempt.created_at),
            expires_at=timestamp(attempt.expires_at),
            finished_at=timestamp(attempt.finished_at),
            interview_id=attempt.interview_id,
            identity_id=attempt.identity_id,
            auth_overall_score=attempt.auth_overall_score,
            auth_overall_status=attempt.auth_overall_status,
            error=ErrorView.of(attempt.failure),
        )


Claims = Annotated[dict[str, Any], Field(description="Entries to put on the tokens. Empty unless a verification stands.")]
AppMetadata = Annotated[
    dict[str, Any],
    Field(description="The user's record under the Action's names: every key, or none for a user without a record."),
]


class DecisionView(BaseModel):
    """What the caller does next. Both starting and finishing answer with it."""

    action: Action = Field(
        description="`continue`: go on with the login. `redirect`: send the browser to `redirect_url`. `deny`: refuse the login."
    )
    reason: str = Field(description="Why; with an error, its code.", examples=["never_verified"])
    redirect_url: str | None = Field(description="Where to send the browser, with `redirect`.")
    claims: Claims
    app_metadata: AppMetadata
    error: ErrorView | None = Field(description="What went wrong; null where nothing did.")
    verification: VerificationView | None = Field(description="The attempt; null when none was made.")

    @classmethod
    def of(cls, decision: Decision, *, with_tokens: bool) -> DecisionView:
        """The view of a decision, for a caller who may or may not see tokens."""
        return cls(
            action=decision.action,
            reason=decision.reason,
            redirect_url=decision.redirect_url,
            claims=dict(decision.claims),
            app_metadata=dict(decision.app_metadata) if with_tokens else without_tokens(decision.app_metadata),
            error=ErrorView.of(decision.failure),
            verification=VerificationView.of(decision.verification) if decision.verification else None,
        )


class UserStatusView(BaseModel):
    """Whether a user's verification stands at this moment."""

    user_id: str = Field(description="Whom you asked about.")
    verified: bool = Field(description="Whether a verification stands now.")
    needs_verification: bool = Field(description="Whether the next login will be sent to the provider.")
    reason: Reason = Field(description="Why: `recently_verified`, or why the next login will be sent to the provider.")
    reverify_at: Timestamp | None = Field(description="When a standing verification ends; null when it does not.")
    claims: Claims
    app_metadata: AppMetadata

    @classmethod
    def of(cls, status: UserStatus, *, with_tokens: bool) -> UserStatusView:
        """The view of a user's status, for a caller who may or may not see tokens."""
        verified = status.reason is Reason.RECENTLY_VERIFIED
        return cls(
            user_id=status.user_id,
            verified=verified,
            needs_verification=not verified,
            reason=status.reason,
            reverify_at=timestamp(status.reverify_at),
            claims=dict(status.claims),
            app_metadata=dict(status.app_metadata) if with_tokens else without_tokens(status.app_metadata),
        )


class VerificationQuery(BaseModel):
    """Which attempts are wanted."""

    model_config = ConfigDict(extra="forbid")

    user_id: UserId | None = Field(None, description="Only this user's attempts.")
    status: Status | None = Field(None, description="Only attempts with this status.", examples=["failed"])
    limit: Annotated[int, Field(ge=1, le=100, description="How many on a page.", examples=[10])] = 50
    cursor: Annotated[
        str | None,
        Field(
            max_length=200,
            description="`next_cursor` of the page before.",
            examples=["MjAyNi0wNC0wN1QxNzoyODoyNS4xNTAwMDArMDA6MDAgaWR2XzZmMWQyYzNiNGE1OTY4Nzc4Njk1YTRiM2MyZDFlMGYx"],
        ),
    ] = None

    @field_validator("cursor")
    @classmethod
    def _is_ours(cls, value: str | None) -> str | None:
        if value is not None:
            read_cursor(value)
        return value

    def wanted(self) -> AttemptFilter:
        """The use-case's filter."""
        return AttemptFilter(self.user_id, self.status, self.limit, read_cursor(self.cursor) if self.cursor else None)


class VerificationPage(BaseModel):
    """Attempts, newest first."""

    items: list[VerificationView] = Field(description="The attempts of this page.")
    next_cursor: str | None = Field(description="Where the next page begins; null on the last one.")

    @classmethod
    def of(cls, page: Page) -> VerificationPage:
        """The view of a page."""
        items = [VerificationView.of(attempt) for attempt in page.attempts]
        return cls(items=items, next_cursor=write_cursor(page.next) if page.next else None)


def write_cursor(position: Position) -> str:
    """A position in the list as an opaque text."""
    created_at, attempt_id = position
    return base64.urlsafe_b64encode(f"{created_at.isoformat()} {attempt_id}".encode()).decode("ascii")


def read_cursor(cursor: str) -> Position:
    """The position that `write_cursor` has written. Raises ValueError for any other text."""
    try:
        created_at, _, attempt_id = base64.b64decode(cursor, altchars=b"-_", validate=True).decode().partition(" ")
        position = datetime.fromisoformat(created_at), attempt_id
    except ValueError:
        raise ValueError("is not a cursor of this list") from None
    # Only what we could have written: a time in UTC, in one spelling, and an id.
    if not ATTEMPT_ID.fullmatch(attempt_id) or position[0].utcoffset() != timedelta() or write_cursor(position) != cursor:
        raise ValueError("is not a cursor of this list")
    return position


class HealthView(BaseModel):
    """The process lives."""

    status: Literal["ok"] = Field("ok", description="Always `ok`: a process that does not live does not answer.")


class ReadinessView(BaseModel):
    """Whether requests can be served, check by check."""

    status: Literal["ready", "not_ready"] = Field(description="`ready` where every check is `ok`.")
    checks: dict[str, str] = Field(
        description="Each check by its name: `ok`, or what is wrong and how to mend it.",
        examples=[{"database": "ok", "migrations": "ok"}],
    )
