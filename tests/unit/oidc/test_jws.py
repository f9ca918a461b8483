from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st
from jose import jws as jose_jws

from app.oidc.jws import SignatureInvalid, sign_hs256, unverified_header, verify, verify_hs256
from tests.harness.ids import plain_id

SECRET = "a secret of more than thirty-two characters"
CLAIMS = {"a": 1, "b": ["ñ", None]}


def encoded(value: object) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def hs256(header: object, payload: object, secret: str = SECRET) -> str:
    """A token made without the library, so that it can say what the library would not."""
    signing_input = f"{encoded(header)}.{encoded(payload)}"
    signature = hmac.digest(secret.encode(), signing_input.encode(), hashlib.sha256)
    return f"{signing_input}.{encoded(signature)}"


def test_what_is_signed_is_verified() -> None:
    assert verify_hs256(sign_hs256(CLAIMS, SECRET), SECRET) == CLAIMS
    assert verify_hs256(hs256({"alg": "HS256", "typ": "JWT"}, CLAIMS), SECRET) == CLAIMS


def test_the_header_says_algorithm_and_type() -> None:
    assert unverified_header(sign_hs256(CLAIMS, SECRET)) == {"alg": "HS256", "typ": "JWT"}
    assert unverified_header(sign_hs256(CLAIMS, SECRET, token_type="x+jwt")) == {"alg": "HS256", "typ": "x+jwt"}


def test_a_header_is_read_in_the_alphabet_of_base64url() -> None:
    header = {"kid": ">>>???"}
    assert {"-", "_"} <= set(encoded(header))
    assert unverified_header(encoded(header) + "..") == header


@pytest.mark.parametrize("stranger", ["!", "\n", " ", "=", "\x00", "ñ", "%"], ids=plain_id)
def test_a_header_with_a_character_of_no_alphabet_is_none(stranger: str) -> None:
    text = encoded({"alg": "HS256"})
    assert unverified_header(text) == {"alg": "HS256"}
    # Four of them leave the padding as it was.
    for place, times in itertools.product((0, 4, len(text) - 1), (1, 4)):
        with pytest.raises(SignatureInvalid):
            unverified_header(text[:place] + stranger * times + text[place:])


@pytest.mark.parametrize(
    "secret",
    [
        SECRET,
        "ñ" * 32,
        "1" * 40,
        "0" * 40,
        # Texts that are JSON are no less a secret: Docker's --env-file, say, leaves quotation marks where they are.
        f'"{SECRET}"',
        f'["{SECRET}"]',
        f'{{"a": "{SECRET}"}}',
        "-----BEGIN PUBLIC KEY----- is how it begins",
        "ssh-rsa is how it begins, and it goes on",
    ],
)
def test_any_text_may_be_the_secret(secret: str) -> None:
    token = sign_hs256(CLAIMS, secret)
    assert verify_hs256(token, secret) == CLAIMS
    signing_input, _, signature = token.rpartition(".")
    assert signature == encoded(hmac.digest(secret.encode(), signing_input.encode(), hashlib.sha256))


@pytest.mark.parametrize(
    "token",
    [
        hs256({"alg": "HS256", "typ": "JWT"}, CLAIMS, "another secret of more than thirty-two characters"),
        hs256({"alg": "HS256", "typ": "JWT"}, CLAIMS, ""),
        hs256({"alg": "none", "typ": "JWT"}, CLAIMS),
        hs256({"alg": "HS512", "typ": "JWT"}, CLAIMS),
        hs256({"alg": "hs256", "typ": "JWT"}, CLAIMS),
        hs256({"alg": ["HS256"], "typ": "JWT"}, CLAIMS),
        hs256({"typ": "JWT"}, CLAIMS),
        hs256({"alg": "HS256"}, CLAIMS),
        hs256({"alg": "HS256", "typ": None}, CLAIMS),
        hs256({"alg": "HS256", "typ": "jwt"}, CLAIMS),
        hs256({"alg": "HS256", "typ": "idv-state+jwt"}, CLAIMS),
        hs256({"alg": "HS256", "typ": ["JWT"]}, CLAIMS),
        hs256([], CLAIMS),
        hs256(b"[" * 100_000, CLAIMS),
        hs256(b'{"alg":"none","alg":"HS256","typ":"JWT"}', CLAIMS),
        hs256({"alg": "HS256", "typ": "JWT"}, []),
        hs256({"alg": "HS256", "typ": "JWT"}, "text"),
        hs256({"alg": "HS256", "typ": "JWT"}, 7),
        hs256({"alg": "HS256", "typ": "JWT"}, None),
        hs256({"alg": "HS256", "typ": "JWT"}, b""),
        hs256({"alg": "HS256", "typ": "JWT"}, b"\xff"),
        hs256({"alg": "HS256", "typ": "JWT"}, b'{"sub":"a","sub":"b"}'),
        hs256({"alg": "HS256", "typ": "JWT"}, b"[" * 100_000),
        sign_hs256(CLAIMS, SECRET).rpartition(".")[0],
        sign_hs256(CLAIMS, SECRET).rpartition(".")[0] + ".",
        sign_hs256(CLAIMS, SECRET) + ".",
        sign_hs256(CLAIMS, SECRET)[:-1],
        "." + sign_hs256(CLAIMS, SECRET),
        "",
        ".",
        "..",
        "...",
        "ñ.ñ.ñ",
        "\ud800",
    ],
    ids=plain_id,
)
def test_any_other_token_is_refused(token: str) -> None:
    with pytest.raises(SignatureInvalid):
        verify_hs256(token, SECRET)


@pytest.mark.parametrize("segment", [0, 1, 2])
def test_a_changed_segment_is_refused(segment: int) -> None:
    segments = sign_hs256(CLAIMS, SECRET).split(".")
    segments[segment] = encoded({"alg": "HS256", "typ": "JWT", "changed": True})
    with pytest.raises(SignatureInvalid):
        verify_hs256(".".join(segments), SECRET)


@pytest.mark.parametrize(("signed", "asked"), [("JWT", "idv-state+jwt"), ("idv-state+jwt", "JWT"), ("", "JWT")])
def test_a_token_of_one_type_is_none_of_another(signed: str, asked: str) -> None:
    token = sign_hs256(CLAIMS, SECRET, token_type=signed)
    assert verify_hs256(token, SECRET, token_type=signed) == CLAIMS
    with pytest.raises(SignatureInvalid):
        verify_hs256(token, SECRET, token_type=asked)


@given(st.text(st.characters(codec=None)) | st.text(st.sampled_from("eyJ0.-_=+/\n")))
def test_garbage_is_refused(token: str) -> None:
    with pytest.raises(SignatureInvalid):
        verify_hs256(token, SECRET)
    with pytest.raises(SignatureInvalid):
        verify(token, {"kty": "RSA", "n": "AQAB", "e": "AQAB"}, "RS256")


RSA_KEY = rsa.generate_private_key(65537, 2048)
CURVES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
EC_KEYS = {algorithm: ec.generate_private_key(curve) for algorithm, curve in CURVES.items()}


def number(value: int, length: int) -> str:
    return encoded(value.to_bytes(length, "big"))


def key_pair(algorithm: str) -> tuple[str, dict[str, str]]:
    """The private key as PEM, and the public one as a JWK."""
    if algorithm.startswith("RS"):
        numbers = RSA_KEY.public_key().public_numbers()
        pem = RSA_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return pem.decode(), {"kty": "RSA", "n": number(numbers.n, 256), "e": number(numbers.e, 3)}
    private = EC_KEYS[algorithm]
    point, length = private.public_key().public_numbers(), (private.key_size + 7) // 8
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    curve = f"P-{private.key_size}"
    return pem.decode(), {"kty": "EC", "crv": curve, "x": number(point.x, length), "y": number(point.y, length)}


def signed(payload: Any, algorithm: str) -> tuple[str, dict[str, str]]:
    pem, public = key_pair(algorithm)
    return str(jose_jws.sign(payload, pem, algorithm=algorithm)), public


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512"])
def test_every_algorithm_on_offer_verifies(algorithm: str) -> None:
    token, public = signed(CLAIMS, algorithm)
    assert verify(token, public, algorithm) == CLAIMS


@pytest.mark.parametrize(
    ("algorithm", "asked"), [("RS256", "RS512"), ("RS512", "RS256"), ("RS256", "ES256"), ("ES256", "ES384")]
)
def test_a_token_of_another_algorithm_is_refused(algorithm: str, asked: str) -> None:
    token, public = signed(CLAIMS, algorithm)
    with pytest.raises(SignatureInvalid):
        verify(token, public, asked)


@pytest.mark.parametrize("payload", [b"[]", b"7", b"null", b"", b"\xff", b'{"a":1,"a":2}'])
def test_a_signed_payload_that_is_no_object_is_refused(payload: bytes) -> None:
    token, public = signed(payload, "RS256")
    with pytest.raises(SignatureInvalid):
        verify(token, public, "RS256")


@pytest.mark.parametrize(
    ("algorithm", "changes"),
    [
        ("RS256", {"e": ""}),
        ("RS256", {"e": "AA"}),
        ("RS256", {"e": "AQ"}),
        ("RS256", {"e": "!!!"}),
        ("RS256", {"e": "ñ"}),
        ("RS256", {"n": ""}),
        ("RS256", {"n": "_" * 30_000}),
        ("ES256", {"x": ""}),
        ("ES256", {"x": "AQ"}),
        ("ES256", {"y": "_" * 43}),
        ("ES256", {"x": "ñ"}),
    ],
    ids=plain_id,
)
def test_a_key_that_is_none_verifies_nothing(algorithm: str, changes: dict[str, str]) -> None:
    token, public = signed(CLAIMS, algorithm)
    with pytest.raises(SignatureInvalid):
        verify(token, {**public, **changes}, algorithm)
