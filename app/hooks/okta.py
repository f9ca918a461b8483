"""Okta's token inline hook: it takes commands, one list for each token that was asked for."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Body, Response
from pydantic import Field

from app.api.keys import SCHEMES
from app.api.problems import declared_answer
from app.api.reference import examples
from app.api.schemas import UserId
from app.core import errors
from app.core.domain import Json, Role
from app.hooks.authenticators import BASIC
from app.hooks.hook import Claim, CurrentMinting, Provider, Sent, answer_within, hook_router, refusals

MAX_ANSWER_BYTES = 256 * 1024 - 1

# Okta waits for 3 seconds, once.
router = hook_router(Provider.OKTA, SCHEMES[Role.IDP], SCHEMES[Role.ADMIN], BASIC, seconds=2.0)


class OktaUser(Sent):
    """The user who logs in."""

    id: UserId


class OktaContext(Sent):
    """Who asks for the tokens; a machine has no user."""

    user: OktaUser | None = Field(default=None, description="The user who logs in.")


class OktaToken(Sent):
    """A token that is about to be minted."""

    claims: dict[str, Any] = Field(default_factory=dict, description="Its claims so far.")


class OktaData(Sent):
    """Who asks, and for which tokens."""

    context: OktaContext = Field(description="Who asks for the tokens.")
    identity: OktaToken | None = Field(default=None, description="The ID token, where one was asked for.")
    access: OktaToken | None = Field(default=None, description="The access token, where one was asked for.")


class OktaRequest(Sent):
    """What Okta sends when it is about to mint tokens."""

    data: OktaData = Field(description="Who asks, and for which tokens.")


@router.post(
    "/okta",
    operation_id="answerOkta",
    summary="Put the claim on the tokens of Okta",
    responses={
        200: declared_answer("What to change on the tokens that were asked for.", "answerOkta"),
        **refusals(errors.Unauthorized, errors.Forbidden, field="body.data"),
    },
)
async def okta(
    body: Annotated[OktaRequest, Body(openapi_examples=examples.OKTA_REQUESTS)], minting: CurrentMinting
) -> Response:
    """For a token inline hook of a custom authorization server."""
    user = body.data.context.user
    claim = await minting.claim(user.id if user else None)
    return answer_within(MAX_ANSWER_BYTES, claim, lambda claim: {"commands": _commands(claim, body.data)})


def _commands(claim: Claim, data: OktaData) -> list[Json]:
    tokens = (("identity", data.identity), ("access", data.access))
    changes = [(kind, _change(claim, token)) for kind, token in tokens if token is not None]
    return [{"type": f"com.okta.{kind}.patch", "value": [change]} for kind, change in changes if change]


def _change(claim: Claim, token: OktaToken) -> Json:
    """How the token changes. Okta drops every change where one removes what is not there."""
    path = "/claims/" + claim.name.replace("~", "~0").replace("/", "~1")  # RFC 6901 section 3
    if claim.value is not None:
        return {"op": "add", "path": path, "value": claim.value}
    return {"op": "remove", "path": path} if claim.name in token.claims else None
