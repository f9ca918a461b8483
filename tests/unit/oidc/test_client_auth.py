from __future__ import annotations

import base64

import pytest

from app.oidc import jws
from app.oidc.client_auth import ClientAuthMethod, ClientCredentials, authenticate

TOKEN_ENDPOINT = "https://auth.example/oauth2/token"
NOW = 1_775_582_905.75
SECRET = "the secret of thirty-two characters"


def credentials(method: ClientAuthMethod, client_id: str = "the client", secret: str = SECRET) -> ClientCredentials:
    return ClientCredentials(client_id=client_id, client_secret=secret, method=method)


def authenticated(held: ClientCredentials) -> tuple[dict[str, str], dict[str, str]]:
    return authenticate(held, token_endpoint=TOKEN_ENDPOINT, now=NOW)


def assertion(held: ClientCredentials) -> dict[str, object]:
    form, _ = authenticated(held)
    return jws.verify_hs256(form["client_assertion"], held.client_secret)


def test_post_sends_both_in_the_form() -> None:
    held = credentials(ClientAuthMethod.POST, "id & co", "s&cret=+ %")
    assert authenticated(held) == ({"client_id": "id & co", "client_secret": "s&cret=+ %"}, {})


@pytest.mark.parametrize(
    ("client_id", "secret", "pair"),
    [
        ("client", "secret", b"client:secret"),
        ("cl:ient", "s:cret", b"cl%3Aient:s%3Acret"),
        ("a b", "c+d %&=/?", b"a+b:c%2Bd+%25%26%3D%2F%3F"),
        ("ñ", "🙂", b"%C3%B1:%F0%9F%99%82"),
        ("a-b_c.d~e", "", b"a-b_c.d~e:"),
    ],
)
def test_basic_encodes_both_parts_before_they_are_joined(client_id: str, secret: str, pair: bytes) -> None:
    form, headers = authenticated(credentials(ClientAuthMethod.BASIC, client_id, secret))
    assert form == {}
    assert headers == {"Authorization": "Basic " + base64.b64encode(pair).decode()}


def test_jwt_sends_an_assertion_and_no_secret() -> None:
    held = credentials(ClientAuthMethod.JWT)
    form, headers = authenticated(held)
    assert headers == {}
    assert form.keys() == {"client_id", "client_assertion_type", "client_assertion"}
    assert form["client_id"] == "the client"
    assert form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def test_the_assertion_is_ours_for_this_endpoint_and_for_a_minute() -> None:
    claims = assertion(credentials(ClientAuthMethod.JWT))
    assert len(str(claims.pop("jti"))) >= 22  # 128 random bits
    assert claims == {
        "iss": "the client",
        "sub": "the client",
        "aud": TOKEN_ENDPOINT,
        "iat": 1_775_582_905,
        "exp": 1_775_582_965,
    }


def test_no_two_assertions_are_the_same() -> None:
    held = credentials(ClientAuthMethod.JWT)
    assert len({assertion(held)["jti"] for _ in range(20)}) == 20


def test_the_secret_does_not_show() -> None:
    assert "the secret" not in repr(credentials(ClientAuthMethod.POST))
