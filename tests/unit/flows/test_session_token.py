from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest

from app.core.domain import Attempt, Flow, Purpose, Status
from app.flows.session_token import Session, SessionTokens
from app.oidc import jws
from tests.harness.tokens import payload

NOW = datetime(2026, 4, 7, 17, 28, 25, 150_000, tzinfo=UTC)
ISSUER = "https://idv.example"
ATTEMPT = Attempt(
    id="idv_1",
    user_id="auth0|ana",
    flow=Flow.HOSTED,
    purpose=Purpose.LOGIN,
    status=Status.RETURNED,
    started_by="acme",
    created_at=NOW,
    expires_at=NOW + timedelta(hours=1),
)
OLD, NEW, OTHER = "old" * 12, "new" * 12, "other" * 12
TOKENS = SessionTokens([NEW, OLD], ISSUER)
CLAIMS = {"iss": ISSUER, "sub": "auth0|ana", "verification_id": "idv_1"}


@pytest.mark.parametrize(("state", "shown"), [("callers", {"state": "callers"}), ("", {"state": ""}), (None, {})])
def test_a_session_token_says_who_came_back_from_what_and_until_when(state: str | None, shown: dict[str, str]) -> None:
    token = TOKENS.sign(ATTEMPT, state, NOW)
    claims = payload(token)
    assert len(base64.urlsafe_b64decode(claims.pop("jti") + "==")) == 16
    issued = int(NOW.timestamp())
    assert claims == {**CLAIMS, "iat": issued, "exp": issued + 300, **shown}
    assert jws.unverified_header(token) == {"alg": "HS256", "typ": "JWT"}
    assert TOKENS.read(token) == Session("idv_1", "auth0|ana", state)


def test_every_session_token_has_an_identifier_of_its_own() -> None:
    assert len({payload(TOKENS.sign(ATTEMPT, None, NOW))["jti"] for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("signing", "expected"),
    [([NEW], True), ([OLD], True), ([NEW, OTHER], True), ([OTHER], False), ([OTHER, NEW], False)],
)
def test_the_first_secret_signs_and_each_verifies(signing: list[str], expected: bool) -> None:
    session = TOKENS.read(SessionTokens(signing, ISSUER).sign(ATTEMPT, None, NOW))
    assert session == (Session("idv_1", "auth0|ana") if expected else None)


@pytest.mark.parametrize("name", CLAIMS)
@pytest.mark.parametrize("value", [None, 7, True, ["idv_1"], {"a": 1}])
def test_a_claim_of_another_type_makes_it_no_session_token(name: str, value: object) -> None:
    assert TOKENS.read(jws.sign_hs256(CLAIMS, NEW)) == Session("idv_1", "auth0|ana")
    assert TOKENS.read(jws.sign_hs256({**CLAIMS, name: value}, NEW)) is None
    assert TOKENS.read(jws.sign_hs256({key: kept for key, kept in CLAIMS.items() if key != name}, NEW)) is None


@pytest.mark.parametrize(
    "token",
    [
        jws.sign_hs256(CLAIMS, OTHER),
        jws.sign_hs256(CLAIMS, NEW, token_type="idv-state+jwt"),
        jws.sign_hs256({**CLAIMS, "iss": ISSUER + "/"}, NEW),
        jws.sign_hs256({**CLAIMS, "iss": "https://another.example"}, OLD),
        jws.sign_hs256(CLAIMS, NEW).rpartition(".")[0] + ".",
        "",
        "idv_1",
    ],
    ids=["another secret", "another type", "a slash more", "another issuer", "no signature", "empty", "no token"],
)
def test_no_other_token_is_a_session_token(token: str) -> None:
    assert TOKENS.read(token) is None
