"""Microsoft Entra's custom claims provider: it takes strings alone, and few of them."""

from __future__ import annotations

import json
from typing import Annotated

from fastapi import Body, Response
from fastapi.security import HTTPBearer
from pydantic import Field

from app.api.problems import declared_answer
from app.api.reference import examples
from app.api.schemas import UserId
from app.core.domain import Json
from app.hooks.authenticators import TokenRefused
from app.hooks.hook import CamelCased, Claim, CurrentMinting, Provider, Sent, answer_within, hook_router, refusals

MAX_CLAIMS_BYTES = 3 * 1024
# Entra waits for a second, unless it is told otherwise: this long for the tenant's keys, and so long for the record.
KEYS_SECONDS, RECORD_SECONDS = 0.4, 0.5
_TOKEN = HTTPBearer(
    auto_error=False,
    scheme_name="EntraToken",
    description="A token that Microsoft Entra has issued for `ENTRA_AUDIENCE` in the tenant `ENTRA_TENANT_ID`.",
)

router = hook_router(Provider.ENTRA, _TOKEN, seconds=RECORD_SECONDS)


class EntraUser(Sent):
    """The user who logs in."""

    id: UserId


class EntraContext(Sent):
    """Who logs in."""

    user: EntraUser | None = Field(default=None, description="The user who logs in.")


class EntraData(CamelCased):
    """The event."""

    authentication_context: EntraContext = Field(description="Who logs in.")


class EntraRequest(Sent):
    """What Entra sends when it is about to issue a token."""

    data: EntraData = Field(description="The event.")


@router.post(
    "/entra",
    operation_id="answerEntra",
    summary="Put the claim on the tokens of Microsoft Entra",
    responses={
        200: declared_answer("The claim's members, as claims of their own.", "answerEntra"),
        **refusals(TokenRefused, field="body.data"),
    },
)
async def entra(
    body: Annotated[EntraRequest, Body(openapi_examples=examples.ENTRA_REQUESTS)], minting: CurrentMinting
) -> Response:
    """For a custom claims provider of the event `onTokenIssuanceStart`."""
    user = body.data.authentication_context.user
    claim = await minting.claim(user.id if user else None)
    return answer_within(MAX_CLAIMS_BYTES, claim, _provided)


def _provided(claim: Claim) -> Json:
    return {
        "data": {
            "@odata.type": "microsoft.graph.onTokenIssuanceStartResponseData",
            "actions": [
                {
                    "@odata.type": "microsoft.graph.tokenIssuanceStart.provideClaimsForToken",
                    "claims": {name: _text(value) for name, value in claim.flat.items()},
                }
            ],
        }
    }


def _text(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
