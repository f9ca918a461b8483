"""What an ID token must be: OpenID Connect Core 1.0 section 3.1.3.7, every check spelled out."""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.oidc import jwks, jws
from app.oidc.errors import IdTokenInvalid

ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "ES256", "ES384", "ES512"})
_DIGEST = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512}
_MAX_SUBJECT_LENGTH = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What the relying party may expect of a token that the provider signed for it."""

    issuer: str
    client_id: str
    algorithms: frozenset[str]
    leeway_seconds: float


@dataclass(frozen=True, slots=True)
class Signed:
    """A payload whose signature held, and the algorithm of it. Nothing is said about its claims yet."""

    claims: Mapping[str, Any]
    algorithm: str


def read_header(token: str, algorithms: frozenset[str]) -> tuple[str, str | None]:
    """The token's `alg` and `kid`.

    Keys that the header carries or points at (`jwk`, `jku`, `x5u`, `x5c`) are never looked at: the sender chose them.
    Raises IdTokenInvalid for an algorithm that is not ours or an extension that we do not know.
    """
    try:
        header = jws.unverified_header(token)
    except jws.Malformed:
        raise IdTokenInvalid("structure") from None
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise IdTokenInvalid("alg")
    # RFC 7515 section 4.1.11 and RFC 7797: an extension that is not understood makes the token unreadable.
    if "crit" in header or "b64" in header:
        raise IdTokenInvalid("crit")
    if kid is not None and not isinstance(kid, str):
        raise IdTokenInvalid("kid")
    return algorithm, kid


def verify_signature(token: str, keys: Sequence[jwks.Jwk], algorithms: frozenset[str]) -> Signed:
    """The payload, once exactly one key of the set fits and its signature holds. Raises IdTokenInvalid."""
    algorithm, kid = read_header(token, algorithms)
    key = jwks.choose_key(keys, algorithm, kid)
    try:
        return Signed(jws.verify(token, key, algorithm), algorithm)
    except jws.Malformed:
        raise IdTokenInvalid("structure") from None
    except jws.SignatureInvalid:
        raise IdTokenInvalid("signature") from None


def check_id_token(signed: Signed, expected: Expectation, *, nonce: str, access_token: str, now: float) -> None:
    """Every claim that decides whether the token answers our request. `now`: seconds since 1970.

    Raises IdTokenInvalid.
    """
    claims = signed.claims
    check_issuer_and_audience(claims, expected)
    _check_subject(claims)
    check_times(claims, expected.leeway_seconds, now)
    _check_nonce(claims, nonce)
    _check_access_token_hash(signed, access_token)


def check_issuer_and_audience(claims: Mapping[str, Any], expected: Expectation) -> None:
    """`iss`, `aud` and `azp`: by our provider, and for us alone. Raises IdTokenInvalid."""
    if claims.get("iss") != expected.issuer:
        raise IdTokenInvalid("iss")
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if not audiences or any(member != expected.client_id for member in audiences):
        raise IdTokenInvalid("aud")
    if "azp" in claims and claims["azp"] != expected.client_id:
        raise IdTokenInvalid("azp")


def _check_subject(claims: Mapping[str, Any]) -> None:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= _MAX_SUBJECT_LENGTH:
        raise IdTokenInvalid("sub")


def check_times(claims: Mapping[str, Any], leeway: float, now: float) -> None:
    """`exp`, `iat` and `nbf`; `leeway` in seconds, `now` in seconds since 1970. Raises IdTokenInvalid."""
    if now >= _numeric_date(claims, "exp") + leeway:
        raise IdTokenInvalid("exp")
    if _numeric_date(claims, "iat") > now + leeway:
        raise IdTokenInvalid("iat")
    if "nbf" in claims and _numeric_date(claims, "nbf") > now + leeway:
        raise IdTokenInvalid("nbf")


def _numeric_date(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise IdTokenInvalid(name)
    try:
        seconds = float(value)
    except OverflowError:
        raise IdTokenInvalid(name) from None
    if not math.isfinite(seconds):
        raise IdTokenInvalid(name)
    return seconds


def _check_nonce(claims: Mapping[str, Any], nonce: str) -> None:
    came = claims.get("nonce")
    if not isinstance(came, str) or not hmac.compare_digest(came.encode(), nonce.encode()):
        raise IdTokenInvalid("nonce")


def _check_access_token_hash(signed: Signed, access_token: str) -> None:
    """Check `at_hash`, which is optional in the code flow, and binding where it is there.

    OpenID Connect Core 1.0 section 3.1.3.8.
    """
    if "at_hash" not in signed.claims:
        return
    digest = _DIGEST[signed.algorithm[2:]](access_token.encode()).digest()
    expected = base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=")
    came = signed.claims["at_hash"]
    if not isinstance(came, str) or not hmac.compare_digest(came.encode(), expected):
        raise IdTokenInvalid("at_hash")
