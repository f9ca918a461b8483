"""The session token: what the browser brings back to the caller in the hosted flow, and the caller hands in once."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from app.core.domain import Attempt
from app.core.lifetimes import CONFIRMABLE_FOR
from app.oidc import SignatureInvalid, sign_hs256, verify_hs256


@dataclass(frozen=True, slots=True)
class Session:
    """What a session token says: which attempt has come back, about whom, and the caller's own state."""

    verification_id: str
    user_id: str
    caller_state: str | None = None


class SessionTokens:
    """Signs with the first of `signing_secrets` and accepts all of them. `issuer` is this service's public URL."""

    def __init__(self, signing_secrets: Sequence[str], issuer: str) -> None:
        self._secrets = tuple(signing_secrets)
        self._issuer = issuer

    def sign(self, attempt: Attempt, caller_state: str | None, now: datetime) -> str:
        """A token for 5 minutes, in the form that Auth0's `api.redirect.validateToken` takes."""
        issued_at = int(now.timestamp())
        claims = {
            "iss": self._issuer,
            "sub": attempt.user_id,
            "iat": issued_at,
            "exp": issued_at + int(CONFIRMABLE_FOR.total_seconds()),
            "jti": secrets.token_urlsafe(16),
            "state": caller_state,
            "verification_id": attempt.id,
        }
        return sign_hs256({name: value for name, value in claims.items() if value is not None}, self._secrets[0])

    def read(self, token: str) -> Session | None:
        """What the token says, or None when it is not ours. Whether it came in time is the attempt's to judge."""
        try:
            claims = verify_hs256(token, *self._secrets)
        except SignatureInvalid:
            return None
        verification_id, user_id = claims.get("verification_id"), claims.get("sub")
        if claims.get("iss") != self._issuer or not isinstance(verification_id, str) or not isinstance(user_id, str):
            return None
        return Session(verification_id, user_id, claims.get("state"))
