"""Ory Hydra's token hook: what it answers replaces the claims of the session, so all that came is given back."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Body, Response
from pydantic import Field

from app.api.keys import SCHEMES
from app.api.problems import declared_answer
from app.api.reference import examples
from app.api.schemas import UserId
from app.core import errors
from app.core.domain import Role
from app.hooks.authenticators import BASIC
from app.hooks.hook import CurrentMinting, Provider, Sent, answer, hook_router, refusals

router = hook_router(Provider.HYDRA, SCHEMES[Role.IDP], SCHEMES[Role.ADMIN], BASIC, seconds=5.0)


class HydraIdTokenClaims(Sent):
    """The claims of the ID token, of which `ext` are those beyond the standard."""

    ext: dict[str, Any] | None = Field(
        default=None, description="The claims that the consent app and this hook have added."
    )


class HydraIdToken(Sent):
    """What Hydra keeps for the ID token."""

    id_token_claims: HydraIdTokenClaims | None = Field(default=None, description="The claims of the ID token.")
    subject: UserId | None = Field(default=None, description="The user's id, the same for every client.")


class HydraSession(Sent):
    """What Hydra keeps of a login."""

    id_token: HydraIdToken = Field(description="What Hydra keeps for the ID token.")
    extra: dict[str, Any] | None = Field(default=None, description="The access token's claims beyond the standard.")


class HydraTokenRequest(Sent):
    """The request at Hydra's token endpoint."""

    grant_types: list[str] = Field(default_factory=list, description="The grant; `client_credentials` has no user.")


class HydraRequest(Sent):
    """What Hydra sends when it is about to mint tokens."""

    session: HydraSession = Field(description="What Hydra keeps of the login.")
    request: HydraTokenRequest = Field(description="The request at Hydra's token endpoint.")


@router.post(
    "/hydra",
    operation_id="answerHydra",
    summary="Put the claim on the tokens of Ory Hydra",
    responses={
        200: declared_answer("All claims, with ours where the verification stands.", "answerHydra"),
        204: {"description": "A machine's grant, without a claim of ours: nothing is changed."},
        **refusals(errors.Unauthorized, errors.Forbidden, field="body.session"),
    },
)
async def hydra(
    body: Annotated[HydraRequest, Body(openapi_examples=examples.HYDRA_REQUESTS)], minting: CurrentMinting
) -> Response:
    """For `oauth2.token_hook`. A refresh is asked about, too, and loses a claim that no longer stands."""
    session = body.session
    # A client's id stands where the user's would: no user may be taken for it.
    subject = None if "client_credentials" in body.request.grant_types else session.id_token.subject
    claim = await minting.claim(subject)
    of_the_id_token = session.id_token.id_token_claims
    before = {"access_token": session.extra or {}, "id_token": (of_the_id_token and of_the_id_token.ext) or {}}
    if subject is None and not any(claim.name in claims for claims in before.values()):
        return Response(status_code=204)
    return answer({"session": {token: claim.placed(claims) for token, claims in before.items()}})
