"""Client authentication at the token endpoint (RFC 6749 section 2.3, OpenID Connect Core 1.0 section 9)."""

from __future__ import annotations

import base64
from datetime import datetime
from hmac import compare_digest
from typing import Any, Final
from urllib.parse import unquote_plus

from app.sandbox.config import Client, SandboxConfig
from app.sandbox.errors import ProtocolError
from app.sandbox.incoming import Incoming
from app.sandbox.signing import hs256_claims, unverified_claims

METHODS: Final = ("client_secret_post", "client_secret_basic", "client_secret_jwt")
JWT_BEARER: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def presented_methods(incoming: Incoming) -> tuple[str, ...]:
    """Name every method whose credentials came with the request."""
    presented = (
        "client_secret" in incoming.parameters,
        incoming.credentials("basic") is not None,
        not incoming.parameters.keys().isdisjoint({"client_assertion", "client_assertion_type"}),
    )
    return tuple(method for method, came in zip(METHODS, presented, strict=True) if came)


class ClientAuthentication:
    """Checks who calls, and remembers which assertions were used."""

    def __init__(self) -> None:
        self._used_assertions: dict[tuple[str, str], float] = {}

    def authenticate(self, incoming: Incoming, config: SandboxConfig, now: datetime) -> Client:
        """Return the client that proved who it is.

        Raises:
            ProtocolError: `invalid_client`; or `invalid_request` for two methods at once (RFC 6749 section 2.3).
        """
        match presented_methods(incoming):
            case ("client_secret_post",):
                client = _by_post(incoming, config)
            case ("client_secret_basic",):
                client = _by_basic(incoming, config)
            case ("client_secret_jwt",):
                client = self._by_jwt(incoming, config, now)
            case ():
                raise _refusal()
            case _:
                raise ProtocolError("invalid_request", "Only one client authentication method may be used")
        if incoming.parameters.get("client_id", client.client_id) != client.client_id:
            raise _refusal()
        return client

    def _by_jwt(self, incoming: Incoming, config: SandboxConfig, now: datetime) -> Client:
        assertion = incoming.parameters.get("client_assertion", "")
        if incoming.parameters.get("client_assertion_type") != JWT_BEARER:
            raise _refusal()
        try:
            client = config.client(str(unverified_claims(assertion).get("sub")))
            claims = hs256_claims(assertion, client.client_secret) if client else {}
        except ValueError as error:
            raise _refusal() from error
        if client is None or not _holds(claims, client, config, now):
            raise _refusal()
        self._use_once(client, claims, now)
        return client

    def _use_once(self, client: Client, claims: dict[str, Any], now: datetime) -> None:
        alive = {key: exp for key, exp in self._used_assertions.items() if exp > now.timestamp()}
        key = (client.client_id, claims["jti"])
        if key in alive:
            raise _refusal()
        self._used_assertions = {**alive, key: claims["exp"]}


def _refusal() -> ProtocolError:
    return ProtocolError("invalid_client", "Client authentication failed", status=401)


def _by_post(incoming: Incoming, config: SandboxConfig) -> Client:
    return _by_secret(incoming.parameters.get("client_id"), incoming.parameters["client_secret"], config)


def _by_basic(incoming: Incoming, config: SandboxConfig) -> Client:
    try:
        decoded = base64.b64decode(incoming.credentials("basic") or "", validate=True).decode()
    except ValueError as error:
        raise _refusal() from error
    client_id, _, secret = decoded.partition(":")
    # RFC 6749 section 2.3.1: both halves are form-url-encoded before they are joined.
    return _by_secret(unquote_plus(client_id), unquote_plus(secret), config)


def _by_secret(client_id: str | None, secret: str, config: SandboxConfig) -> Client:
    client = config.client(client_id)
    if client is None or not compare_digest(secret.encode(), client.client_secret.encode()):
        raise _refusal()
    return client


def _holds(claims: dict[str, Any], client: Client, config: SandboxConfig, now: datetime) -> bool:
    """Check the claims of an assertion (RFC 7523 section 3)."""
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    expiry = claims.get("exp")
    return (
        claims.get("iss") == claims.get("sub") == client.client_id
        and (config.token_endpoint in audiences or config.issuer in audiences)
        and isinstance(expiry, int | float)
        and expiry > now.timestamp()
        and isinstance(claims.get("jti"), str)
    )
