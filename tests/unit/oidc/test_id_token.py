from __future__ import annotations

import base64
import hashlib
import json
from enum import Enum
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from hypothesis import given
from hypothesis import strategies as st

from app.oidc import jws
from app.oidc.errors import IdTokenInvalid
from app.oidc.id_token import ALGORITHMS, Expectation, Signed, check_id_token, read_header, verify_signature
from app.oidc.jwks import NoKeyFits
from tests.harness.ids import plain_id

ISSUER, CLIENT, NONCE, ACCESS_TOKEN = "https://auth.example", "the client", "the nonce", "the access token"
NOW = 1_775_582_905.0
LEEWAY = 60.0
EXPECTED = Expectation(issuer=ISSUER, client_id=CLIENT, algorithms=frozenset({"RS256"}), leeway_seconds=LEEWAY)
GOOD = {"iss": ISSUER, "aud": CLIENT, "sub": "the subject", "exp": NOW + 300, "iat": NOW - 1, "nonce": NONCE}


class Missing(Enum):
    """The claim is not there. An enum's name is the same in every process, as xdist needs of a test's id."""

    MISSING = "missing"


MISSING = Missing.MISSING
WRONG_TYPES = [None, True, False, [], {}, ["x"], {"x": 1}]
NO_NUMBERS = ["", "9999999999", "soon", *WRONG_TYPES, 10**400, -(10**400), float("nan"), float("inf"), float("-inf")]


def with_claim(name: str, value: object) -> dict[str, Any]:
    claims = {**GOOD, name: value}
    return {name: value for name, value in claims.items() if value is not MISSING}


def refusal(claims: dict[str, Any], algorithm: str = "RS256") -> str | None:
    """The check that the claims failed, or None."""
    try:
        check_id_token(Signed(claims, algorithm), EXPECTED, nonce=NONCE, access_token=ACCESS_TOKEN, now=NOW)
    except IdTokenInvalid as error:
        return error.description
    return None


def half_hash(digest: str, text: str = ACCESS_TOKEN) -> str:
    hashed = hashlib.new(digest, text.encode()).digest()
    return base64.urlsafe_b64encode(hashed[: len(hashed) // 2]).rstrip(b"=").decode()


def test_a_token_that_answers_our_request_passes() -> None:
    assert refusal(GOOD) is None


REFUSED: list[tuple[str, list[Any]]] = [
    ("iss", [MISSING, "", ISSUER + "/", ISSUER.upper(), "http://auth.example", 7, [ISSUER], *WRONG_TYPES]),
    ("aud", [MISSING, "", "another", CLIENT.upper(), CLIENT + " ", 7, *WRONG_TYPES]),
    ("aud", [[CLIENT, "a stranger"], ["a stranger", CLIENT], ["a stranger"], [CLIENT, None], [[CLIENT]], [""]]),
    ("azp", ["", "another", 7, [CLIENT], *WRONG_TYPES]),
    ("sub", [MISSING, "", 7, "x" * 256, *WRONG_TYPES]),
    ("exp", [MISSING, *NO_NUMBERS, NOW - LEEWAY, NOW - LEEWAY - 1, 0, -1, -1e308]),
    ("iat", [MISSING, *NO_NUMBERS, NOW + LEEWAY + 0.001, NOW * 1000, 1e308]),
    ("nbf", [*NO_NUMBERS, NOW + LEEWAY + 0.001, NOW * 1000, 1e308]),
    ("nonce", [MISSING, "", "another", NONCE + "x", NONCE[:-1], "ñ", 7, [NONCE], *WRONG_TYPES]),
    (
        "at_hash",
        ["", "another", half_hash("sha256", "x"), half_hash("sha256") + "=", half_hash("sha512"), "ñ", 7, *WRONG_TYPES],
    ),
]


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in REFUSED for value in values], ids=plain_id
)
def test_each_check_refuses_by_its_name(name: str, value: object) -> None:
    assert refusal(with_claim(name, value)) == name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("aud", [CLIENT]),
        ("aud", [CLIENT, CLIENT]),
        ("azp", CLIENT),
        ("sub", "x" * 255),
        ("sub", "ñ"),
        ("exp", NOW - LEEWAY + 0.001),
        ("exp", int(NOW) + 1),
        ("exp", 1e308),
        ("iat", NOW + LEEWAY),
        ("iat", 0),
        ("nbf", MISSING),
        ("nbf", NOW + LEEWAY),
        ("nbf", 0),
        ("at_hash", MISSING),
        ("at_hash", half_hash("sha256")),
        ("acr", ["a claim that is none of ours"]),
    ],
    ids=plain_id,
)
def test_what_a_good_token_may_say(name: str, value: object) -> None:
    assert refusal(with_claim(name, value)) is None


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_the_access_token_hash_is_of_the_signatures_own_strength(algorithm: str) -> None:
    own = f"sha{algorithm[2:]}"
    for digest in ("sha256", "sha384", "sha512"):
        expected = None if digest == own else "at_hash"
        assert refusal({**GOOD, "at_hash": half_hash(digest)}, algorithm) == expected


def test_the_access_token_hash_is_that_of_openid_connect_core_appendix_a() -> None:
    claims = {**GOOD, "at_hash": "77QmUPtjPfzWtF2AnpK9RQ"}
    token = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y"
    check_id_token(Signed(claims, "RS256"), EXPECTED, nonce=NONCE, access_token=token, now=NOW)


def test_an_access_token_hash_keeps_all_its_letters() -> None:
    token = "token 15"
    claims = {**GOOD, "at_hash": "kYmecUM8AGRUbJ3OfiW1KlTFK-bC64XX"}
    assert claims["at_hash"] == half_hash("sha384", token)
    check_id_token(Signed(claims, "RS384"), EXPECTED, nonce=NONCE, access_token=token, now=NOW)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)


@given(st.sampled_from(["iss", "aud", "azp", "sub", "exp", "iat", "nbf", "nonce", "at_hash"]), json_values)
def test_a_claim_of_any_type_is_accepted_or_refused_by_its_name(name: str, value: object) -> None:
    assert refusal(with_claim(name, value)) in {None, name}


def encoded(value: object) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def token_with_header(header: object) -> str:
    return f"{encoded(header)}.{encoded(GOOD)}.{encoded(b'signature')}"


@pytest.mark.parametrize(
    ("header", "check"),
    [
        ({"alg": "none"}, "alg"),
        ({"alg": "None"}, "alg"),
        ({"alg": "NONE"}, "alg"),
        ({"alg": "nOnE"}, "alg"),
        ({"alg": ""}, "alg"),
        ({"alg": "HS256"}, "alg"),
        ({"alg": "RS512"}, "alg"),
        ({"alg": "rs256"}, "alg"),
        ({"alg": "RS256 "}, "alg"),
        ({"alg": "PS256"}, "alg"),
        ({"alg": ["RS256"]}, "alg"),
        ({"alg": {"RS256": 1}}, "alg"),
        ({"alg": None}, "alg"),
        ({"kid": "a"}, "alg"),
        ({}, "alg"),
        ({"alg": "RS256", "crit": ["exp"], "exp": 1}, "crit"),
        ({"alg": "RS256", "crit": []}, "crit"),
        ({"alg": "RS256", "crit": None}, "crit"),
        ({"alg": "RS256", "b64": False}, "crit"),
        ({"alg": "RS256", "b64": True}, "crit"),
        ({"alg": "RS256", "kid": 7}, "kid"),
        ({"alg": "RS256", "kid": ["a"]}, "kid"),
        ({"alg": "RS256", "kid": False}, "kid"),
        ({"alg": "RS256", "kid": {}}, "kid"),
        ([], "structure"),
        ("RS256", "structure"),
        (7, "structure"),
        (None, "structure"),
        (b'{"alg":"RS256"', "structure"),
        (b'{"alg":"HS256","alg":"RS256"}', "structure"),
        (b"\xff\xfe", "structure"),
        (b"[" * 100_000, "structure"),
        (b"", "structure"),
    ],
    ids=plain_id,
)
def test_a_header_that_is_not_ours_is_refused(header: object, check: str) -> None:
    with pytest.raises(IdTokenInvalid) as refused:
        read_header(token_with_header(header), EXPECTED.algorithms)
    assert refused.value.description == check


@pytest.mark.parametrize(
    ("header", "kid"),
    [
        ({"alg": "RS256"}, None),
        ({"alg": "RS256", "kid": None}, None),
        ({"alg": "RS256", "kid": ""}, ""),
        ({"alg": "RS256", "kid": "a", "typ": "JWT", "jku": "https://evil.example/keys"}, "a"),
    ],
)
def test_a_header_gives_algorithm_and_kid(header: dict[str, Any], kid: str | None) -> None:
    assert read_header(token_with_header(header), EXPECTED.algorithms) == ("RS256", kid)


@given(st.text())
def test_garbage_is_no_header(token: str) -> None:
    with pytest.raises(IdTokenInvalid):
        read_header(token, ALGORITHMS)


PROVIDERS_KEY = rsa.generate_private_key(65537, 2048)
STRANGERS_KEY = rsa.generate_private_key(65537, 2048)


def public(key: rsa.RSAPrivateKey, **members: str) -> dict[str, Any]:
    numbers = key.public_key().public_numbers()
    return {
        "kty": "RSA",
        "n": encoded(numbers.n.to_bytes(256, "big")),
        "e": encoded(numbers.e.to_bytes(3, "big")),
        **members,
    }


def signed_with(key: rsa.RSAPrivateKey, *, payload: object = GOOD, **header: object) -> str:
    signing_input = f"{encoded({'alg': 'RS256', **header})}.{encoded(payload)}"
    signature = key.sign(signing_input.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{signing_input}.{encoded(signature)}"


KEYS = [public(PROVIDERS_KEY, kid="a"), public(STRANGERS_KEY, kid="b")]


@pytest.mark.parametrize(
    ("header", "keys"),
    [({"kid": "a"}, KEYS), ({"kid": "a"}, KEYS[:1]), ({}, KEYS[:1]), ({}, [public(PROVIDERS_KEY)])],
)
def test_a_signature_by_the_one_key_that_fits_holds(header: dict[str, str], keys: list[dict[str, Any]]) -> None:
    signed = verify_signature(signed_with(PROVIDERS_KEY, **header), keys, EXPECTED.algorithms)
    assert signed == Signed(GOOD, "RS256")


@pytest.mark.parametrize(
    ("token", "keys", "check"),
    [
        (signed_with(STRANGERS_KEY, kid="a"), KEYS, "signature"),
        (signed_with(STRANGERS_KEY), KEYS[:1], "signature"),
        (signed_with(PROVIDERS_KEY, kid="a")[:-4], KEYS, "signature"),
        (signed_with(PROVIDERS_KEY, kid="a").rpartition(".")[0] + ".", KEYS, "signature"),
        (signed_with(PROVIDERS_KEY, kid="a").rpartition(".")[0], KEYS, "signature"),
        (signed_with(PROVIDERS_KEY), KEYS, "kid"),
        (signed_with(PROVIDERS_KEY, kid="c"), KEYS, "kid"),
        (signed_with(PROVIDERS_KEY, kid="a"), [], "kid"),
        # What the header carries or points at is the sender's own choice.
        (signed_with(STRANGERS_KEY, kid="a", jwk=public(STRANGERS_KEY)), KEYS, "signature"),
        (signed_with(STRANGERS_KEY, jwk=public(STRANGERS_KEY)), [], "kid"),
        (jws.sign_hs256(GOOD, json.dumps(KEYS[0])), KEYS, "alg"),
    ],
)
def test_any_other_signature_is_refused(token: str, keys: list[dict[str, Any]], check: str) -> None:
    with pytest.raises(IdTokenInvalid) as refused:
        verify_signature(token, keys, EXPECTED.algorithms)
    assert refused.value.description == check


@pytest.mark.parametrize("payload", [[], "text", 7, None, b"", b"{", b'{"sub":"a","sub":"b"}'], ids=plain_id)
def test_a_signed_payload_that_is_no_object_is_refused(payload: object) -> None:
    with pytest.raises(IdTokenInvalid) as refused:
        verify_signature(signed_with(PROVIDERS_KEY, payload=payload), KEYS[:1], EXPECTED.algorithms)
    assert refused.value.description == "structure"


def test_a_kid_that_is_not_in_the_set_is_a_reason_to_fetch_it_again() -> None:
    with pytest.raises(NoKeyFits):
        verify_signature(signed_with(PROVIDERS_KEY, kid="c"), KEYS, EXPECTED.algorithms)
