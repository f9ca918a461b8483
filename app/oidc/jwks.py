"""Choosing the one key that fits (RFC 7517; OpenID Connect Core 1.0 section 10.1)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

from app.oidc.errors import Endpoint, IdTokenInvalid, ProviderUnavailable, Reason

Jwk = Mapping[str, Any]

_KEY_TYPE = {"RS": "RSA", "ES": "EC"}
_CURVE = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}
_MATERIAL = {"RSA": ("n", "e"), "EC": ("crv", "x", "y")}
MIN_RSA_BITS = 2048


class NoKeyFits(IdTokenInvalid):
    """No key of the set fits the token's header; the set may have changed since it was fetched."""


def parse(document: Mapping[str, Any]) -> tuple[Jwk, ...]:
    """The keys of a key set, unusable ones included. Raises ProviderUnavailable when it is none."""
    keys = document.get("keys")
    if not isinstance(keys, list):
        raise ProviderUnavailable(Endpoint.KEYS, Reason.NOT_A_KEY_SET)
    return tuple(key for key in keys if isinstance(key, dict))


def choose_key(keys: Sequence[Jwk], algorithm: str, kid: str | None) -> dict[str, str]:
    """The public key that verifies a token with this header, reduced to its material.

    Exactly one must fit by `kid`, `kty`, `crv`, `use`, `key_ops`, `alg` and strength. Raises NoKeyFits when none does
    and IdTokenInvalid when several do: trying keys until one works would let the sender choose.
    """
    fitting = [key for key in keys if fits(key, algorithm, kid)]
    if not fitting:
        raise NoKeyFits("kid")
    if len(fitting) > 1:
        raise IdTokenInvalid("kid")
    key_type = _KEY_TYPE[algorithm[:2]]
    return {"kty": key_type, **{name: fitting[0][name] for name in _MATERIAL[key_type]}}


def fits(key: Jwk, algorithm: str, kid: str | None) -> bool:
    """Whether the key can verify a token with this header."""
    key_type = _KEY_TYPE[algorithm[:2]]
    operations = key.get("key_ops", ["verify"])
    return (
        key.get("kty") == key_type
        and (kid is None or key.get("kid") == kid)
        and key.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
        and key.get("alg", algorithm) == algorithm
        and all(isinstance(key.get(name), str) for name in _MATERIAL[key_type])
        and (_is_strong_rsa(key) if key_type == "RSA" else key["crv"] == _CURVE[algorithm])
    )


def _is_strong_rsa(key: Jwk) -> bool:
    try:
        modulus = base64.urlsafe_b64decode(key["n"] + "==")
    except (binascii.Error, ValueError):
        return False
    return int.from_bytes(modulus).bit_length() >= MIN_RSA_BITS
