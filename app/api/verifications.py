"""Starting a verification."""

from __future__ import annotations

from app import errors
from app.api.deps import CurrentCaller, CurrentServices, MaySeeTokens, keyed_router
from app.api.problems import responses
from app.api.schemas import DecisionView, StartBody
from app.domain import Role

router = keyed_router(Role.IDP, prefix="/v1/verifications", tags=["Verify"])


@router.post(
    "",
    operation_id="startVerification",
    summary="Start a verification, or learn that none is needed",
    responses=responses(
        errors.Unauthorized,
        errors.PayloadTooLarge,
        errors.RequestInvalid,
        errors.InternalError,
        errors.DatabaseUnavailable,
    ),
)
async def start(body: StartBody, services: CurrentServices, caller: CurrentCaller, with_tokens: MaySeeTokens) -> DecisionView:
    """Call this when a user logs in, and do what `action` says.

    - `continue`: go on, and put every entry of `claims` on the tokens.
    - `redirect`: send the browser to `redirect_url` and keep `verification.id` in the user's session for the callback.
    - `deny`: refuse the login.
    """
    decision = await services.verifications.start(body.request(), caller.name)
    return DecisionView.of(decision, with_tokens=with_tokens)
