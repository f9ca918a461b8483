"""The `state` of our authorization requests: a signed token that names an attempt and carries nothing personal."""

from __future__ import annotations

from collections.abc import Sequence

from app.core.domain import Attempt
from app.oidc import SignatureInvalid, sign_hs256, verify_hs256

# The type keeps a state from being taken for a session token, which is signed with the same secret (RFC 8725 section
# 3.11).
_TOKEN_TYPE = "idv-state+jwt"  # noqa: S105  a header value


class StateSigner:
    """Signs with the first of `secrets` and accepts all of them, so that a secret can be rotated."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = tuple(secrets)

    def sign(self, attempt: Attempt) -> str:
        """The state of the attempt's authorization request; it expires with the attempt."""
        claims = {
            "verification_id": attempt.id,
            "iat": int(attempt.created_at.timestamp()),
            "exp": int(attempt.expires_at.timestamp()),
        }
        return sign_hs256(claims, self._secrets[0], token_type=_TOKEN_TYPE)

    def names(self, state: str, attempt: Attempt) -> bool:
        """Whether we signed `state` for this attempt."""
        return self.attempt_id(state) == attempt.id

    def attempt_id(self, state: str) -> str | None:
        """The attempt that we signed `state` for, or None. The state's expiry is the attempt's, and is judged there."""
        try:
            named = verify_hs256(state, *self._secrets, token_type=_TOKEN_TYPE).get("verification_id")
        except SignatureInvalid:
            return None
        return named if isinstance(named, str) else None
