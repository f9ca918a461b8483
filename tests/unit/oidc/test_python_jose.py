"""What python-jose does, and why its `decode` is not used: an upgrade that changes one of these must be looked at.

`app/oidc` asks the library for one thing, whether a signature is by a key, and checks everything else by itself.
"""

import base64
import json
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from jose import backends, jwk, jws, jwt
from jose.exceptions import JOSEError, JWKError, JWSError, JWTError

SECRET = "a secret of more than thirty-two characters"
ISSUER, CLIENT = "https://auth.example", "the client"
PRIVATE = rsa.generate_private_key(65537, 2048)
PEM = PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
PUBLIC_PEM = PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
PUBLIC_JWK = jwk.construct(PEM, "RS256").public_key().to_dict()


def token(headers: dict[str, Any] | None = None, **claims: Any) -> str:
    return jws.sign({"iss": ISSUER, "exp": time.time() + 300, **claims}, PEM, headers, "RS256")


def decoded(signed: str, key: Any = PUBLIC_PEM, **options: Any) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(signed, key, **{"algorithms": ["RS256"], **options})
    return claims


def raw(header: dict[str, Any], payload: bytes) -> str:
    """A token with an honest RS256 signature over a payload that is any text."""
    signed: str = jws.sign(payload, PEM, header, "RS256")
    return signed


# --- What decode lets pass: claims and keys are checked in id_token.py and jwks.py ---


def test_decode_accepts_a_token_without_an_audience_though_one_is_passed() -> None:
    assert "aud" not in decoded(token(), audience=CLIENT)


def test_decode_accepts_audiences_beside_ours() -> None:
    assert decoded(token(aud=["a stranger", CLIENT]), audience=CLIENT)["aud"] == ["a stranger", CLIENT]


def test_decode_accepts_a_token_without_times() -> None:
    assert decoded(jws.sign({"a": 1}, PEM, None, "RS256")) == {"a": 1}


def test_decode_accepts_a_token_that_is_issued_in_the_far_future() -> None:
    assert decoded(token(iat=time.time() + 10**9))


def test_decode_ignores_the_kid() -> None:
    own, other = ({**PUBLIC_JWK, "kid": kid} for kid in ("a", "b"))
    assert decoded(token({"kid": "nobody's"}), {"keys": [own]})
    assert decoded(token({"kid": "b"}), {"keys": [own, {**other, "n": own["n"]}]})


def test_decode_accepts_the_tokens_own_algorithm_where_none_is_given() -> None:
    assert decoded(token(), algorithms=None)
    assert decoded(jws.sign({"a": 1}, SECRET, algorithm="HS256"), SECRET, algorithms=None)


def test_decode_reads_a_name_that_comes_twice_as_the_last_of_them() -> None:
    assert decoded(raw({}, b'{"sub":"one","sub":"another"}')) == {"sub": "another"}


def test_decode_reads_numbers_that_are_no_json() -> None:
    assert decoded(raw({}, b'{"x":Infinity}')) == {"x": float("inf")}


def test_decode_does_not_know_crit() -> None:
    assert decoded(token({"crit": ["b64"], "b64": True}))


def test_verify_takes_any_key_of_a_set_that_happens_to_fit() -> None:
    stranger = jwk.construct(_pem(rsa.generate_private_key(65537, 2048)), "RS256").public_key().to_dict()
    assert jws.verify(token(), {"keys": [stranger, PUBLIC_JWK]}, ["RS256"])


def test_verify_accepts_a_weak_key() -> None:
    weak = _pem(rsa.generate_private_key(65537, 1024))  # noqa: S505  that is what is tested
    signed = jws.sign({"a": 1}, weak, algorithm="RS256")
    assert jws.verify(signed, jwk.construct(weak, "RS256").public_key().to_dict(), ["RS256"])


def test_verify_reads_a_secret_that_looks_like_json_as_json() -> None:
    secret = json.dumps({"a": SECRET})
    assert jws.verify(jws.sign({"a": 1}, SECRET, algorithm="HS256"), secret, ["HS256"])


def test_verify_skips_characters_that_are_not_base64() -> None:
    header, payload, signature = token().split(".")
    assert jws.verify(f"{header}.{payload}.{signature[:4]}!!!!{signature[4:]}", PUBLIC_PEM, ["RS256"])


# --- What is raised that is no JWTError: jws.py catches each by its name ---


def test_a_mixed_key_set_raises_an_error_that_is_no_jwt_error() -> None:
    mixed = {"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}, PUBLIC_JWK]}
    with pytest.raises(JWKError) as raised:
        decoded(token(), mixed)
    assert not isinstance(raised.value, JWTError | JWSError)
    assert isinstance(raised.value, JOSEError)


def test_an_expiry_of_null_raises_a_bare_type_error() -> None:
    with pytest.raises(TypeError):
        decoded(token(exp=None))


def test_a_payload_that_is_nested_too_deeply_raises_a_bare_recursion_error() -> None:
    with pytest.raises(RecursionError):
        decoded(raw({}, b"[" * 100_000))


def test_a_header_that_is_nested_too_deeply_raises_a_bare_recursion_error() -> None:
    header = base64.urlsafe_b64encode(b'{"alg":"RS256","a":' + b"[" * 100_000).rstrip(b"=").decode()
    with pytest.raises(RecursionError):
        jws.verify(f"{header}.{token().partition('.')[2]}", PUBLIC_PEM, ["RS256"])


def test_a_key_with_broken_material_raises_a_bare_type_error() -> None:
    with pytest.raises(TypeError):
        jws.verify(token(), {"kty": "RSA", "alg": "RS256", "e": "AQAB", "n": None}, ["RS256"])


# --- What it does well, and is relied upon ---


@pytest.mark.parametrize("algorithm", ["none", "None", "HS256", "RS512", "rs256", ""])
def test_verify_refuses_an_algorithm_that_is_not_asked_for(algorithm: str) -> None:
    header = base64.urlsafe_b64encode(json.dumps({"alg": algorithm}).encode()).rstrip(b"=").decode()
    with pytest.raises(JWSError):
        jws.verify(f"{header}.{token().partition('.')[2]}", PUBLIC_PEM, ["RS256"])


def test_a_public_key_is_not_taken_as_a_shared_secret() -> None:
    with pytest.raises(JOSEError):
        jws.verify(jws.sign({"a": 1}, SECRET, algorithm="HS256"), PUBLIC_PEM, ["HS256"])


def test_signatures_are_checked_by_cryptography_and_not_by_ecdsa() -> None:
    # CVE-2024-23342 is about ecdsa's own code, which python-jose calls only where cryptography is missing.
    used = [key.__name__ for key in (backends.RSAKey, backends.ECKey, backends.HMACKey) if key]
    assert used == ["CryptographyRSAKey", "CryptographyECKey", "CryptographyHMACKey"]


def _pem(key: rsa.RSAPrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
