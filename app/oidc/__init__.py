"""A small OpenID Connect relying-party library: authorization code flow with PKCE.

It knows nothing of the service around it. What stands here is its public face; the modules behind it are its own.
"""

from app.oidc.client import Authentication, AuthorizationGrant, Conversation, ProviderConfig, RelyingParty
from app.oidc.client_auth import ClientAuthMethod, ClientCredentials
from app.oidc.deadline import Deadline
from app.oidc.errors import (
    Endpoint,
    IdTokenInvalid,
    IssuerMismatch,
    ProtocolError,
    ProviderUnavailable,
    Reason,
    TokenEndpointError,
    UserinfoSubMismatch,
)
from app.oidc.id_token import ALGORITHMS
from app.oidc.jws import SignatureInvalid, sign_hs256, verify_hs256
from app.oidc.metadata import ProviderMetadata, is_loopback, is_safe_url
from app.oidc.pkce import new_code_verifier
from app.oidc.strict_json import object_without_duplicates, parse_object
from app.oidc.token_answer import TokenAnswer
from app.oidc.token_verifier import TokenVerifier

__all__ = [
    "ALGORITHMS",
    "Authentication",
    "AuthorizationGrant",
    "ClientAuthMethod",
    "ClientCredentials",
    "Conversation",
    "Deadline",
    "Endpoint",
    "IdTokenInvalid",
    "IssuerMismatch",
    "ProtocolError",
    "ProviderConfig",
    "ProviderMetadata",
    "ProviderUnavailable",
    "Reason",
    "RelyingParty",
    "SignatureInvalid",
    "TokenAnswer",
    "TokenEndpointError",
    "TokenVerifier",
    "UserinfoSubMismatch",
    "is_loopback",
    "is_safe_url",
    "new_code_verifier",
    "object_without_duplicates",
    "parse_object",
    "sign_hs256",
    "verify_hs256",
]
