"""The signature seam: the only import of python-jose. It checks and makes signatures, and decides nothing else."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any

from jose import jwk, jws
from jose.backends.base import Key
from jose.exceptions import JOSEError

from app.oidc import strict_json


class SignatureInvalid(Exception):
    """The token is not a compact JWS of a JSON object, or its signature is not by this key."""


class Malformed(SignatureInvalid):
    """Its header or its payload is no JSON object."""


def unverified_header(token: str) -> dict[str, Any]:
    """The protected header, before any check (RFC 7515 section 4). Raises Malformed when there is none."""
    encoded = token.partition(".")[0]
    try:
        return strict_json.parse_object(
            base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
        )
    except ValueError:
        raise Malformed from None


def verify(token: str, key: Mapping[str, str], algorithm: str) -> dict[str, Any]:
    """The payload of a token that `key` signed with `algorithm`.

    Raises SignatureInvalid, and Malformed after it held.
    """
    try:
        payload = jws.verify(token, _key(frozenset(key.items()), algorithm), algorithms=[algorithm])
    except (JOSEError, ValueError, TypeError, AttributeError, RecursionError):
        raise SignatureInvalid from None
    try:
        return strict_json.parse_object(payload)
    except ValueError:
        raise Malformed from None


def sign_hs256(claims: Mapping[str, Any], secret: str, *, token_type: str = "JWT") -> str:  # noqa: S107  a header value
    """A compact JWS over `claims`, HS256 under `secret`, with `typ` in its header."""
    key = _key(frozenset(_symmetric(secret).items()), "HS256")
    payload = json.dumps(claims, ensure_ascii=False, separators=(",", ":")).encode()
    return str(jws.sign(payload, key, headers={"typ": token_type}, algorithm="HS256"))


def verify_hs256(token: str, *secrets: str, token_type: str = "JWT") -> dict[str, Any]:  # noqa: S107  a header value
    """The claims of a token made by `sign_hs256` with one of `secrets`: several, while a secret is rotated.

    Raises SignatureInvalid when algorithm, type or signature differ.
    """
    if unverified_header(token).get("typ") != token_type:
        raise SignatureInvalid
    for secret in secrets:
        with suppress(SignatureInvalid):
            return verify(token, _symmetric(secret), "HS256")
    raise SignatureInvalid


def _symmetric(secret: str) -> dict[str, str]:
    """The secret as a JWK: python-jose would read a bare text as JSON or PEM where it looks like that."""
    return {"kty": "oct", "k": base64.urlsafe_b64encode(secret.encode()).decode()}


@lru_cache(maxsize=64)
def _key(material: frozenset[tuple[str, str]], algorithm: str) -> Key:
    """The library's key, built once: building one takes longer than a signature."""
    return jwk.construct(dict(material), algorithm)
