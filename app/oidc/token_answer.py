"""What the token endpoint answers: tokens, or an error (RFC 6749 sections 5.1 and 5.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from app.oidc.errors import Endpoint, IdTokenInvalid, ProviderUnavailable, Reason, TokenEndpointError
from app.oidc.http import Answer

# RFC 6749 section 5.2.
_TOKEN_ERRORS = frozenset({
    "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type",
    "invalid_scope",
})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenAnswer:
    """A successful token response (RFC 6749 section 5.1)."""

    id_token: str = field(repr=False)
    access_token: str = field(repr=False)
    token_type: str
    expires_in: Any


def read_token_answer(answer: Answer) -> TokenAnswer:
    """The token answer, or the error in it.

    Raises TokenEndpointError, ProviderUnavailable, and IdTokenInvalid where there is no ID token.
    """
    if answer.status == httpx.codes.OK:
        body = answer.json_object()
        if "error" in body:
            raise _token_error(body)
        return _token_answer(body)
    if answer.status not in {httpx.codes.BAD_REQUEST, httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        raise ProviderUnavailable(answer.endpoint, Reason.STATUS, answer.status)
    try:
        error = _token_error(answer.json_object())
    except ProviderUnavailable:
        error = TokenEndpointError("token_exchange_failed")
    if answer.status == httpx.codes.UNAUTHORIZED and error.code == "token_exchange_failed":
        # RFC 6749 section 5.2 reserves 401 for failed client authentication.
        error = TokenEndpointError("invalid_client")
    raise error


def _token_error(body: Mapping[str, Any]) -> TokenEndpointError:
    error = body.get("error")
    return TokenEndpointError(error if isinstance(error, str) and error in _TOKEN_ERRORS else "token_exchange_failed")


def _token_answer(body: Mapping[str, Any]) -> TokenAnswer:
    access_token, token_type = body.get("access_token"), body.get("token_type")
    if (
        not isinstance(access_token, str)
        or not access_token
        or not access_token.isascii()
        or not access_token.isprintable()
    ):
        raise ProviderUnavailable(Endpoint.TOKEN, Reason.NO_ACCESS_TOKEN)
    if not isinstance(token_type, str) or token_type.lower() != "bearer":
        raise ProviderUnavailable(Endpoint.TOKEN, Reason.NOT_BEARER)
    token = body.get("id_token")
    if not isinstance(token, str) or not token.isascii():
        raise IdTokenInvalid("missing")
    return TokenAnswer(
        id_token=token, access_token=access_token, token_type=token_type, expires_in=body.get("expires_in")
    )
