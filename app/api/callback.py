"""Finishing a verification."""

from __future__ import annotations

from app import errors
from app.api.deps import CurrentCaller, CurrentServices, MaySeeTokens, keyed_router, note_decision
from app.api.problems import responses
from app.api.schemas import CallbackBody, DecisionView
from app.domain import Role

router = keyed_router(Role.IDP, prefix="/v1/callback", tags=["Verify"])


@router.post(
    "",
    operation_id="finishVerification",
    summary="Finish a verification with what the provider sent back",
    responses=responses(
        errors.SessionTokenInvalid,
        errors.Unauthorized,
        errors.VerificationNotFound,
        errors.VerificationMismatch,
        errors.VerificationAlreadyFinished,
        errors.CallbackInProgress,
        errors.StateInvalid,
        errors.ResponseIssuerMismatch,
        errors.PayloadTooLarge,
        errors.RequestInvalid,
        errors.InternalError,
        errors.DatabaseUnavailable,
    ),
)
async def finish(body: CallbackBody, services: CurrentServices, caller: CurrentCaller, with_tokens: MaySeeTokens) -> DecisionView:
    """Pass on every query parameter that arrived at your redirect URI, and whom your own session is about.

    A failed verification is an answer (200), not an HTTP error. The same callback may be repeated for 5 minutes and gets the
    same answer. A refused callback (4xx) has recorded nothing.
    """
    decision = await services.verifications.finish(body.callback(), caller.name)
    note_decision(services, decision)
    return DecisionView.of(decision, with_tokens=with_tokens)
