"""Who may call a hook: four ways that vendors prove themselves. Each raises Unauthorized."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import structlog
from fastapi import Request
from fastapi.security import HTTPBasic
from standardwebhooks import Webhook, WebhookVerificationError

from app.api.keys import authenticated
from app.core.api_keys import ApiKey
from app.core.domain import Caller, Role
from app.core.errors import Unauthorized
from app.hooks.hook import Authenticate
from app.oidc import IdTokenInvalid, ProviderUnavailable, TokenVerifier

TOLERANCE_SECONDS = 300
BASIC = HTTPBasic(
    auto_error=False,
    scheme_name="IdpKeyAsPassword",
    description="A key of `API_KEYS` as the password, with any user name.",
)
_ADMITTED = (Role.IDP, Role.ADMIN)
_DIGITS = re.compile(r"[0-9]{1,12}")
# The application of Microsoft's that calls custom extensions.
_ENTRAS_CALLER = "99045fe1-7639-4a75-9d4a-577b6ca3810f"

_log = structlog.stdlib.get_logger("app.hooks")


class SignatureRefused(Unauthorized):
    """A signature that is missing, none of ours, or too old."""

    detail = "The signature is missing, was not made with a secret of this hook, or is more than 5 minutes old."
    hint = "Compare the hook's secret in the settings with the vendor's, and the clocks of both machines."


class TokenRefused(Unauthorized):
    """A bearer token that is none of the tenant's for this service."""

    detail = "The bearer token is missing, or is none that the tenant's Microsoft Entra has issued for this service."
    hint = "Compare `ENTRA_TENANT_ID` and `ENTRA_AUDIENCE` with the app registration of the custom extension."


def by_api_key(keys: Sequence[ApiKey]) -> Authenticate:
    """An identity provider's key, as a bearer token or as the password of Basic authentication.

    The name beside a password may be any (RFC 7617). A key without the role raises Forbidden.
    """

    async def authenticate(request: Request) -> Caller:
        scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
        key = _password(credentials) if scheme.lower() == "basic" else credentials.strip(" ")
        return authenticated(key if scheme.lower() in {"basic", "bearer"} else None, keys, _ADMITTED)

    return authenticate


def by_hmac(secret: str, *, header: str, name: str, now: Callable[[], float]) -> Authenticate:
    """HMAC-SHA256 over time and body, as `t=<seconds>,v1=<hex>` with one or more `v1` in a header of the vendor's."""

    async def authenticate(request: Request) -> Caller:
        parts = [part.strip().partition("=") for part in request.headers.get(header, "").split(",")]
        times = [value for key, _, value in parts if key == "t"]
        if len(times) != 1 or not _DIGITS.fullmatch(times[0]) or abs(now() - int(times[0])) > TOLERANCE_SECONDS:
            raise SignatureRefused
        signed = times[0].encode() + b"." + await request.body()
        expected = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest().encode()
        if not any(hmac.compare_digest(value.encode(), expected) for key, _, value in parts if key == "v1"):
            raise SignatureRefused
        return Caller(name, Role.IDP)

    return authenticate


def by_standard_webhook(secrets: Sequence[str], *, name: str) -> Authenticate:
    """A signature of Standard Webhooks with one of `secrets`, each `v1,whsec_<base64>`."""
    webhooks = [Webhook(secret.removeprefix("v1,")) for secret in secrets]

    async def authenticate(request: Request) -> Caller:
        headers = {
            key: request.headers.get(key, "") for key in ("webhook-id", "webhook-timestamp", "webhook-signature")
        }
        # Supabase joins several signatures as a list of HTTP, the specification with a space.
        headers["webhook-signature"] = " ".join(headers["webhook-signature"].split(", "))
        body = await request.body()
        for webhook in webhooks:
            with suppress(WebhookVerificationError, ValueError):
                webhook.verify(body, headers, json_parse=False)
                return Caller(name, Role.IDP)
        raise SignatureRefused

    return authenticate


def by_tenant_token(verifier: TokenVerifier, *, tenant: str, audience: str, name: str) -> Authenticate:
    """A bearer token that the tenant's Microsoft Entra has issued for this service, to Microsoft's own caller alone."""
    issuers = re.compile(
        rf"https://login\.microsoftonline\.com/{tenant}/v2\.0|https://[a-z0-9-]+\.ciamlogin\.com/{tenant}/v2\.0"
        rf"|https://sts\.windows\.net/{tenant}/"
    )

    def is_for_us(claims: Mapping[str, Any]) -> bool:
        issuer = claims.get("iss")
        return (
            isinstance(issuer, str)
            and issuers.fullmatch(issuer) is not None
            and claims.get("aud") == audience
            and claims.get("azp", claims.get("appid")) == _ENTRAS_CALLER
        )

    async def authenticate(request: Request) -> Caller:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise TokenRefused
        try:
            claims = await verifier.claims(token.strip(" "))
        except IdTokenInvalid:
            raise TokenRefused from None
        except ProviderUnavailable as away:
            _log.warning("tenant_keys_unavailable", cause=away.cause)
            raise TokenRefused from None
        if not is_for_us(claims):
            raise TokenRefused
        return Caller(name, Role.IDP)

    return authenticate


def _password(credentials: str) -> str | None:
    try:
        return base64.b64decode(credentials.strip(" "), validate=True).decode().partition(":")[2]
    except ValueError:
        return None
