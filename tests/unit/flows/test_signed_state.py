from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.core.domain import Attempt, Flow, Purpose, Status
from app.flows.signed_state import StateSigner
from app.oidc import jws
from tests.harness.tokens import payload

NOW = datetime(2026, 4, 7, 17, 28, 25, 150_000, tzinfo=UTC)
ATTEMPT = Attempt(
    id="idv_1",
    user_id="auth0|ana@example.com",
    flow=Flow.RELAY,
    purpose=Purpose.LOGIN,
    status=Status.PENDING,
    started_by="acme",
    created_at=NOW,
    expires_at=NOW + timedelta(hours=1),
)
OLD, NEW, OTHER = "old" * 12, "new" * 12, "other" * 12
SIGNER = StateSigner([NEW, OLD])


def test_a_state_names_its_own_attempt() -> None:
    assert SIGNER.names(SIGNER.sign(ATTEMPT), ATTEMPT)


@pytest.mark.parametrize("other", ["idv_2", "IDV_1", "idv_1 ", ""])
def test_a_state_names_no_other_attempt(other: str) -> None:
    assert not SIGNER.names(SIGNER.sign(ATTEMPT), replace(ATTEMPT, id=other))


def test_a_state_says_which_attempt_and_until_when_and_nothing_personal() -> None:
    issued = int(NOW.timestamp())
    state = SIGNER.sign(ATTEMPT)
    assert payload(state) == {"verification_id": "idv_1", "iat": issued, "exp": issued + 3600}
    assert jws.unverified_header(state) == {"alg": "HS256", "typ": "idv-state+jwt"}


@pytest.mark.parametrize(
    ("signing", "expected"),
    [([NEW], True), ([OLD], True), ([NEW, OTHER], True), ([OTHER], False), ([OTHER, NEW], False)],
)
def test_the_first_secret_signs_and_each_verifies(signing: list[str], expected: bool) -> None:
    assert SIGNER.names(StateSigner(signing).sign(ATTEMPT), ATTEMPT) is expected


CLAIMS = {"verification_id": "idv_1"}


@pytest.mark.parametrize(
    "token",
    [
        jws.sign_hs256(CLAIMS, NEW),
        jws.sign_hs256({"sub": "auth0|ana", "verification_id": "idv_1", "state": "x"}, OLD, token_type="JWT"),
        jws.sign_hs256(CLAIMS, OTHER, token_type="idv-state+jwt"),
        jws.sign_hs256({}, NEW, token_type="idv-state+jwt"),
        jws.sign_hs256({"verification_id": ["idv_1"]}, NEW, token_type="idv-state+jwt"),
        SIGNER.sign(ATTEMPT)[:-1],
        SIGNER.sign(ATTEMPT).rpartition(".")[0] + ".",
        "idv_1",
    ],
)
def test_no_other_token_is_a_state(token: str) -> None:
    assert not SIGNER.names(token, ATTEMPT)
    assert SIGNER.attempt_id(token) is None


def test_a_state_is_no_session_token() -> None:
    with pytest.raises(jws.SignatureInvalid):
        jws.verify_hs256(SIGNER.sign(ATTEMPT), NEW)


@given(st.text(st.characters(codec=None)) | st.text(st.sampled_from("eyJ0.-_=+/\n")))
@example("")
@example("\ud800.\ud800.\ud800")
@example("." * 100_000)
@example("x" * 100_000)
def test_garbage_is_no_state(garbage: str) -> None:
    assert not SIGNER.names(garbage, ATTEMPT)
    assert not SIGNER.names(SIGNER.sign(ATTEMPT).split(".")[0] + "." + garbage, ATTEMPT)
