"""The authorization request, checked, and the way back to who sent it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from app.sandbox.config import Client, SandboxConfig
from app.sandbox.errors import ProtocolError, UntrustedRequestError
from app.sandbox.incoming import Incoming


@dataclass(frozen=True)
class ReplyAddress:
    """A registered redirect URI: the only place an authorization response may go."""

    client: Client
    redirect_uri: str
    state: str | None

    def url(self, issuer: str | None, answer: Mapping[str, str]) -> str:
        """Add the answer, the state and the issuer (RFC 6749 section 4.1.2, RFC 9207 section 2)."""
        names = {"state": self.state, "iss": issuer}
        given = {name: value for name, value in names.items() if value is not None}
        separator = "&" if "?" in self.redirect_uri else "?"
        return self.redirect_uri + separator + urlencode({**answer, **given})


@dataclass(frozen=True)
class AuthorizationRequest:
    """A request that passed every check (OpenID Connect Core 1.0 section 3.1.2.2)."""

    reply_address: ReplyAddress
    scopes: tuple[str, ...]
    nonce: str | None
    code_challenge: str | None
    hint: str | None


def reply_address(incoming: Incoming, config: SandboxConfig) -> ReplyAddress:
    """Find where the answer may go.

    Raises:
        UntrustedRequestError: the client or the redirect URI is unknown or ambiguous.
    """
    parameters = incoming.parameters
    client = config.client(parameters.get("client_id"))
    redirect_uri = parameters.get("redirect_uri")
    if client is None or "client_id" in incoming.repeated:
        raise UntrustedRequestError("The application that sent you here is not registered with this provider.")
    if redirect_uri not in client.redirect_uris or "redirect_uri" in incoming.repeated:
        raise UntrustedRequestError("The address to return to is not registered for this application.")
    state = None if "state" in incoming.repeated else parameters.get("state")
    return ReplyAddress(client, redirect_uri, state)


def check(incoming: Incoming, address: ReplyAddress, config: SandboxConfig) -> AuthorizationRequest:
    """Check the rest of the request.

    Raises:
        ProtocolError: to be sent to the reply address.
    """
    if incoming.repeated:
        raise ProtocolError("invalid_request", "A parameter came more than once")
    parameters = incoming.parameters
    for is_wrong, error, description in RULES:
        if is_wrong(parameters):
            raise ProtocolError(error, description)
    return AuthorizationRequest(
        reply_address=address,
        scopes=_scopes(parameters, config),
        nonce=parameters.get("nonce"),
        code_challenge=_code_challenge(parameters) if config.enforce_pkce else None,
        hint=parameters.get("person", parameters.get("login_hint")),
    )


Rule = tuple[Callable[[Mapping[str, str]], bool], str, str]

RULES: tuple[Rule, ...] = (
    (lambda p: "request" in p, "request_not_supported", "Request objects are not supported"),
    (lambda p: "request_uri" in p, "request_uri_not_supported", "request_uri is not supported"),
    (lambda p: "response_type" not in p, "invalid_request", "response_type is missing"),
    (lambda p: p["response_type"] != "code", "unsupported_response_type", "Only response_type=code is supported"),
    (lambda p: p.get("response_mode", "query") != "query", "invalid_request", "Only response_mode=query is supported"),
    (lambda p: "none" in p.get("prompt", "").split(), "interaction_required", "A verification needs the person"),
)


def _scopes(parameters: Mapping[str, str], config: SandboxConfig) -> tuple[str, ...]:
    scopes = tuple(dict.fromkeys(parameters.get("scope", "").split()))
    if "openid" not in scopes:
        raise ProtocolError("invalid_scope", "The scope openid is missing")
    if not config.enabled_scopes.issuperset(scopes):
        raise ProtocolError("invalid_scope", "A scope is not enabled for this client")
    return scopes


def _code_challenge(parameters: Mapping[str, str]) -> str:
    challenge = parameters.get("code_challenge")
    if challenge is None:
        raise ProtocolError("invalid_request", "code_challenge is missing")
    if parameters.get("code_challenge_method") != "S256":
        raise ProtocolError("invalid_request", "code_challenge_method must be S256")
    if not re.fullmatch("[A-Za-z0-9_-]{43}", challenge):
        raise ProtocolError("invalid_request", "code_challenge is not a SHA-256 hash in base64url")
    return challenge
