"""Coded protocol errors.

ProtocolError
├── ProviderUnavailable     no answer, or an answer that is no answer
├── TokenEndpointError      the token endpoint's error response
├── IdTokenInvalid          a check on the ID token failed
├── UserinfoSubMismatch     userinfo is about another subject
└── IssuerMismatch          the authorization response names another issuer
"""

from __future__ import annotations


class ProtocolError(Exception):
    """A fault of the protocol. `code` is stable; `description` holds nothing that was in a token, code or secret."""

    code: str

    def __init__(self, description: str | None = None) -> None:
        super().__init__(description)
        self.description = description


class ProviderUnavailable(ProtocolError):
    """The provider did not answer in time, or its answer cannot be used; `description` says which and why."""

    code = "provider_unavailable"


class TokenEndpointError(ProtocolError):
    """The token endpoint refused (RFC 6749 section 5.2). `code` is the registered error, else `token_exchange_failed`."""

    def __init__(self, code: str) -> None:
        super().__init__()
        self.code = code


class IdTokenInvalid(ProtocolError):
    """The ID token failed the check named in `description` (OpenID Connect Core 1.0 section 3.1.3.7)."""

    code = "id_token_invalid"


class UserinfoSubMismatch(ProtocolError):
    """Userinfo's `sub` is not the ID token's (OpenID Connect Core 1.0 section 5.3.2)."""

    code = "userinfo_sub_mismatch"


class IssuerMismatch(ProtocolError):
    """The authorization response's `iss` is missing or not the issuer (RFC 9207 section 2.4)."""

    code = "issuer_mismatch"
