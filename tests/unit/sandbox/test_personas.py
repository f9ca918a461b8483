from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from html import unescape
from typing import Any
from urllib.parse import parse_qs, parse_qsl, quote_plus, urlencode, urlsplit

import httpx
import pytest
import pytest_asyncio
import uvicorn
from jose import jwt
from jose.exceptions import JWTError

from app.sandbox import OUTCOMES, Client, Sandbox, SandboxConfig
from app.sandbox.observation import Endpoint
from app.sandbox.people import People
from app.sandbox.server import refuse_public_host, serve
from app.sandbox.signing import SigningKey
from tests.harness.waiting import PATIENCE

pytestmark = pytest.mark.asyncio

ISSUER = "http://127.0.0.1:9000"
BACK = "http://rp.test/callback"
SECRET = "s3cr:t +%é"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
ALL_SCOPES = "openid profile email phone address id_attestation identity_assurance"
ACME = Client("acme", SECRET, "Acme", (BACK, "http://rp.test/other?keep=1"))
OTHER = Client("other", "another secret", "Other", (BACK,))
REQUEST = {
    "response_type": "code",
    "client_id": "acme",
    "redirect_uri": BACK,
    "scope": "openid",
    "state": "the state",
    "nonce": "the nonce",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
}
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 4, 7, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: int) -> None:
        self.now += timedelta(**by)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey.generate()


@pytest.fixture
def sandbox(clock: Clock, key: SigningKey) -> Sandbox:
    return Sandbox(SandboxConfig(ISSUER, (ACME, OTHER)), clock, key)


class RelyingParty:
    """Speaks to the sandbox as a relying party and its user's browser would."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def authorize(self, **changes: str | None) -> httpx.Response:
        asked = {**REQUEST, "outcome": "verified", **changes}
        return await self.http.get("/oauth2/authorize", params={k: v for k, v in asked.items() if v is not None})

    async def code(self, **changes: str | None) -> str:
        return answer(await self.authorize(**changes))["code"]

    async def exchange(self, code: str, *, authorization: str | None = None, **changes: str | None) -> httpx.Response:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": BACK,
            "code_verifier": VERIFIER,
            "client_id": "acme",
            "client_secret": SECRET,
            **changes,
        }
        form = {k: v for k, v in form.items() if v is not None}
        headers = {"Authorization": authorization} if authorization else {}
        return await self.http.post("/oauth2/token", data=form, headers=headers)

    async def tokens(self, **changes: str | None) -> dict[str, Any]:
        response = await self.exchange(await self.code(**changes))
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.json()
        return body

    async def id_token(self, tokens: dict[str, Any]) -> dict[str, Any]:
        keys = (await self.http.get("/oauth2/jwks")).json()
        unchecked_time = {"verify_exp": False}
        return jwt.decode(
            tokens["id_token"],
            keys,
            algorithms=["RS256"],
            audience="acme",
            issuer=ISSUER,
            access_token=tokens["access_token"],
            options=unchecked_time,
        )

    async def userinfo(self, tokens: dict[str, Any]) -> httpx.Response:
        return await self.http.get("/userinfo", headers={"Authorization": f"Bearer {tokens['access_token']}"})

    async def verify(self, **changes: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
        tokens = await self.tokens(**changes)
        return await self.id_token(tokens), (await self.userinfo(tokens)).json()


@pytest_asyncio.fixture
async def rp(sandbox: Sandbox) -> AsyncIterator[RelyingParty]:
    transport = httpx.ASGITransport(app=sandbox.app)
    async with httpx.AsyncClient(transport=transport, base_url=ISSUER) as http:
        yield RelyingParty(http)


def answer(response: httpx.Response, back: str = BACK) -> dict[str, str]:
    assert response.status_code == 303, response.text
    location = response.headers["location"]
    assert location.startswith(back)
    return dict(parse_qsl(urlsplit(location).query, strict_parsing=True))


def basic(client_id: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()


def assertion(clock: Clock, secret: str = SECRET, algorithm: str = "HS256", **changes: object) -> dict[str, str | None]:
    claims: dict[str, object] = {
        "iss": "acme",
        "sub": "acme",
        "aud": f"{ISSUER}/oauth2/token",
        "exp": int(clock.now.timestamp()) + 60,
        "jti": "one",
        **changes,
    }
    token = jwt.encode({k: v for k, v in claims.items() if v is not None}, secret, algorithm=algorithm)
    return {"client_secret": None, "client_assertion_type": JWT_BEARER, "client_assertion": token}


def refused(response: httpx.Response, error: str, status: int = 400) -> None:
    assert (response.status_code, response.json()["error"]) == (status, error)


# Discovery and keys


async def test_discovery_lists_what_is_supported(rp: RelyingParty) -> None:
    document = (await rp.http.get("/.well-known/openid-configuration")).json()
    assert document["issuer"] == ISSUER
    assert document["authorization_endpoint"] == f"{ISSUER}/oauth2/authorize"
    assert document["token_endpoint"] == f"{ISSUER}/oauth2/token"
    assert document["userinfo_endpoint"] == f"{ISSUER}/userinfo"
    assert document["jwks_uri"] == f"{ISSUER}/oauth2/jwks"
    assert document["response_types_supported"] == ["code"]
    assert document["grant_types_supported"] == ["authorization_code"]
    assert document["subject_types_supported"] == ["public"]
    assert document["id_token_signing_alg_values_supported"] == ["RS256"]
    assert document["scopes_supported"] == ALL_SCOPES.split()
    assert set(document["token_endpoint_auth_methods_supported"]) == {
        "client_secret_post",
        "client_secret_basic",
        "client_secret_jwt",
    }
    assert document["token_endpoint_auth_signing_alg_values_supported"] == ["HS256"]
    assert document["code_challenge_methods_supported"] == ["S256"]
    assert document["authorization_response_iss_parameter_supported"] is True


async def test_discovery_claims_are_exactly_what_is_sent(rp: RelyingParty) -> None:
    document = (await rp.http.get("/.well-known/openid-configuration")).json()
    id_token, userinfo = await rp.verify(scope=ALL_SCOPES)
    assert set(document["claims_supported"]) == id_token.keys() | userinfo.keys()


async def test_discovery_follows_the_configuration(sandbox: Sandbox, rp: RelyingParty) -> None:
    sandbox.reconfigure(enabled_scopes=frozenset({"openid", "email"}), enforce_pkce=False)
    document = (await rp.http.get("/.well-known/openid-configuration")).json()
    assert document["scopes_supported"] == ["openid", "email"]
    assert "birthdate" not in document["claims_supported"]
    assert "code_challenge_methods_supported" not in document


async def test_the_key_set_publishes_one_public_key(rp: RelyingParty) -> None:
    (key,) = (await rp.http.get("/oauth2/jwks")).json()["keys"]
    assert {k: key[k] for k in ("kty", "use", "alg")} == {"kty": "RSA", "use": "sig", "alg": "RS256"}
    assert len(base64.urlsafe_b64decode(key["n"] + "==")) == 256
    assert "d" not in key


# The code flow


async def test_a_whole_flow(rp: RelyingParty, clock: Clock) -> None:
    returned = answer(await rp.authorize(login_hint="ana@example.com"))
    assert returned.keys() == {"code", "state", "iss"}
    assert (returned["state"], returned["iss"]) == ("the state", ISSUER)
    response = await rp.exchange(returned["code"])
    assert response.headers["cache-control"] == "no-store"
    tokens = response.json()
    assert (tokens["token_type"], tokens["expires_in"]) == ("Bearer", 300)
    claims = await rp.id_token(tokens)
    key = (await rp.http.get("/oauth2/jwks")).json()["keys"][0]
    assert jwt.get_unverified_header(tokens["id_token"])["kid"] == key["kid"]
    assert claims["sub"] == claims["interview_id"]
    assert re.fullmatch("[0-9a-f]{24}", claims["identity_id"])
    assert claims["nonce"] == "the nonce"
    assert (claims["auth_overall_score"], claims["auth_overall_status"]) == ("100.0", "OK")
    assert claims["iat"] == int(clock.now.timestamp()) < claims["exp"]
    digest = hashlib.sha256(tokens["access_token"].encode()).digest()
    assert claims["at_hash"] == base64.urlsafe_b64encode(digest[:16]).rstrip(b"=").decode()
    userinfo = (await rp.userinfo(tokens)).json()
    assert userinfo == {name: claims[name] for name in ("sub", "interview_id", "identity_id")}


async def test_without_a_nonce_the_id_token_has_none(rp: RelyingParty) -> None:
    id_token, _ = await rp.verify(nonce=None)
    assert "nonce" not in id_token


async def test_without_a_state_none_comes_back(rp: RelyingParty) -> None:
    assert answer(await rp.authorize(state=None)).keys() == {"code", "iss"}


async def test_a_redirect_uri_keeps_its_own_query(rp: RelyingParty) -> None:
    back = "http://rp.test/other?keep=1"
    assert answer(await rp.authorize(redirect_uri=back), back)["keep"] == "1"


async def test_the_request_may_be_posted(rp: RelyingParty) -> None:
    assert answer(await rp.http.post("/oauth2/authorize", data={**REQUEST, "outcome": "denied"}))["error"]


async def test_a_code_works_once_and_a_second_use_revokes(rp: RelyingParty) -> None:
    code = await rp.code()
    tokens = (await rp.exchange(code)).json()
    assert (await rp.userinfo(tokens)).status_code == 200
    refused(await rp.exchange(code), "invalid_grant")
    assert (await rp.userinfo(tokens)).status_code == 401


@pytest.mark.parametrize(("seconds", "status"), [(59, 200), (60, 400)])
async def test_a_code_lives_for_sixty_seconds(rp: RelyingParty, clock: Clock, seconds: int, status: int) -> None:
    code = await rp.code()
    clock.advance(seconds=seconds)
    assert (await rp.exchange(code)).status_code == status


@pytest.mark.parametrize(("seconds", "status"), [(299, 200), (300, 401)])
async def test_an_access_token_lives_for_five_minutes(
    rp: RelyingParty, clock: Clock, seconds: int, status: int
) -> None:
    tokens = await rp.tokens()
    clock.advance(seconds=seconds)
    assert (await rp.userinfo(tokens)).status_code == status


async def test_a_code_is_bound_to_client_and_redirect_uri(rp: RelyingParty) -> None:
    code = await rp.code()
    refused(await rp.exchange(code, client_id="other", client_secret=OTHER.client_secret), "invalid_grant")
    refused(await rp.exchange(code, redirect_uri="http://rp.test/other?keep=1"), "invalid_grant")
    refused(await rp.exchange(code, redirect_uri=None), "invalid_grant")
    refused(await rp.exchange("guessed"), "invalid_grant")
    assert (await rp.exchange(code)).status_code == 200


# PKCE


@pytest.mark.parametrize("verifier", [None, "w" * 43, CHALLENGE])
async def test_the_code_verifier_must_fit(rp: RelyingParty, verifier: str | None) -> None:
    refused(await rp.exchange(await rp.code(), code_verifier=verifier), "invalid_grant")


async def test_a_code_verifier_must_be_well_formed(rp: RelyingParty) -> None:
    short = base64.urlsafe_b64encode(hashlib.sha256(b"short").digest()).rstrip(b"=").decode()
    refused(await rp.exchange(await rp.code(code_challenge=short), code_verifier="short"), "invalid_grant")


@pytest.mark.parametrize(
    "wrong",
    [
        {"code_challenge": None, "code_challenge_method": None},
        {"code_challenge_method": None},
        {"code_challenge_method": "plain"},
        {"code_challenge": "too-short"},
    ],
)
async def test_pkce_is_required(rp: RelyingParty, wrong: dict[str, str | None]) -> None:
    assert answer(await rp.authorize(**wrong))["error"] == "invalid_request"


async def test_pkce_can_be_ignored(sandbox: Sandbox, rp: RelyingParty) -> None:
    sandbox.reconfigure(enforce_pkce=False)
    code = await rp.code(code_challenge=None, code_challenge_method=None)
    assert (await rp.exchange(code, code_verifier=None)).status_code == 200
    assert (await rp.exchange(await rp.code(), code_verifier="wrong")).status_code == 200


# The authorization request


@pytest.mark.parametrize(
    "wrong", [{"client_id": "nobody"}, {"client_id": None}, {"redirect_uri": BACK + "/"}, {"redirect_uri": None}]
)
async def test_an_unknown_way_back_gives_a_page(rp: RelyingParty, wrong: dict[str, str | None]) -> None:
    is_error_page(await rp.authorize(**wrong))


async def test_an_unknown_outcome_gives_a_page(rp: RelyingParty) -> None:
    is_error_page(await rp.authorize(outcome="miracle"))


@pytest.mark.parametrize("name", ["client_id", "redirect_uri"])
async def test_an_ambiguous_way_back_gives_a_page(rp: RelyingParty, name: str) -> None:
    is_error_page(await rp.http.get("/oauth2/authorize", params=[*REQUEST.items(), (name, REQUEST[name])]))


def is_error_page(response: httpx.Response) -> None:
    assert response.status_code == 400
    assert response.headers["content-type"].startswith("text/html")
    assert "location" not in response.headers


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"response_type": None}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"scope": None}, "invalid_scope"),
        ({"scope": "profile"}, "invalid_scope"),
        ({"scope": "openid unheard-of"}, "invalid_scope"),
        ({"request": "e30."}, "request_not_supported"),
        ({"request_uri": "urn:x"}, "request_uri_not_supported"),
        ({"prompt": "none"}, "interaction_required"),
    ],
)
async def test_other_faults_go_back(rp: RelyingParty, wrong: dict[str, str | None], error: str) -> None:
    returned = answer(await rp.authorize(**wrong))
    assert returned.keys() == {"error", "error_description", "state", "iss"}
    assert (returned["error"], returned["state"], returned["iss"]) == (error, "the state", ISSUER)


async def test_a_repeated_parameter_goes_back(rp: RelyingParty) -> None:
    response = await rp.http.get("/oauth2/authorize", params=[*REQUEST.items(), ("nonce", "again")])
    assert answer(response)["error"] == "invalid_request"


async def test_an_ambiguous_state_is_not_echoed(rp: RelyingParty) -> None:
    response = await rp.http.get("/oauth2/authorize", params=[*REQUEST.items(), ("state", "again")])
    assert answer(response).keys() == {"error", "error_description", "iss"}


async def test_a_scope_that_is_not_enabled_is_refused(sandbox: Sandbox, rp: RelyingParty) -> None:
    sandbox.reconfigure(enabled_scopes=frozenset({"openid"}))
    assert answer(await rp.authorize(scope="openid email"))["error"] == "invalid_scope"
    assert "code" in answer(await rp.authorize(scope="openid"))


# Client authentication


async def test_client_secret_post(rp: RelyingParty) -> None:
    code = await rp.code()
    refused(await rp.exchange(code, client_secret="wrong"), "invalid_client", 401)
    refused(await rp.exchange(code, client_id="nobody"), "invalid_client", 401)
    refused(await rp.exchange(code, client_secret=None), "invalid_client", 401)
    assert (await rp.exchange(code)).status_code == 200


async def test_client_secret_basic(rp: RelyingParty) -> None:
    code = await rp.code()
    nothing: dict[str, str | None] = {"client_id": None, "client_secret": None}
    wrong = await rp.exchange(code, authorization=basic("acme", "wrong"), **nothing)
    refused(wrong, "invalid_client", 401)
    assert wrong.headers["www-authenticate"].startswith("Basic")
    refused(
        await rp.exchange(code, authorization=basic("nobody", quote_plus(SECRET)), **nothing), "invalid_client", 401
    )
    not_encoded = basic("acme", SECRET)
    refused(await rp.exchange(code, authorization=not_encoded, **nothing), "invalid_client", 401)
    assert (await rp.exchange(code, authorization=basic("acme", quote_plus(SECRET)), **nothing)).status_code == 200


async def test_a_client_id_beside_basic_must_agree(rp: RelyingParty) -> None:
    response = await rp.exchange(
        await rp.code(), authorization=basic("acme", quote_plus(SECRET)), client_secret=None, client_id="other"
    )
    refused(response, "invalid_client", 401)


@pytest.mark.parametrize("header", ["Basic %%%", "Basic /w==", "Basic é"])
async def test_malformed_basic_credentials(rp: RelyingParty, header: str) -> None:
    headers = {b"Authorization": header.encode()}
    refused(await rp.http.post("/oauth2/token", headers=headers), "invalid_client", 401)


@pytest.mark.parametrize("audience", [f"{ISSUER}/oauth2/token", ISSUER, ["elsewhere", ISSUER]])
async def test_client_secret_jwt(rp: RelyingParty, clock: Clock, audience: object) -> None:
    assert (await rp.exchange(await rp.code(), **assertion(clock, aud=audience))).status_code == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"secret": "wrong"},
        {"algorithm": "HS512"},
        {"iss": "other"},
        {"sub": "other"},
        {"sub": None},
        {"aud": "http://elsewhere"},
        {"aud": None},
        {"exp": None},
        {"exp": 0},
        {"jti": None},
    ],
)
async def test_client_secret_jwt_refused(rp: RelyingParty, clock: Clock, wrong: dict[str, Any]) -> None:
    refused(await rp.exchange(await rp.code(), **assertion(clock, **wrong)), "invalid_client", 401)


@pytest.mark.parametrize(
    "broken",
    [{"client_assertion_type": "another"}, {"client_assertion": "no.jwt"}, {"client_assertion": None}],
)
async def test_malformed_assertions(rp: RelyingParty, clock: Clock, broken: dict[str, str | None]) -> None:
    refused(await rp.exchange(await rp.code(), **{**assertion(clock), **broken}), "invalid_client", 401)


async def test_an_assertion_works_once_and_until_it_expires(rp: RelyingParty, clock: Clock) -> None:
    once = assertion(clock)
    assert (await rp.exchange(await rp.code(), **once)).status_code == 200
    refused(await rp.exchange(await rp.code(), **once), "invalid_client", 401)
    late = assertion(clock, jti="two")
    clock.advance(seconds=60)
    refused(await rp.exchange(await rp.code(), **late), "invalid_client", 401)


async def test_an_unsigned_assertion_is_refused(rp: RelyingParty, clock: Clock) -> None:
    signed = assertion(clock)
    header = base64.urlsafe_b64encode(json.dumps({"alg": "none"}).encode()).rstrip(b"=").decode()
    unsigned = f"{header}.{str(signed['client_assertion']).split('.')[1]}."
    refused(await rp.exchange(await rp.code(), **{**signed, "client_assertion": unsigned}), "invalid_client", 401)


async def test_two_methods_at_once_are_refused(rp: RelyingParty, clock: Clock) -> None:
    code = await rp.code()
    refused(await rp.exchange(code, authorization=basic("acme", quote_plus(SECRET))), "invalid_request")
    refused(await rp.exchange(code, **{**assertion(clock), "client_secret": SECRET}), "invalid_request")


# The token request


async def test_a_token_request_must_be_complete(rp: RelyingParty) -> None:
    code = await rp.code()
    refused(await rp.exchange(code, grant_type=None), "invalid_request")
    refused(await rp.exchange(code, grant_type="password"), "unsupported_grant_type")
    refused(await rp.exchange(""), "invalid_request")


async def test_a_repeated_form_parameter_is_refused(rp: RelyingParty) -> None:
    code = await rp.code()
    form = {"grant_type": "authorization_code", "code": [code, code], "client_id": "acme", "client_secret": SECRET}
    refused(await rp.http.post("/oauth2/token", data=form), "invalid_request")


async def test_the_query_and_other_media_types_do_not_count(rp: RelyingParty) -> None:
    form = {"grant_type": "authorization_code", "code": "x", "client_id": "acme", "client_secret": SECRET}
    refused(await rp.http.post("/oauth2/token", params=form), "invalid_client", 401)
    plain = {"Content-Type": "text/plain"}
    refused(await rp.http.post("/oauth2/token", content=urlencode(form), headers=plain), "invalid_client", 401)


@pytest.mark.parametrize(("size", "status"), [(64 * 1024, 401), (64 * 1024 + 1, 413)])
async def test_a_token_body_has_a_limit(rp: RelyingParty, size: int, status: int) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    response = await rp.http.post("/oauth2/token", content=b"a=" + b"b" * (size - 2), headers=form)
    assert response.status_code == status


# People and identities


async def test_face_authentication_keeps_the_identity(rp: RelyingParty) -> None:
    first, first_info = await rp.verify(login_hint="ana@example.com", scope=ALL_SCOPES)
    again, again_info = await rp.verify(login_hint=first["identity_id"], scope=ALL_SCOPES)
    assert again["identity_id"] == first["identity_id"]
    assert again["interview_id"] != first["interview_id"]
    assert {**again_info, "sub": "", "interview_id": ""} == {**first_info, "sub": "", "interview_id": ""}
    assert first_info["email"] == "ana@example.com"


async def test_identities_outlive_a_restart(rp: RelyingParty, clock: Clock) -> None:
    first, first_info = await rp.verify(login_hint="ana@example.com", scope="openid profile")
    restarted = httpx.ASGITransport(app=Sandbox(SandboxConfig(ISSUER, (ACME,)), clock).app)
    async with httpx.AsyncClient(transport=restarted, base_url=ISSUER) as http:
        later = RelyingParty(http)
        by_id, by_id_info = await later.verify(login_hint=first["identity_id"], scope="openid profile")
        by_email, _ = await later.verify(login_hint="ana@example.com")
    assert by_id["identity_id"] == by_email["identity_id"] == first["identity_id"]
    assert by_id_info["name"] == first_info["name"]


async def test_hints_lead_to_persons(rp: RelyingParty) -> None:
    hints = ["ana@example.com", "bob@example.com", None, None]
    identities = [(await rp.verify(login_hint=hint))[0]["identity_id"] for hint in hints]
    assert len(set(identities)) == len(hints)


async def test_person_overrides_the_hint(rp: RelyingParty) -> None:
    expected, _ = await rp.verify(login_hint="some text")
    given, _ = await rp.verify(login_hint="ana@example.com", person="some text")
    assert given["identity_id"] == expected["identity_id"]


async def test_somebody_else_never_has_the_same_name() -> None:
    people = People()
    for hint in map(str, range(50)):
        subject = people.identify(hint)
        assert people.somebody_else(subject).person.family_name != subject.person.family_name


# Userinfo

CLAIMS_BY_SCOPE = {
    "openid": set[str](),
    "profile": {"name", "given_name", "family_name", "birthdate"},
    "email": {"email"},
    "phone": {"phone_number"},
    "address": {"address"},
    "id_attestation": {"id_attestation"},
    "identity_assurance": {"verified_claims"},
}


@pytest.mark.parametrize("scope", CLAIMS_BY_SCOPE)
async def test_userinfo_gives_what_the_scope_allows(rp: RelyingParty, scope: str) -> None:
    asked = "openid" if scope == "openid" else f"openid {scope}"
    _, userinfo = await rp.verify(scope=asked)
    assert userinfo.keys() - {"sub", "interview_id", "identity_id"} == CLAIMS_BY_SCOPE[scope]


async def test_userinfo_claims_have_their_shapes(rp: RelyingParty) -> None:
    id_token, userinfo = await rp.verify(scope=ALL_SCOPES)
    assert userinfo["sub"] == id_token["sub"]
    assert userinfo["address"].keys() >= {"formatted", "street_address", "locality", "postal_code", "country"}
    assert date.fromisoformat(userinfo["birthdate"])
    assert userinfo["name"] == f"{userinfo['given_name']} {userinfo['family_name']}"
    assert re.fullmatch(r"\+\d{8,15}", userinfo["phone_number"])


@pytest.mark.parametrize(
    ("headers", "challenge"),
    [
        ({}, "Bearer"),
        ({"Authorization": "Basic eDp5"}, "Bearer"),
        ({"Authorization": "Bearer guessed"}, 'Bearer error="invalid_token"'),
    ],
)
async def test_userinfo_wants_a_token(rp: RelyingParty, headers: dict[str, str], challenge: str) -> None:
    response = await rp.http.get("/userinfo", headers=headers)
    assert (response.status_code, response.headers["www-authenticate"]) == (401, challenge)


# Outcomes


async def test_every_outcome_is_tested_here() -> None:
    tested = {"verified", "failed", "warn", "no-status", "no-identity", "another-person"}
    assert OUTCOMES.keys() == tested | {"denied", "abandoned", "expired", "provider-down", "userinfo-down"}


@pytest.mark.parametrize(
    ("outcome", "status", "score"),
    [("verified", "OK", "100.0"), ("failed", "FAIL", "12.5"), ("warn", "WARN", "71.3"), ("no-status", None, None)],
)
async def test_outcomes_that_change_the_status(
    rp: RelyingParty, outcome: str, status: str | None, score: str | None
) -> None:
    claims, _ = await rp.verify(outcome=outcome)
    assert (claims.get("auth_overall_status"), claims.get("auth_overall_score")) == (status, score)
    assert ("auth_overall_status" in claims, "auth_overall_score" in claims) == (status is not None,) * 2


async def test_denied(rp: RelyingParty) -> None:
    returned = answer(await rp.authorize(outcome="denied"))
    assert returned.keys() == {"error", "error_description", "state", "iss"}
    assert returned["error"] == "access_denied"


async def test_abandoned(rp: RelyingParty) -> None:
    assert answer(await rp.authorize(outcome="abandoned")) == {"state": "the state", "iss": ISSUER}


async def test_expired(rp: RelyingParty) -> None:
    refused(await rp.exchange(await rp.code(outcome="expired")), "invalid_grant")


@pytest.mark.parametrize("hint", ["ana@example.com", "69d52eca0123456789abcdef"])
async def test_another_person(rp: RelyingParty, hint: str) -> None:
    expected, expected_info = await rp.verify(login_hint=hint, scope="openid profile")
    other, other_info = await rp.verify(login_hint=hint, scope="openid profile", outcome="another-person")
    assert other["auth_overall_status"] == "OK"
    assert other["identity_id"] == other_info["identity_id"] != expected["identity_id"]
    assert other_info["name"] != expected_info["name"]


async def test_provider_down(rp: RelyingParty) -> None:
    assert (await rp.exchange(await rp.code(outcome="provider-down"))).status_code == 503
    assert (await rp.exchange(await rp.code())).status_code == 200


async def test_userinfo_down(rp: RelyingParty) -> None:
    tokens = await rp.tokens(outcome="userinfo-down")
    assert (await rp.id_token(tokens))["auth_overall_status"] == "OK"
    assert (await rp.userinfo(tokens)).status_code == 503


async def test_no_identity(rp: RelyingParty) -> None:
    id_token, userinfo = await rp.verify(outcome="no-identity")
    assert "identity_id" not in id_token
    assert "identity_id" not in userinfo
    assert id_token["auth_overall_status"] == "OK"


# What tests see and change


async def test_requests_are_recorded_in_order(sandbox: Sandbox, rp: RelyingParty) -> None:
    await rp.http.get("/.well-known/openid-configuration")
    await rp.verify(login_hint="ana@example.com")
    endpoints = [request.endpoint for request in sandbox.requests]
    assert endpoints == ["discovery", "authorize", "token", "jwks", "userinfo"]
    _, authorize, token, _, userinfo = sandbox.requests
    assert (authorize.method, authorize.parameters["login_hint"]) == ("GET", "ana@example.com")
    assert (token.method, token.authentication) == ("POST", "client_secret_post")
    assert token.parameters["code_verifier"] == VERIFIER
    assert (userinfo.parameters, userinfo.authentication) == ({}, "bearer")
    assert authorize.authentication is None


PATHS: dict[Endpoint, str] = {
    "discovery": "/.well-known/openid-configuration",
    "authorize": "/oauth2/authorize",
    "userinfo": "/userinfo",
    "jwks": "/oauth2/jwks",
}


@pytest.mark.parametrize("endpoint", PATHS)
async def test_an_endpoint_can_be_down(sandbox: Sandbox, rp: RelyingParty, endpoint: Endpoint) -> None:
    sandbox.down = {endpoint}
    assert (await rp.http.get(PATHS[endpoint])).status_code == 503
    sandbox.down.clear()
    assert (await rp.http.get(PATHS[endpoint])).status_code != 503


async def test_a_token_endpoint_that_was_down_still_takes_the_code(sandbox: Sandbox, rp: RelyingParty) -> None:
    code = await rp.code()
    sandbox.down = {"token"}
    assert (await rp.exchange(code)).status_code == 503
    sandbox.down = set()
    assert (await rp.exchange(code)).status_code == 200


async def test_held_requests_wait_for_the_gate(sandbox: Sandbox, rp: RelyingParty) -> None:
    gate = sandbox.hold("token")
    code = await rp.code()
    waiting = [asyncio.create_task(rp.exchange(code)) for _ in range(3)]
    await asyncio.to_thread(gate.wait_for_arrivals, 3, timeout=PATIENCE)
    assert not any(task.done() for task in waiting)
    assert (await rp.http.get("/oauth2/jwks")).status_code == 200
    gate.open()
    assert sorted(response.status_code for response in await asyncio.gather(*waiting)) == [200, 400, 400]


@contextmanager
def served(sandbox: Sandbox) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(sandbox.app, log_config=None))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


async def test_a_gate_works_across_threads(sandbox: Sandbox) -> None:
    def hold_and_release(url: str) -> list[int]:
        with ThreadPoolExecutor() as pool, sandbox.hold("jwks") as gate:
            held = [pool.submit(httpx.get, f"{url}/oauth2/jwks", trust_env=False) for _ in range(3)]
            gate.wait_for_arrivals(3, timeout=PATIENCE)
            assert httpx.get(f"{url}/", trust_env=False, timeout=PATIENCE).status_code == 200
            assert not any(future.done() for future in held)
            gate.open()
            return [future.result().status_code for future in held]

    with served(sandbox) as url:
        assert await asyncio.to_thread(hold_and_release, url) == [200, 200, 200]


async def test_waiting_for_requests_that_do_not_come_ends(sandbox: Sandbox) -> None:
    with sandbox.hold("token") as gate, pytest.raises(TimeoutError):
        gate.wait_for_arrivals(1, timeout=0)


async def test_a_rotated_key_replaces_the_old_one(sandbox: Sandbox, rp: RelyingParty) -> None:
    old_tokens = await rp.tokens()
    (old,) = (await rp.http.get("/oauth2/jwks")).json()["keys"]
    sandbox.rotate_key()
    (new,) = (await rp.http.get("/oauth2/jwks")).json()["keys"]
    assert (new["kid"], new["n"]) != (old["kid"], old["n"])
    assert (await rp.id_token(await rp.tokens()))["aud"] == "acme"
    with pytest.raises(JWTError, match="Signature"):
        await rp.id_token(old_tokens)


async def test_secrets_stay_out_of_representations() -> None:
    assert SECRET not in repr(ACME)


# The pages


def links(page: str) -> dict[str, str]:
    found = [unescape(href) for href in re.findall(r'<a class="choice[^"]*" href="([^"]*)"', page)]
    return {parse_qs(urlsplit(href).query)["outcome"][0]: href for href in found}


async def test_the_page_offers_every_outcome(rp: RelyingParty) -> None:
    response = await rp.authorize(outcome=None, login_hint="ana@example.com", scope="openid email")
    assert response.status_code == 200
    page = response.text
    assert [*links(page)] == [*OUTCOMES]
    for words in ("Acme", "rp.test", "ana@example.com", "Full verification", "E-mail address", "Sandbox"):
        assert words in page
    assert "Phone number" not in page
    assert page.count("<h1>") == 1
    assert "<script" not in page


async def test_a_choice_finishes_the_same_request(rp: RelyingParty) -> None:
    page = (await rp.authorize(outcome=None, state='<&"> é')).text
    returned = answer(await rp.http.get("/oauth2/authorize" + links(page)["verified"]))
    assert returned["state"] == '<&"> é'
    assert (await rp.exchange(returned["code"])).status_code == 200


async def test_a_choice_is_checked_again(rp: RelyingParty) -> None:
    href = links((await rp.authorize(outcome=None)).text)["verified"]
    is_error_page(await rp.http.get("/oauth2/authorize" + href.replace("rp.test", "evil.test")))


async def test_the_page_tells_face_authentication(rp: RelyingParty) -> None:
    page = (await rp.authorize(outcome=None, login_hint="69d52eca0123456789abcdef")).text
    assert "Face Authentication" in page
    assert "69d52eca0123456789abcdef" in page
    assert "Full verification" not in page


async def test_the_page_escapes_a_hostile_hint(rp: RelyingParty) -> None:
    hostile = "\"><script>alert(1)</script>'"
    page = (await rp.authorize(outcome=None, login_hint=hostile)).text
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert parse_qs(urlsplit(links(page)["verified"]).query)["login_hint"] == [hostile]


async def test_a_faulty_request_never_reaches_the_page(rp: RelyingParty) -> None:
    assert answer(await rp.authorize(outcome=None, scope="profile"))["error"] == "invalid_scope"


@pytest.mark.parametrize("path", ["/", "/oauth2/authorize", "/nowhere"])
async def test_every_page_has_the_security_headers(rp: RelyingParty, path: str) -> None:
    headers = (await rp.http.get(path)).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"


async def test_the_policy_allows_the_style_of_the_page(rp: RelyingParty) -> None:
    response = await rp.authorize(outcome=None)
    (style,) = re.findall("<style>(.*?)</style>", response.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in response.headers["content-security-policy"]
    assert "style=" not in response.text


async def test_the_page_says_where_one_goes_back_to_and_what_a_warning_does(rp: RelyingParty) -> None:
    page = (await rp.authorize(outcome=None)).text
    assert "Then you go back to rp.test" in page
    assert "at rp.test" not in page
    assert "counts as not verified, unless ACCEPTED_STATUSES" in page


async def test_an_unknown_address_tells_what_the_sandbox_is(rp: RelyingParty) -> None:
    response = await rp.http.get("/nowhere")
    assert response.status_code == 404
    assert "<h1>There is nothing here</h1>" in response.text
    assert re.findall('<a href="([^"]*)"', response.text) == [
        f"{ISSUER}/.well-known/openid-configuration",
        f"{ISSUER}/",
    ]


async def test_the_first_page_leads_to_discovery(rp: RelyingParty) -> None:
    page = (await rp.http.get("/")).text
    (href,) = re.findall('<a href="([^"]*)"', page)
    assert (await rp.http.get("/" + href)).json()["issuer"] == ISSUER


# Where it listens


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
async def test_loopback_is_allowed(host: str) -> None:
    refuse_public_host(host, allowed=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.4", "sandbox.example", "localhost.example"])  # noqa: S104
async def test_other_hosts_must_be_allowed(host: str) -> None:
    with pytest.raises(ValueError, match="loopback"):
        refuse_public_host(host, allowed=False)
    refuse_public_host(host, allowed=True)


async def test_serve_refuses_a_public_host(sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match="loopback"):
        serve(sandbox, "0.0.0.0", 0)  # noqa: S104
