from __future__ import annotations

import base64
from typing import Any

import pytest

from app.oidc.errors import IdTokenInvalid, ProviderUnavailable
from app.oidc.jwks import NoKeyFits, choose_key, parse


def modulus(bits: int) -> str:
    number = (1 << bits) - 1
    return base64.urlsafe_b64encode(number.to_bytes((bits + 7) // 8, "big")).rstrip(b"=").decode()


MODULUS = modulus(2048)


def rsa(kid: str | None = "a", **changes: Any) -> dict[str, Any]:
    key = {"kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256", "n": MODULUS, "e": "AQAB", **changes}
    return {name: value for name, value in key.items() if value is not None}


def ec(kid: str | None = "a", **changes: Any) -> dict[str, Any]:
    key = {"kty": "EC", "kid": kid, "crv": "P-256", "x": "eA", "y": "eQ", **changes}
    return {name: value for name, value in key.items() if value is not None}


FITTING: dict[str, tuple[dict[str, Any], str, str | None]] = {
    "the usual key": (rsa(), "RS256", "a"),
    "a token without kid": (rsa(), "RS256", None),
    "neither has a kid": (rsa(None), "RS256", None),
    "a key without use and alg": (rsa(use=None, alg=None), "RS512", "a"),
    "key_ops instead of use": (rsa(use=None, key_ops=["verify"]), "RS256", "a"),
    "several key_ops": (rsa(key_ops=["encrypt", "verify"]), "RS256", "a"),
    "an empty kid is a kid": (rsa(""), "RS256", ""),
    "members that we do not know": (rsa(x5c=["MII"], colour="blue"), "RS256", "a"),
    "P-256": (ec(), "ES256", "a"),
    "P-384": (ec(crv="P-384"), "ES384", "a"),
    "P-521": (ec(crv="P-521", alg="ES512", use="sig"), "ES512", "a"),
    "2048 bits": (rsa(n=modulus(2048)), "RS256", "a"),
    "4096 bits": (rsa(n=modulus(4096)), "RS256", "a"),
}

UNUSABLE: dict[str, tuple[dict[str, Any], str, str | None]] = {
    "another kid": (rsa("b"), "RS256", "a"),
    "a key without kid for a token with one": (rsa(None), "RS256", "a"),
    "a kid of another type": ({**rsa(), "kid": 7}, "RS256", "7"),
    "a kid in another case": (rsa("A"), "RS256", "a"),
    "an encryption key": (rsa(use="enc"), "RS256", "a"),
    "a use of another type": (rsa(use=["sig"]), "RS256", "a"),
    "key_ops without verify": (rsa(key_ops=["sign"]), "RS256", "a"),
    "no key_ops": (rsa(key_ops=[]), "RS256", "a"),
    "key_ops of another type": (rsa(key_ops="verify"), "RS256", "a"),
    "another alg": (rsa(alg="RS512"), "RS256", "a"),
    "PSS": (rsa(alg="PS256"), "RS256", "a"),
    "an alg of another type": (rsa(alg=["RS256"]), "RS256", "a"),
    "another kty": (ec(), "RS256", "a"),
    "RSA for ES256": (rsa(alg=None), "ES256", "a"),
    "a kty in another case": (rsa(kty="rsa"), "RS256", "a"),
    "no kty": (rsa(kty=None), "RS256", "a"),
    "a symmetric key": ({"kty": "oct", "k": MODULUS, "kid": "a", "n": MODULUS, "e": "AQAB"}, "RS256", "a"),
    "no modulus": (rsa(n=None), "RS256", "a"),
    "no exponent": (rsa(e=None), "RS256", "a"),
    "a modulus of another type": (rsa(n=2**2048), "RS256", "a"),
    "a modulus that is no base64": (rsa(n="é" * 400), "RS256", "a"),
    "an empty modulus": (rsa(n=""), "RS256", "a"),
    "1024 bits": (rsa(n=modulus(1024)), "RS256", "a"),
    "2047 bits": (rsa(n=modulus(2047)), "RS256", "a"),
    "1024 bits behind zeros": (
        rsa(n=base64.urlsafe_b64encode(bytes(256) + b"\xff" * 128).decode()), "RS256", "a",
    ),
    "P-384 for ES256": (ec(crv="P-384"), "ES256", "a"),
    "P-256 for ES384": (ec(), "ES384", "a"),
    "P-256 for ES512": (ec(), "ES512", "a"),
    "secp256k1": (ec(crv="secp256k1"), "ES256", "a"),
    "no curve": (ec(crv=None), "ES256", "a"),
    "no y": (ec(y=None), "ES256", "a"),
    "x of another type": (ec(x=7), "ES256", "a"),
    "an empty object": ({}, "RS256", None),
}  # fmt: skip


@pytest.mark.parametrize(("key", "algorithm", "kid"), FITTING.values(), ids=FITTING)
def test_the_one_key_that_fits_is_reduced_to_its_material(key: dict[str, Any], algorithm: str, kid: str | None) -> None:
    members = ("kty", "n", "e") if algorithm.startswith("RS") else ("kty", "crv", "x", "y")
    assert choose_key([key], algorithm, kid) == {name: key[name] for name in members}


@pytest.mark.parametrize(("key", "algorithm", "kid"), UNUSABLE.values(), ids=UNUSABLE)
def test_a_key_that_does_not_fit_is_not_used(key: dict[str, Any], algorithm: str, kid: str | None) -> None:
    with pytest.raises(NoKeyFits) as refused:
        choose_key([key], algorithm, kid)
    assert refused.value.description == "kid"


@pytest.mark.parametrize(("unusable", "algorithm", "kid"), UNUSABLE.values(), ids=UNUSABLE)
def test_unusable_keys_around_the_good_one_do_no_harm(
    unusable: dict[str, Any], algorithm: str, kid: str | None
) -> None:
    curve = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}.get(algorithm)
    good = ec(kid, crv=curve, x="eHh4") if curve else rsa(kid, n=modulus(3072))
    assert choose_key([unusable, good, unusable], algorithm, kid) == choose_key([good], algorithm, kid)


@pytest.mark.parametrize(
    ("keys", "kid"),
    [
        ([rsa("a"), rsa("b")], None),
        ([rsa("a"), rsa(None)], None),
        ([rsa("a"), rsa("a", n=modulus(3072))], "a"),
        ([rsa("a"), rsa("a")], "a"),
    ],
)
def test_of_several_keys_that_fit_none_is_tried(keys: list[dict[str, Any]], kid: str | None) -> None:
    with pytest.raises(IdTokenInvalid, match="kid") as refused:
        choose_key(keys, "RS256", kid)
    # Fetching the keys again could not help, so it is no NoKeyFits.
    assert not isinstance(refused.value, NoKeyFits)


def test_the_kid_decides_between_keys() -> None:
    keys = [rsa("a"), rsa("b", n=modulus(3072)), ec("b")]
    assert choose_key(keys, "RS256", "b")["n"] == modulus(3072)
    assert choose_key(keys, "ES256", "b")["kty"] == "EC"


def test_an_empty_set_has_no_key() -> None:
    with pytest.raises(NoKeyFits):
        choose_key([], "RS256", None)


def test_private_material_is_left_behind() -> None:
    assert choose_key([rsa(d="secret")], "RS256", "a").keys() == {"kty", "n", "e"}


def test_a_key_set_keeps_its_objects() -> None:
    assert parse({"keys": [rsa(), "text", None, [rsa()], {}]}) == (rsa(), {})
    assert parse({"keys": []}) == ()


@pytest.mark.parametrize("document", [{}, {"keys": None}, {"keys": {}}, {"keys": "a"}, {"keys": {"a": rsa()}}, rsa()])
def test_a_document_that_is_no_key_set_is_no_answer(document: dict[str, Any]) -> None:
    with pytest.raises(ProviderUnavailable) as refused:
        parse(document)
    assert refused.value.description == "keys: not a key set"
