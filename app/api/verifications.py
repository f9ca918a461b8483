"""Starting a verification, and looking at attempts."""

from __future__ import annotations

from typing import Annotated

from fastapi import Body, Path, Query

from app.api.deps import CurrentCaller, CurrentServices, MaySeeTokens, note_decision
from app.api.keys import keyed_router
from app.api.problems import declared_answer, responses
from app.api.reference import examples
from app.api.schemas import (
    DecisionView,
    StartBody,
    VerificationId,
    VerificationPage,
    VerificationQuery,
    VerificationView,
    decision_view,
)
from app.core import errors
from app.core.domain import Role


class AttemptNotFound(errors.VerificationNotFound):
    """No attempt has the id that was asked for, whoever it may be about."""

    detail = "There is no verification with this id. It may have been erased, or purged after RETENTION_DAYS."
    hint = "Take the id from the answer that started it (`verification.id`), or look for it in the list of attempts."


_AUDIT = (
    errors.Unauthorized,
    errors.Forbidden,
    errors.RequestInvalid,
    errors.InternalError,
    errors.DatabaseUnavailable,
)

router = keyed_router(Role.IDP, prefix="/v1/verifications", tags=["Verify"])
audit_router = keyed_router(Role.SUPPORT, prefix="/v1/verifications", tags=["Audit"])


@router.post(
    "",
    operation_id="startVerification",
    summary="Start a verification, or learn that none is needed",
    responses={
        200: declared_answer("What to do next.", "startVerification"),
        **responses(
            errors.Unauthorized,
            errors.Forbidden,
            errors.PayloadTooLarge,
            errors.RequestTimeout,
            errors.RequestInvalid,
            errors.InternalError,
            errors.DatabaseUnavailable,
            refused=("body.user_id", "is missing"),
        ),
    },
)
async def start(
    body: Annotated[StartBody, Body(openapi_examples=examples.START_REQUESTS)],
    services: CurrentServices,
    caller: CurrentCaller,
    with_tokens: MaySeeTokens,
) -> DecisionView:
    """Call this when a user logs in, and do what `action` says.

    - `continue`: go on, and put every entry of `claims` on the tokens.
    - `redirect`: send the browser to `redirect_url` and keep `verification.id` in the user's session for the callback.
    - `deny`: refuse the login.
    """
    try:
        decision = await services.starting.start(body.request(), caller.name)
    except errors.RequestInvalid as refused:
        raise refused.within("body") from None
    note_decision(services, decision)
    return decision_view(decision, with_tokens=with_tokens)


@audit_router.get(
    "",
    operation_id="listVerifications",
    summary="List attempts, newest first",
    responses={
        200: declared_answer("A page of attempts.", "listVerifications"),
        **responses(*_AUDIT, refused=("query.limit", "must be 100 or less")),
    },
)
async def browse(query: Annotated[VerificationQuery, Query()], services: CurrentServices) -> VerificationPage:
    """Each attempt tells which key started and finished it, when, and how it ended.

    Rows added meanwhile move no page.
    """
    return VerificationPage.of(await services.audit.attempts(query.wanted()))


@audit_router.get(
    "/{verification_id}",
    operation_id="getVerification",
    summary="Tell all about one attempt",
    responses={
        200: declared_answer("The attempt.", "getVerification"),
        **responses(*_AUDIT, AttemptNotFound, refused=("path.verification_id", "may have at most 64 characters")),
    },
)
async def look(
    verification_id: Annotated[VerificationId, Path(openapi_examples=examples.VERIFICATION_IDS)],
    services: CurrentServices,
) -> VerificationView:
    """Answers why somebody was refused: who started and finished the attempt, when, and with which error."""
    try:
        attempt = await services.audit.attempt(verification_id)
    except errors.VerificationNotFound:
        raise AttemptNotFound from None
    return VerificationView.of(attempt)
