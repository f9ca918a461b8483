import json
from typing import Any

import pytest

from app.hooks.hook import Claim, answer_within

VALUE = {
    "completed": True,
    "interview_id": "i",
    "identity_id": None,
    "pii": {"name": "Ana", "address": {"country": "US"}},
}


def body(response: Any) -> Any:
    return json.loads(response.body)


def test_flat_members_are_named_after_the_claim_and_none_is_empty() -> None:
    assert Claim("idv", VALUE).flat == {
        "idv_completed": True,
        "idv_interview_id": "i",
        "idv_name": "Ana",
        "idv_address": {"country": "US"},
    }
    assert Claim("idv", None).flat == {}


@pytest.mark.parametrize("beside", [None, {}, {"idv": "old"}])
def test_a_claim_that_does_not_stand_leaves_none_of_its_name(beside: dict[str, Any] | None) -> None:
    assert Claim("idv", None).placed(beside) == {}
    assert Claim("idv", VALUE).placed(beside) == {"idv": VALUE}


def test_what_is_beside_a_claim_stays_and_is_not_changed() -> None:
    beside = {"plan": "gold", "idv": "old"}
    assert Claim("idv", None).placed(beside) == {"plan": "gold"}
    assert beside == {"plan": "gold", "idv": "old"}


def rendered(claim: Claim) -> Any:
    return claim.placed({})


WHOLE = len(json.dumps({"idv": VALUE}, separators=(",", ":")))
WITHOUT_PII = len(json.dumps({"idv": {**VALUE, "pii": {}}}, separators=(",", ":")))


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (WHOLE, {"idv": VALUE}),
        (WHOLE - 1, {"idv": {**VALUE, "pii": {}}}),
        (WITHOUT_PII, {"idv": {**VALUE, "pii": {}}}),
        (WITHOUT_PII - 1, {}),
        (0, {}),
    ],
)
def test_an_answer_has_as_much_of_the_claim_as_fits(limit: int, expected: Any) -> None:
    assert body(answer_within(limit, Claim("idv", VALUE), rendered)) == expected


def test_an_answer_is_utf_8_without_a_charset() -> None:
    response = answer_within(100, Claim("idv", {"pii": {"name": "Zoë"}}), rendered)
    assert "Zoë".encode() in response.body
    assert response.headers["Content-Type"] == "application/json"
