"""Finishing a verification."""

from __future__ import annotations

from typing import Annotated

from fastapi import Body

from app.api.deps import CurrentCaller, CurrentServices, MaySeeTokens, Services, counted_callback, note_decision
from app.api.keys import keyed_router
from app.api.problems import declared_answer, responses
from app.api.reference import examples
from app.api.schemas import CallbackBody, DecisionView, decision_view
from app.core import errors
from app.core.domain import Decision, Role
from app.flows.finish import RelayCallback
from app.flows.hosted import Confirmation

router = keyed_router(Role.IDP, prefix="/v1/callback", tags=["Verify"])


@router.post(
    "",
    operation_id="finishVerification",
    summary="Finish a verification with what the provider sent back",
    responses={
        200: declared_answer("What to do next, also when the verification failed.", "finishVerification"),
        **responses(
            errors.SessionTokenInvalid,
            errors.Unauthorized,
            errors.Forbidden,
            errors.VerificationNotFound,
            errors.VerificationMismatch,
            errors.VerificationAlreadyFinished,
            errors.CallbackInProgress,
            errors.StateInvalid,
            errors.ResponseIssuerMismatch,
            errors.PayloadTooLarge,
            errors.RequestTimeout,
            errors.RequestInvalid,
            errors.InternalError,
            errors.DatabaseUnavailable,
            refused=("body.user_id", "is missing"),
        ),
    },
)
async def finish(
    body: Annotated[CallbackBody, Body(openapi_examples=examples.FINISH_REQUESTS)],
    services: CurrentServices,
    caller: CurrentCaller,
    with_tokens: MaySeeTokens,
) -> DecisionView:
    """Pass on every query parameter that arrived at your redirect URI, and whom your own session is about.

    A failed verification is an answer (200), not an HTTP error. The same callback may be repeated for 5 minutes and
    gets the same answer. A refused callback (4xx) has recorded nothing.
    """
    callback = body.callback()
    step = "confirmation" if isinstance(callback, Confirmation) else "relay"
    with counted_callback(services, step):
        decision = await _finished(services, callback, caller.name)
    services.metrics.callback(step, decision.reason)
    note_decision(services, decision)
    return decision_view(decision, with_tokens=with_tokens)


async def _finished(services: Services, callback: RelayCallback | Confirmation, finished_by: str) -> Decision:
    match callback:
        case RelayCallback():
            return await services.relay.finish(callback, finished_by)
        case Confirmation():
            return await services.hosted.confirm(callback, finished_by)
