"""ZITADEL's Actions v2: claims are appended, and one that is there already stays as it is."""

from __future__ import annotations

from typing import Annotated

from fastapi import Body, Response
from fastapi.security import APIKeyHeader
from pydantic import Field

from app.api.problems import declared_answer
from app.api.reference import examples
from app.api.schemas import UserId
from app.hooks.authenticators import SignatureRefused
from app.hooks.hook import CurrentMinting, Provider, Sent, answer, hook_router, refusals

SIGNATURE_HEADER = "ZITADEL-Signature"
_SIGNATURE = APIKeyHeader(
    name=SIGNATURE_HEADER,
    auto_error=False,
    scheme_name="ZitadelSignature",
    description="`t=<seconds>,v1=<hex>`: HMAC-SHA256 over time and body with `ZITADEL_HOOK_SECRET`.",
)

# ZITADEL waits as long as the target says; its default is 10 seconds.
router = hook_router(Provider.ZITADEL, _SIGNATURE, seconds=3.0)


class ZitadelUser(Sent):
    """The user whom the token is about."""

    id: UserId


class ZitadelRequest(Sent):
    """What ZITADEL sends before it mints a token or answers with userinfo."""

    user: ZitadelUser = Field(description="The user whom the token is about.")


@router.post(
    "/zitadel",
    operation_id="answerZitadel",
    summary="Put the claim on the tokens of ZITADEL",
    responses={
        200: declared_answer("What to append.", "answerZitadel"),
        **refusals(SignatureRefused, field="body.user"),
    },
)
async def zitadel(
    body: Annotated[ZitadelRequest, Body(openapi_examples=examples.ZITADEL_REQUESTS)], minting: CurrentMinting
) -> Response:
    """For a target of the functions `preuserinfo` and `preaccesstoken`."""
    claim = await minting.claim(body.user.id)
    appended = [] if claim.value is None else [{"key": claim.name, "value": claim.value}]
    return answer({"append_claims": appended})
