"""Supabase Auth's custom access token hook: what it answers replaces the claims, so all of them are given back."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Body, Response
from fastapi.security import APIKeyHeader
from pydantic import Field

from app.api.problems import declared_answer
from app.api.reference import examples
from app.api.schemas import UserId
from app.hooks.authenticators import SignatureRefused
from app.hooks.hook import CurrentMinting, Provider, Sent, answer_within, hook_router, refusals

MAX_ANSWER_BYTES = 200 * 1024
_SIGNATURE = APIKeyHeader(
    name="webhook-signature",
    auto_error=False,
    scheme_name="SupabaseSignature",
    description="A signature of Standard Webhooks with a secret of `SUPABASE_HOOK_SECRETS`.",
)

# Supabase tries three times within 5 seconds.
router = hook_router(Provider.SUPABASE, _SIGNATURE, seconds=1.5)


class SupabaseRequest(Sent):
    """What Supabase Auth sends when it is about to mint an access token."""

    user_id: UserId
    claims: dict[str, Any] = Field(description="The claims of the access token.")


@router.post(
    "/supabase",
    operation_id="answerSupabase",
    summary="Put the claim on the access tokens of Supabase Auth",
    responses={
        200: declared_answer("All claims, with ours where the verification stands.", "answerSupabase"),
        **refusals(SignatureRefused, field="body.user_id"),
    },
)
async def supabase(
    body: Annotated[SupabaseRequest, Body(openapi_examples=examples.SUPABASE_REQUESTS)], minting: CurrentMinting
) -> Response:
    """For the custom access token hook over HTTPS.

    Every claim that came is given back; a signed request may be repeated.
    """
    claim = await minting.claim(body.user_id)
    return answer_within(MAX_ANSWER_BYTES, claim, lambda claim: {"claims": claim.placed(body.claims)})
