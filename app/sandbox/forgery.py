"""ID tokens as no honest provider makes them: any header, any payload, any key."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from app.sandbox.alterations import Claims
from app.sandbox.signing import SigningKey, base64url

Sign = Callable[[bytes], bytes]
Header = Mapping[str, object]
Jwk = dict[str, object]


@dataclass(frozen=True)
class Workshop:
    """What lies ready when an answer is made: the provider's name and key, and the client's name and secret."""

    issuer: str
    key: SigningKey
    client_id: str
    client_secret: str = field(repr=False)

    def header(self, **changes: object) -> Header:
        """The header of an honest token, with changes; None leaves a member out."""
        header = {"alg": "RS256", "kid": self.key.kid, "typ": "JWT", **changes}
        return {name: value for name, value in header.items() if value is not None}


def compact(header: Header | bytes, payload: Claims | bytes, sign: Sign) -> str:
    """Make a compact JWS (RFC 7515 section 7.1) of whatever is given; bytes are taken as they are."""
    signing_input = f"{base64url(_bytes(header))}.{base64url(_bytes(payload))}"
    return f"{signing_input}.{base64url(sign(signing_input.encode()))}"


def _bytes(value: Mapping[str, object] | bytes) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def rs256(key: SigningKey) -> Sign:
    """Sign with an RSA key."""
    return lambda data: _rsa(key).sign(data, padding.PKCS1v15(), hashes.SHA256())


def es256(key: ec.EllipticCurvePrivateKey) -> Sign:
    """Sign with a P-256 key (RFC 7518 section 3.4)."""

    def sign(data: bytes) -> bytes:
        return b"".join(n.to_bytes(32) for n in decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256()))))

    return sign


def hs256(secret: bytes) -> Sign:
    """Sign with a shared secret, or with whatever a verifier may take for one."""
    return lambda data: hmac.digest(secret, data, hashlib.sha256)


def unsigned(_: bytes) -> bytes:
    """Sign nothing."""
    return b""


def public_pem(key: SigningKey) -> bytes:
    """The public key as a PEM, which everybody knows."""
    return (
        _rsa(key).public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def modulus(key: SigningKey) -> bytes:
    """The public key's modulus, which everybody knows."""
    return _rsa(key).public_key().public_numbers().n.to_bytes(256)


@cache
def strangers_key() -> SigningKey:
    """An RSA key that is not the provider's."""
    return SigningKey.generate()


@cache
def weak_key() -> SigningKey:
    """An RSA key of 1024 bits, which RFC 7518 section 3.3 forbids."""
    return SigningKey.of(rsa.generate_private_key(public_exponent=65537, key_size=1024))  # noqa: S505  that is its purpose


@cache
def elliptic_key() -> ec.EllipticCurvePrivateKey:
    """A P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


@cache
def strangers_elliptic_key() -> ec.EllipticCurvePrivateKey:
    """A P-256 key that is not the provider's."""
    return ec.generate_private_key(ec.SECP256R1())


def elliptic_jwk(key: ec.EllipticCurvePrivateKey, kid: str) -> Jwk:
    """Render the public half as a JWK (RFC 7518 section 6.2.1)."""
    numbers = key.public_key().public_numbers()
    x, y = (base64url(n.to_bytes(32)) for n in (numbers.x, numbers.y))
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": kid, "use": "sig"}


@lru_cache(maxsize=16)
def _rsa(key: SigningKey) -> rsa.RSAPrivateKey:
    private = serialization.load_pem_private_key(key.pem.encode(), None)
    if not isinstance(private, rsa.RSAPrivateKey):
        raise TypeError("not an RSA key")
    return private
