from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.domain import Tokens, Verdict
from app.flows.verdict import read_verdict
from app.oidc import Authentication, IdTokenInvalid, TokenAnswer
from tests.harness.ids import plain_id

TOKENS = TokenAnswer(id_token="the id token", access_token="the access token", token_type="Bearer", expires_in=3600)
IDS = ["interview_id", "identity_id"]


def read(claims: dict[str, Any], userinfo: dict[str, Any] | None = None, *, keep_tokens: bool = False) -> Verdict:
    return read_verdict(
        Authentication(id_token={"sub": "s", **claims}, userinfo=userinfo, tokens=TOKENS), keep_tokens=keep_tokens
    )


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize(
    ("in_id_token", "in_userinfo", "expected"),
    [
        ({"ID": "a"}, {"ID": "b"}, "a"),
        ({}, {"ID": "b"}, "b"),
        ({"ID": None}, {"ID": "b"}, "b"),
        ({"ID": ""}, {"ID": "b"}, "b"),
        ({"ID": ""}, {"ID": ""}, None),
        ({}, {"ID": None}, None),
        ({}, {}, None),
        ({}, None, None),
        ({"ID": "a"}, None, "a"),
        ({"ID": "é" * 255}, None, "é" * 255),
        ({}, {"ID": "b" * 255}, "b" * 255),
        ({"sub": "the subject"}, {"sub": "the subject"}, None),
    ],
)
def test_where_an_id_comes_from(
    name: str, in_id_token: dict[str, Any], in_userinfo: dict[str, Any] | None, expected: str | None
) -> None:
    def named(claims: dict[str, Any]) -> dict[str, Any]:
        return {name if key == "ID" else key: value for key, value in claims.items()}

    verdict = read(named(in_id_token), named(in_userinfo) if in_userinfo is not None else None)
    assert getattr(verdict.evidence, name) == expected


MALFORMED_IDS = [
    7,
    0,
    7.5,
    True,
    False,
    ["ana"],
    [],
    {"id": "ana"},
    {},
    "a\x00b",
    "a\nb",
    "a\x7f",
    "\x85",
    "a\u202eb",
    "a" * 256,
]


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("value", MALFORMED_IDS, ids=plain_id)
def test_a_malformed_id_in_the_id_token_is_refused(name: str, value: object) -> None:
    with pytest.raises(IdTokenInvalid) as refused:
        read({name: value}, {name: "from userinfo"})
    assert refused.value.description == name


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("value", MALFORMED_IDS, ids=plain_id)
def test_a_malformed_id_in_userinfo_is_ignored(name: str, value: object) -> None:
    assert getattr(read({}, {name: value}).evidence, name) is None
    assert getattr(read({name: "a"}, {name: value}).evidence, name) == "a"


@pytest.mark.parametrize("score", ["100.0", "", "x" * 255, 0, 0.0, 100, -1, 99.5, 10**40, None])
def test_a_score_stays_as_it_came(score: object) -> None:
    came = read({"auth_overall_score": score}).evidence.auth_overall_score
    assert (came, type(came)) == (score, type(score))


@pytest.mark.parametrize("score", [[], ["100.0"], {}, {"value": 100}, "x" * 256])
def test_a_score_that_is_none_is_refused(score: object) -> None:
    with pytest.raises(IdTokenInvalid) as refused:
        read({"auth_overall_score": score})
    assert refused.value.description == "auth_overall_score"


@pytest.mark.parametrize("claims", [{}, {"auth_overall_status": None}])
def test_a_status_may_be_missing(claims: dict[str, Any]) -> None:
    assert read(claims).evidence.auth_overall_status is None


@pytest.mark.parametrize("status", ["OK", "WARN", "FAIL", "", "ok", " OK", "OK\n"])
def test_a_status_stays_as_it_came(status: str) -> None:
    assert read({"auth_overall_status": status}).evidence.auth_overall_status == status


@pytest.mark.parametrize("status", [["OK"], {"OK": 1}, True, False, 0, 1, 1.5, [], {}, "OK" * 1000])
def test_a_status_of_another_form_is_kept_as_a_text_that_is_not_accepted(status: object) -> None:
    came = read({"auth_overall_status": status}).evidence.auth_overall_status
    assert isinstance(came, str)
    assert came != "OK"
    assert 0 < len(came) <= 255


@pytest.mark.parametrize(
    ("status", "kept"),
    [
        ("x" * 255, "x" * 255),
        ("x" * 256, "x" * 255),
        (["x" * 251], '["' + "x" * 251 + '"]'),
        (["x" * 252], '["' + "x" * 252 + '"'),
        ({"OK": [1, None]}, '{"OK": [1, null]}'),
        (False, "false"),
    ],
)
def test_a_status_is_cut_at_255_characters(status: object, kept: str) -> None:
    assert read({"auth_overall_status": status}).evidence.auth_overall_status == kept


def test_score_and_status_are_the_id_tokens_alone() -> None:
    evidence = read({}, {"auth_overall_score": "100.0", "auth_overall_status": "OK"}).evidence
    assert (evidence.auth_overall_score, evidence.auth_overall_status) == (None, None)


def test_personal_data_is_the_seven_claims_of_userinfo() -> None:
    pii = {
        "name": "Ana Ruiz",
        "given_name": "Ana",
        "family_name": "Ruiz",
        "birthdate": "1990-01-01",
        "email": "ana@example.com",
        "phone_number": "+52 55",
        "address": {"country": "MX"},
    }
    others = {"sub": "s", "nickname": "a", "gender": "f", "email_verified": True, "verified_claims": [{"name": "x"}]}
    verdict = read({"name": "Another", "email": "another@example.com"}, {**others, **pii})
    assert verdict.evidence.pii == pii
    assert verdict.evidence.userinfo == {**others, **pii}


@pytest.mark.parametrize("value", [None, ""])
def test_personal_data_that_is_empty_is_dropped(value: object) -> None:
    assert read({}, {"name": value, "given_name": "Ana"}).evidence.pii == {"given_name": "Ana"}


def test_the_id_token_is_no_source_of_personal_data() -> None:
    assert read({"name": "Ana", "email": "ana@example.com"}, None).evidence.pii == {}


@pytest.mark.parametrize("character", ["x", "é", "€", "🙂"])
@pytest.mark.parametrize(("bytes_over", "kept"), [(-1, True), (0, True), (1, False)])
def test_userinfo_is_left_out_over_16_kilobytes(character: str, bytes_over: int, kept: bool) -> None:
    frame = len(b'{"sub":"s","name":"Ana","note":""}')
    room = 16 * 1024 + bytes_over - frame
    width = len(character.encode())
    note = character * (room // width) + "x" * (room % width)
    userinfo = {"sub": "s", "name": "Ana", "note": note}
    assert len(json.dumps(userinfo, ensure_ascii=False, separators=(",", ":")).encode()) == 16 * 1024 + bytes_over
    evidence = read({}, userinfo).evidence
    assert evidence.userinfo == (userinfo if kept else None)
    assert evidence.pii == {"name": "Ana"}


@pytest.mark.parametrize("character", ["x", "é", "🙂"])
@pytest.mark.parametrize(("bytes_over", "kept"), [(-1, True), (0, True), (1, False)])
def test_personal_data_is_left_out_over_4_kilobytes_a_claim(character: str, bytes_over: int, kept: bool) -> None:
    room = 4 * 1024 + bytes_over - len(b'""')
    name = character * (room // len(character.encode())) + "x" * (room % len(character.encode()))
    evidence = read({}, {"sub": "s", "name": name, "given_name": "Ana"}).evidence
    assert evidence.pii == ({"name": name, "given_name": "Ana"} if kept else {"given_name": "Ana"})


@pytest.mark.parametrize(("userinfo", "answered"), [(None, False), ({}, True), ({"sub": "s"}, True)])
def test_a_verdict_says_whether_userinfo_answered(userinfo: dict[str, Any] | None, answered: bool) -> None:
    verdict = read({}, userinfo)
    assert (verdict.userinfo_answered, verdict.evidence.userinfo) == (answered, userinfo)


def test_tokens_are_kept_on_request_only() -> None:
    assert read({}).evidence.tokens is None
    assert read({}, keep_tokens=True).evidence.tokens == Tokens(
        id_token="the id token", access_token="the access token", token_type="Bearer", expires_in=3600
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
answers = st.dictionaries(
    st.sampled_from([*IDS, "auth_overall_score", "auth_overall_status", "name", "address", "sub", "x"]), json_values
)


@given(answers, st.none() | answers)
def test_whatever_the_provider_signs_is_a_verdict_or_refused(
    claims: dict[str, Any], userinfo: dict[str, Any] | None
) -> None:
    try:
        evidence = read(claims, userinfo).evidence
    except IdTokenInvalid:
        return
    for came in (evidence.interview_id, evidence.identity_id):
        assert came is None or (came.isprintable() and 0 < len(came) <= 255)
    assert evidence.auth_overall_status is None or isinstance(evidence.auth_overall_status, str)
