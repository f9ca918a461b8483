"""The discovery document."""

from __future__ import annotations

from typing import Final

from app.sandbox.client_authentication import METHODS
from app.sandbox.config import SandboxConfig
from app.sandbox.scopes import SCOPES, claims_of

ID_TOKEN_CLAIMS: Final = (
    *("iss", "sub", "aud", "iat", "exp", "nonce", "at_hash"),
    *("interview_id", "identity_id", "auth_overall_score", "auth_overall_status"),
)


def discovery_document(config: SandboxConfig) -> dict[str, object]:
    """Say what this provider supports, and nothing else (OpenID Connect Discovery 1.0 section 3)."""
    scopes = [scope for scope in SCOPES if scope in config.enabled_scopes]
    return {
        "issuer": config.issuer,
        "authorization_endpoint": config.authorization_endpoint,
        "token_endpoint": config.token_endpoint,
        "userinfo_endpoint": f"{config.issuer}/userinfo",
        "jwks_uri": f"{config.issuer}/oauth2/jwks",
        "scopes_supported": scopes,
        "claims_supported": [*ID_TOKEN_CLAIMS, *claims_of(scopes)],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": list(METHODS),
        "token_endpoint_auth_signing_alg_values_supported": ["HS256"],
        "authorization_response_iss_parameter_supported": True,
        "request_uri_parameter_supported": False,
        **({"code_challenge_methods_supported": ["S256"]} if config.enforce_pkce else {}),
    }
