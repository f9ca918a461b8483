"""Signatures: the only module that knows the JOSE library."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jose import jwk, jws
from jose.backends.base import Key
from jose.exceptions import JOSEError


def base64url(data: bytes) -> str:
    """Encode without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass(frozen=True)
class SigningKey:
    """An RSA key for RS256."""

    kid: str
    pem: str = field(repr=False)

    @classmethod
    def generate(cls) -> SigningKey:
        """Make a new key under a new `kid`."""
        return cls.of(rsa.generate_private_key(public_exponent=65537, key_size=2048))

    @classmethod
    def of(cls, private_key: rsa.RSAPrivateKey) -> SigningKey:
        """Take this key under a new `kid`."""
        pem = private_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return cls(secrets.token_hex(8), pem.decode())

    @cached_property
    def _loaded(self) -> Key:
        """Read once: every reading tests the key's primes, which takes longer than a hundred signatures."""
        return jwk.construct(self.pem, "RS256")

    def public_jwk(self) -> dict[str, Any]:
        """Render the public half as a JWK (RFC 7517)."""
        return {**self._loaded.public_key().to_dict(), "kid": self.kid, "use": "sig"}

    def sign(self, claims: Mapping[str, object]) -> str:
        """Sign claims as a compact JWS (RFC 7515)."""
        return jws.sign(dict(claims), self._loaded, headers={"kid": self.kid}, algorithm="RS256")


def at_hash(access_token: str) -> str:
    """Hash an access token for an RS256 ID token (OpenID Connect Core 1.0 section 3.1.3.6)."""
    return base64url(hashlib.sha256(access_token.encode()).digest()[:16])


def unverified_claims(token: str) -> dict[str, Any]:
    """Read claims in order to find out whose key must verify them.

    Raises:
        ValueError: the token is not a JWT.
    """
    try:
        return _claims(jws.get_unverified_claims(token))
    except JOSEError as error:
        raise ValueError("not a JWT") from error


def hs256_claims(token: str, secret: str) -> dict[str, Any]:
    """Verify the HS256 signature and read the claims.

    Raises:
        ValueError: the token is not a JWT, or the signature is not by this secret.
    """
    try:
        return _claims(jws.verify(token, secret, "HS256"))
    except JOSEError as error:
        raise ValueError("bad signature") from error


def _claims(payload: bytes) -> dict[str, Any]:
    try:
        claims = json.loads(payload)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if not isinstance(claims, dict):
        raise ValueError("the claims are not an object")
    return claims
