"""What travels over HTTP: the requests as they are accepted and the answers as they are shown."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, NotRequired, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StrictBool,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError
from typing_extensions import TypeAliasType, TypedDict

from app.api.fields import LANGUAGE_TAG, NO_CONTROLS
from app.core import failures, messages
from app.core.claims import timestamp, without_tokens
from app.core.domain import (
    Action,
    Attempt,
    AuditAction,
    AuditEntry,
    Decision,
    Failure,
    FailureCode,
    Flow,
    Purpose,
    Reason,
    Status,
    UserStatus,
)
from app.flows.exchange import AuthorizationResponse
from app.flows.finish import RelayCallback
from app.flows.hosted import Confirmation
from app.flows.start import StartRequest
from app.storage.audit import AuditFilter, AuditPage
from app.storage.listing import AttemptFilter, Position
from app.storage.store import Page

_ITEM_ID = re.compile(r"(idv|aud)_[0-9a-f]{32}")


def _absent_when_empty(value: Any) -> Any:
    return None if value == "" else value


UserId = Annotated[
    str,
    Field(
        min_length=1,
        max_length=255,
        pattern=NO_CONTROLS,
        description="The user's id at the identity provider. Any characters but control characters.",
        examples=["auth0|66f1c0ffee"],
    ),
]
VerificationId = Annotated[
    str,
    Field(
        max_length=64,
        pattern=NO_CONTROLS,
        description="`verification.id` of the answer that started it.",
        examples=["idv_6f1d2c3b4a5968778695a4b3c2d1e0f1"],
    ),
]
# The bounds belong to the text, not to the union: an absent value has no length.
Parameter = Annotated[
    Annotated[str, Field(max_length=8192, pattern=NO_CONTROLS)] | None, BeforeValidator(_absent_when_empty)
]
# It holds a user id and a state of the longest kind, in characters of four bytes each.
SessionToken = Annotated[
    Annotated[str, Field(max_length=16384, pattern=NO_CONTROLS)] | None, BeforeValidator(_absent_when_empty)
]
HostedText = Annotated[
    Annotated[str, Field(max_length=2048, pattern=NO_CONTROLS)] | None, BeforeValidator(_absent_when_empty)
]
Email = Annotated[
    Annotated[str, Field(max_length=320, pattern=NO_CONTROLS)] | None, BeforeValidator(_absent_when_empty)
]
Locale = Annotated[
    Annotated[str, Field(max_length=64, pattern=LANGUAGE_TAG)] | None,
    BeforeValidator(_absent_when_empty),
]
ForeignText = Annotated[str | None, BeforeValidator(_absent_when_empty)]
IdentityId = Annotated[
    str,
    Field(min_length=1, max_length=255, pattern=NO_CONTROLS, examples=["2312120ecbbd3d7b78f3fdec"]),
]
Cursor = Annotated[
    str,
    Field(
        max_length=200,
        description="A place in a list. Its text is opaque: take it from `next_cursor` as it is.",
        examples=["MjAyNi0wNC0wN1QxNzoyODoyNS4xNTAwMDArMDA6MDAgaWR2XzZmMWQyYzNiNGE1OTY4Nzc4Njk1YTRiM2MyZDFlMGYx"],
    ),
]
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:\d\d)")
_NO_MOMENT = "is not a time such as 2026-04-07T00:00:00Z"


def _as_written(value: Any) -> Any:
    """A moment in the form of RFC 3339 alone: a bare number would be taken for seconds since 1970."""
    if isinstance(value, str) and not _MOMENT.fullmatch(value):
        raise ValueError(_NO_MOMENT)
    return value


def _in_utc(moment: datetime) -> datetime:
    """The same moment in UTC, where the calendar ends earlier than in an hour that is ahead or behind."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(_NO_MOMENT) from None


Moment = Annotated[
    AwareDatetime, BeforeValidator(_as_written), AfterValidator(_in_utc), Field(examples=["2026-04-07T00:00:00Z"])
]
Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"}, examples=["2026-04-07T17:28:25.150Z"])]
AttemptStatus = Annotated[
    Status,
    Field(
        description="How far the attempt has come:\n\n"
        "- `pending`: it was started, and the person has not come back yet.\n"
        "- `exchanging`: a callback is under way; the provider is being asked.\n"
        "- `returned`: hosted only. The person is back, and your `POST /v1/callback` is missing. It waits for 5 "
        "minutes.\n"
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
    purpose: Purpose = Field(
        Purpose.LOGIN, description="`step_up` always redirects and never changes the user's record."
    )
    flow: Flow | None = Field(
        None,
        description=(
            "`relay`: the provider sends the browser to the identity provider, whose backend relays the parameters to "
            "us. `hosted`: the provider sends the browser to us. Default: `relay` where `REDIRECT_URI` is set or "
            "derived."
        ),
    )
    omit_state: StrictBool = Field(
        False, description="For callers whose own redirect adds a `state` (Auth0): ours is left out of `redirect_url`."
    )
    return_to: HostedText = Field(
        None,
        description="Hosted only: where the browser goes afterwards, one of `RETURN_URLS`. Default: the first of them.",
    )
    state: HostedText = Field(None, description="Hosted only: your own opaque state, which comes back to `return_to`.")
    redirect_uri: HostedText = Field(
        None,
        description=(
            "Relay only: which of `REDIRECT_URI` the provider sends the browser to. Default: the first of them."
        ),
    )
    force: StrictBool = Field(False, description="Verify even inside the window.")
    locale: Locale = Field(
        None,
        description="The person's language, a BCP 47 tag (`pt-BR`; `pt_BR` will do), for `error.message` and our pages."
        " Known: `en`, `es`, `pt`; any other is `en`.",
        examples=["es"],
    )
    app_metadata: dict[str, Any] | None = Field(
        None,
        description="What the Auth0 Action has kept of the user, its `incode_…` members. It is taken over for a user "
        "whom the service has never met, and ignored for any other; refused unless `ADOPT_APP_METADATA=true`.",
        examples=[{"incode_idv_completed": False}],
    )

    def request(self) -> StartRequest:
        """The use-case's request."""
        return StartRequest(**self.model_dump())


class ResponseParameters(BaseModel):
    """All query parameters that arrived at your redirect URI.

    Those that are none of the provider's answer are ignored.
    """

    model_config = ConfigDict(extra="ignore")

    code: Parameter = Field(None, description="The provider's code. It works once, for about 60 seconds.")
    state: Parameter = Field(None, description="The provider's echo of our `state`.")
    iss: Parameter = Field(None, description="The provider's issuer, as it came (RFC 9207).")
    error: ForeignText = Field(None, description="The provider's error. It wins over a `code`, which is then not sent.")
    error_description: ForeignText = Field(None, description="The provider's words about the error.")


class CallbackBody(BaseModel):
    """What arrived at the identity provider's continue URL, and whom its own session is about."""

    model_config = ConfigDict(extra="forbid")

    user_id: UserId
    verification_id: VerificationId
    code: Parameter = Field(None, description="The provider's code. It works once, for about 60 seconds.")
    state: Parameter = Field(
        None,
        description=(
            "The provider's echo of our `state`. Required, but for an attempt that was started with `omit_state`."
        ),
    )
    iss: Parameter = Field(None, description="The provider's issuer, as it came (RFC 9207).")
    error: ForeignText = Field(None, description="The provider's error. It wins over a `code`, which is then not sent.")
    error_description: ForeignText = Field(None, description="The provider's words about the error.")
    response_parameters: ResponseParameters | None = Field(
        None, description="All that came with the browser, in place of the five single members above."
    )
    session_token: SessionToken = Field(
        None, description="Hosted: the token that the browser brought, alone. It works once."
    )

    @model_validator(mode="after")
    def _says_it_once(self) -> Self:
        single = any(
            value is not None for value in (self.code, self.state, self.iss, self.error, self.error_description)
        )
        if self.session_token is not None and (single or self.response_parameters is not None):
            raise PydanticCustomError(
                "session_token_alone", "session_token stands alone: leave the provider's parameters out"
            )
        if self.response_parameters is not None and single:
            raise PydanticCustomError(
                "response_parameters_alone", "response_parameters stand alone: leave the single parameters out"
            )
        return self

    def callback(self) -> RelayCallback | Confirmation:
        """What the use-cases finish: a confirmation where there is a session token."""
        if self.session_token is not None:
            return Confirmation(
                user_id=self.user_id, verification_id=self.verification_id, session_token=self.session_token
            )
        came = self.response_parameters or self
        response = AuthorizationResponse(
            code=came.code,
            state=came.state,
            iss=came.iss,
            error=came.error,
            error_description=came.error_description,
            holds_all=self.response_parameters is not None,
        )
        return RelayCallback(user_id=self.user_id, verification_id=self.verification_id, response=response)


class ResetBody(BaseModel):
    """What to reset besides the verification itself."""

    model_config = ConfigDict(extra="forbid")

    identity: StrictBool = Field(
        False, description="Also forget the enrolled identity, so that another person can enrol."
    )


class ErrorView(BaseModel):
    """What went wrong, and what to do about it."""

    code: FailureCode = Field(
        description="Stable, for a program to read. One of:\n\n"
        + "\n".join(f"- `{code}`: {kind.detail}" for code, kind in failures.CATALOGUE.items()),
        examples=["access_denied"],
    )
    detail: str = Field(description="What went wrong, for you to read.")
    hint: str = Field(description="What to do about it.")
    message: str = Field(
        description="One plain sentence that may be shown to the person, in the language of the start's `locale`.",
        examples=["The identity verification was not completed: please start again."],
    )

    @classmethod
    def of(cls, failure: Failure | None, locale: str | None = None) -> ErrorView | None:
        """The view of a failure, if there is one; `locale` is the person's language."""
        if failure is None:
            return None
        return cls(
            code=failure.code,
            detail=failures.detail(failure),
            hint=failures.hint(failure),
            message=messages.message(failure.code, messages.language_of(locale)),
        )


class VerificationView(BaseModel):
    """One attempt."""

    id: str = Field(description="The attempt's id. Keep it in the user's session for the callback.")
    user_id: str = Field(description="Whom the attempt is about.")
    status: AttemptStatus
    flow: Flow = Field(
        description="Who takes the browser back from the provider: you (`relay`) or this service (`hosted`)."
    )
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
            error=ErrorView.of(attempt.failure, attempt.locale),
        )


class PersonalData(TypedDict, total=False):
    """What the scopes returned about the person, as the provider sent it."""

    name: Annotated[Any, Field(description="The full name.")]
    given_name: Annotated[Any, Field(description="The given names.")]
    family_name: Annotated[Any, Field(description="The family names.")]
    birthdate: Annotated[Any, Field(description="The date of birth, YYYY-MM-DD.")]
    email: Annotated[Any, Field(description="The e-mail address.")]
    phone_number: Annotated[Any, Field(description="The phone number.")]
    address: Annotated[Any, Field(description="The postal address: OpenID Connect's object, or a text.")]


class Claim(TypedDict):
    """What a token says about the person's verification."""

    completed: Annotated[Literal[True], Field(description="Always true: without a verification there is no claim.")]
    completed_at: Annotated[Timestamp, Field(description="When the person was verified.")]
    interview_id: Annotated[str | None, Field(description="Incode's id of this one check of the person.")]
    identity_id: Annotated[str | None, Field(description="Incode's id of the person, the same at each check.")]
    auth_overall_score: Annotated[
        Any, Field(description="The score of the check, as Incode sent it; null where it sent none.")
    ]
    auth_overall_status: Annotated[str | None, Field(description="The result of the check, such as `OK`.")]
    pii: Annotated[PersonalData, Field(description="Empty with `CLAIM_INCLUDE_PII=false`.")]
    purpose: NotRequired[Annotated[Literal[Purpose.STEP_UP], Field(description="The claim of a step-up alone has it.")]]


Claims = Annotated[
    dict[str, Claim],
    Field(description="Entries to put on the tokens, named by `CLAIM_NAMESPACE`. Empty unless a verification stands."),
]
NoClaims = Annotated[dict[str, Claim], Field(description="Empty.", max_length=0)]
AppMetadata = Annotated[
    dict[str, Any],
    Field(description="The user's record under the Action's names: every key, or none for a user without a record."),
]
ReasonToGoOn = TypeAliasType("ReasonToGoOn", Literal[Reason.RECENTLY_VERIFIED, Reason.VERIFIED])
ReasonToVerify = TypeAliasType(
    "ReasonToVerify",
    Literal[
        Reason.NEVER_VERIFIED,
        Reason.NOT_VERIFIED,
        Reason.REVERIFICATION_DUE,
        Reason.RECORD_INVALID,
        Reason.FORCED,
        Reason.STEP_UP,
    ],
)


class ContinueView(BaseModel):
    """Go on with the login."""

    action: Literal[Action.CONTINUE] = Field(
        description="Go on with the login, and put every entry of `claims` on the tokens."
    )
    reason: ReasonToGoOn | FailureCode = Field(description="Why; with an error, its code.", examples=["verified"])
    redirect_url: None = Field(description="Null.")
    claims: Claims
    app_metadata: AppMetadata
    error: ErrorView | None = Field(description="What went wrong; null where nothing did.")
    verification: VerificationView | None = Field(description="The attempt; null when none was made.")


class RedirectView(BaseModel):
    """Send the browser to the verification."""

    action: Literal[Action.REDIRECT] = Field(description="Send the browser to `redirect_url`.")
    reason: ReasonToVerify = Field(description="Why the person must be verified now.", examples=["never_verified"])
    redirect_url: str = Field(description="Where to send the browser.")
    claims: NoClaims
    app_metadata: AppMetadata
    error: None = Field(description="Null.")
    verification: VerificationView = Field(
        description="The attempt. Keep its `id` in the user's session for the callback."
    )


class DenyView(BaseModel):
    """Refuse the login."""

    action: Literal[Action.DENY] = Field(description="Refuse the login.")
    reason: FailureCode = Field(description="The error's code.", examples=["access_denied"])
    redirect_url: None = Field(description="Null.")
    claims: NoClaims
    app_metadata: AppMetadata
    error: ErrorView = Field(description="What went wrong.")
    verification: VerificationView | None = Field(description="The attempt; null when none was made.")


DecisionView = TypeAliasType(
    "DecisionView",
    Annotated[
        ContinueView | RedirectView | DenyView,
        Field(description="What the caller does next, by `action`. Both starting and finishing answer with it."),
        Discriminator("action"),
    ],
)


_VIEWS: dict[Action, type[ContinueView | RedirectView | DenyView]] = {
    Action.CONTINUE: ContinueView,
    Action.REDIRECT: RedirectView,
    Action.DENY: DenyView,
}


def decision_view(decision: Decision, *, with_tokens: bool) -> ContinueView | RedirectView | DenyView:
    """The view of a decision, for a caller who may or may not see tokens."""
    return _VIEWS[decision.action](
        action=decision.action,
        reason=decision.reason,
        redirect_url=decision.redirect_url,
        claims=dict(decision.claims),
        app_metadata=dict(decision.app_metadata) if with_tokens else without_tokens(decision.app_metadata),
        error=ErrorView.of(decision.failure, decision.locale),
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


class _Query(BaseModel):
    """What every list can be narrowed by, and where its pages begin."""

    model_config = ConfigDict(extra="forbid")

    since: Moment | None = Field(None, description="Only what happened at this time or later.")
    until: Moment | None = Field(None, description="Only what happened before this time.")
    limit: Annotated[int, Field(ge=1, le=100, description="How many on a page.", examples=[10])] = 50
    cursor: Cursor | None = Field(None, description="`next_cursor` of the page before.")

    @field_validator("cursor")
    @classmethod
    def _is_ours(cls, value: str | None) -> str | None:
        if value is not None:
            read_cursor(value)
        return value

    @property
    def after(self) -> Position | None:
        """Where the page before ended."""
        return read_cursor(self.cursor) if self.cursor else None


class VerificationQuery(_Query):
    """Which attempts are wanted."""

    user_id: UserId | None = Field(None, description="Only this user's attempts.")
    status: Status | None = Field(None, description="Only attempts with this status.", examples=["failed"])
    identity_id: IdentityId | None = Field(
        None, description="Only attempts that this identity came back from: one face may have several accounts."
    )

    def wanted(self) -> AttemptFilter:
        """The use-case's filter."""
        return AttemptFilter(**self.model_dump(exclude={"cursor"}), after=self.after)


class VerificationPage(BaseModel):
    """Attempts, newest first."""

    items: list[VerificationView] = Field(description="The attempts of this page.")
    next_cursor: Cursor | None = Field(description="Where the next page begins; null on the last one.")

    @classmethod
    def of(cls, page: Page) -> VerificationPage:
        """The view of a page."""
        items = [VerificationView.of(attempt) for attempt in page.attempts]
        return cls(items=items, next_cursor=write_cursor(page.next) if page.next else None)


class AuditQuery(_Query):
    """Which acts of administrators are wanted."""

    user_id: UserId | None = Field(
        None, description="Only acts on this user, the erasure of a user whom nothing else is known of included."
    )
    action: AuditAction | None = Field(None, description="Only acts of this kind.", examples=["reset"])

    def wanted(self) -> AuditFilter:
        """The use-case's filter."""
        return AuditFilter(**self.model_dump(exclude={"cursor"}), after=self.after)


class AuditEntryView(BaseModel):
    """One act of an administrator."""

    id: str = Field(description="The entry's id.")
    at: Timestamp = Field(description="When it happened.")
    action: str = Field(
        description="What was done: " + ", ".join(f"`{action}`" for action in AuditAction) + ". While two versions of "
        "the service share a database, the newer one's word for an act that the older does not know.",
        examples=[AuditAction.RESET],
    )
    by: str = Field(description="The name of the API key that did it, or `cli`.")
    user_id: str | None = Field(
        description="On whom; null for an act on nobody in particular, and where the user has been erased."
    )
    request_id: str | None = Field(description="The request in which it happened; null for the command line.")

    @classmethod
    def of(cls, entry: AuditEntry) -> AuditEntryView:
        """The view of an entry."""
        return cls(
            id=entry.id,
            at=timestamp(entry.at),
            action=entry.action,
            by=entry.by,
            user_id=entry.user_id,
            request_id=entry.request_id,
        )


class AuditEntryPage(BaseModel):
    """What administrators did, newest first."""

    items: list[AuditEntryView] = Field(description="The entries of this page.")
    next_cursor: Cursor | None = Field(description="Where the next page begins; null on the last one.")

    @classmethod
    def of(cls, page: AuditPage) -> AuditEntryPage:
        """The view of a page."""
        items = [AuditEntryView.of(entry) for entry in page.entries]
        return cls(items=items, next_cursor=write_cursor(page.next) if page.next else None)


def write_cursor(position: Position) -> str:
    """A position in a list as an opaque text."""
    at, item_id = position
    return base64.urlsafe_b64encode(f"{at.isoformat()} {item_id}".encode()).decode("ascii")


def read_cursor(cursor: str) -> Position:
    """The position that `write_cursor` has written. Raises ValueError for any other text."""
    try:
        at, _, item_id = base64.b64decode(cursor, altchars=b"-_", validate=True).decode().partition(" ")
        position = datetime.fromisoformat(at), item_id
    except ValueError:
        raise ValueError("is not a cursor of this list") from None
    # Only what we could have written: a time in UTC, in one spelling, and an id.
    if not _ITEM_ID.fullmatch(item_id) or position[0].utcoffset() != timedelta() or write_cursor(position) != cursor:
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
