"""Coded protocol errors.

ProtocolError
├── ProviderUnavailable     no answer, or an answer that is no answer
├── TokenEndpointError      the token endpoint's error response
├── IdTokenInvalid          a check on the ID token failed
├── UserinfoSubMismatch     userinfo is about another subject
└── IssuerMismatch          the authorization response names another issuer
"""

from __future__ import annotations

from enum import StrEnum


class Endpoint(StrEnum):
    """What the provider is asked for; the values are words for people, and labels of metrics and traces."""

    DISCOVERY = "discovery"
    KEYS = "keys"
    TOKEN = "token endpoint"  # noqa: S105  words
    USERINFO = "userinfo endpoint"


class Reason(StrEnum):
    """Why an endpoint could not be used. The values are stable; `{}` stands for the fault's `about`."""

    LATE = "no answer in time"
    CONNECTION_LATE = "no connection in time"
    NAME_UNKNOWN = "the host name is not known"
    REFUSED = "the connection was refused"
    UNREACHABLE = "there is no way to the host"
    CLOSED = "the connection was closed"
    NO_TLS = "the port does not speak TLS"
    TLS_FAILED = "no agreement on TLS"
    CERTIFICATE_UNTRUSTED = "the certificate is not trusted"
    CERTIFICATE_EXPIRED = "the certificate has expired, or is not valid yet"
    CERTIFICATE_OF_ANOTHER = "the certificate is for another name"
    TRUST_STORE = "the trusted certificates cannot be read"
    PROXY_AWAY = "the proxy cannot be reached"
    PROXY_REFUSED = "the proxy did not connect"
    PROXY_UNUSABLE = "the proxy's address cannot be used"
    NOT_HTTP = "not an HTTP answer"
    STATUS = "HTTP {}"
    COMPRESSED = "compressed though not asked to"
    OVERSIZED = "answer over 1 MiB"
    NOT_LABELLED = "not labelled as JSON"
    NOT_JSON = "not a JSON object"
    OTHER_ISSUER = "another issuer than the configured one"
    PUSHED_REQUESTS = "the provider requires pushed authorization requests, which are not supported"
    UNSAFE_ENDPOINT = "{} is missing, or no address that this issuer may name"
    NOT_A_KEY_SET = "not a key set"
    NO_ACCESS_TOKEN = "no access token"  # noqa: S105  words
    NOT_BEARER = "the token type is not Bearer"


class ProtocolError(Exception):
    """A fault of the protocol. `code` is stable; `description` holds nothing that was in a token, code or secret."""

    code: str

    def __init__(self, description: str | None = None) -> None:
        super().__init__(description)
        self.description = description


class ProviderUnavailable(ProtocolError):
    """The provider did not answer in time, or its answer cannot be used.

    `endpoint` is None when the time ran out for all of a callback's calls together.
    """

    code = "provider_unavailable"

    def __init__(self, endpoint: Endpoint | None, reason: Reason, about: object = None) -> None:
        self.endpoint = endpoint
        self.reason = reason
        self.cause = reason.format(about)
        super().__init__(f"{endpoint}: {self.cause}" if endpoint else self.cause)


class TokenEndpointError(ProtocolError):
    """The token endpoint refused (RFC 6749 section 5.2).

    `code` is the registered error, else `token_exchange_failed`.
    """

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
