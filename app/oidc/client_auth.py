"""How the relying party proves itself at the token endpoint: OpenID Connect Core 1.0 section 9."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import quote_plus

from app.oidc import jws

_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ASSERTION_SECONDS = 60


class ClientAuthMethod(StrEnum):
    """The methods that the provider offers; an integration is registered for one of them."""

    POST = "client_secret_post"
    BASIC = "client_secret_basic"
    JWT = "client_secret_jwt"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCredentials:
    """The relying party's registration at the provider."""

    client_id: str
    client_secret: str = field(repr=False)
    method: ClientAuthMethod = ClientAuthMethod.POST


def authenticate(
    credentials: ClientCredentials, *, token_endpoint: str, now: float
) -> tuple[dict[str, str], dict[str, str]]:
    """The form parameters and headers that authenticate one token request made at `now` (seconds since 1970)."""
    match credentials.method:
        case ClientAuthMethod.POST:
            return {"client_id": credentials.client_id, "client_secret": credentials.client_secret}, {}
        case ClientAuthMethod.BASIC:
            # RFC 6749 section 2.3.1: both parts are form-encoded before they are joined.
            pair = f"{quote_plus(credentials.client_id)}:{quote_plus(credentials.client_secret)}"
            return {}, {"Authorization": "Basic " + base64.b64encode(pair.encode("ascii")).decode("ascii")}
        case ClientAuthMethod.JWT:
            assertion = _assertion(credentials, token_endpoint, now)
            return {
                "client_id": credentials.client_id,
                "client_assertion_type": _ASSERTION_TYPE,
                "client_assertion": assertion,
            }, {}


def _assertion(credentials: ClientCredentials, audience: str, now: float) -> str:
    claims = {
        "iss": credentials.client_id,
        "sub": credentials.client_id,
        "aud": audience,
        "jti": secrets.token_urlsafe(16),
        "iat": int(now),
        "exp": int(now) + _ASSERTION_SECONDS,
    }
    return jws.sign_hs256(claims, credentials.client_secret)
