from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.core.domain import Failure
from app.core.failures import (
    CATALOGUE,
    PERSON_CODES,
    authorization_failure,
    clean,
    detail,
    detail_in_our_words,
    hint,
    is_about_the_person,
    read_stored_text,
    stored_text,
)

# The table «Error codes of a decision»: which codes take a standing verification away.
TAKES_AWAY = {
    "no_code_returned": True,
    "access_denied": True,
    "login_required": True,
    "interaction_required": True,
    "consent_required": True,
    "account_selection_required": True,
    "unmet_authentication_requirements": True,
    "authorization_error": True,
    "invalid_scope": False,
    "invalid_request": False,
    "unauthorized_client": False,
    "unsupported_response_type": False,
    "invalid_request_uri": False,
    "invalid_request_object": False,
    "request_not_supported": False,
    "request_uri_not_supported": False,
    "registration_not_supported": False,
    "invalid_target": False,
    "server_error": False,
    "temporarily_unavailable": False,
    "invalid_grant": True,
    "token_exchange_failed": True,
    "invalid_client": False,
    "unsupported_grant_type": False,
    "provider_unavailable": False,
    "id_token_invalid": True,
    "userinfo_sub_mismatch": True,
    "status_not_accepted": True,
    "status_missing": True,
    "identity_mismatch": True,
    "identity_not_established": False,
    "verification_expired": False,
    "callback_interrupted": False,
    "too_many_attempts": False,
}

REGISTERED = [
    "invalid_request",
    "unauthorized_client",
    "access_denied",
    "unsupported_response_type",
    "invalid_scope",
    "server_error",
    "temporarily_unavailable",
    "interaction_required",
    "login_required",
    "account_selection_required",
    "consent_required",
    "invalid_request_uri",
    "invalid_request_object",
    "request_not_supported",
    "request_uri_not_supported",
    "registration_not_supported",
    "invalid_target",
    "unmet_authentication_requirements",
]


@pytest.mark.parametrize(("code", "takes_away"), TAKES_AWAY.items())
def test_every_code_of_the_contract_is_in_the_catalogue(code: str, takes_away: bool) -> None:
    assert is_about_the_person(Failure(code)) is takes_away
    assert (code in PERSON_CODES) is takes_away


def test_the_catalogue_has_no_code_beyond_the_contract() -> None:
    assert CATALOGUE.keys() == TAKES_AWAY.keys()


@pytest.mark.parametrize("code", sorted(CATALOGUE))
def test_every_code_says_what_went_wrong_and_what_to_do(code: str) -> None:
    assert detail(Failure(code)).endswith(".")
    assert hint(Failure(code)).endswith(".")
    assert detail(Failure(code, "the nonce")) == detail(Failure(code)) + " (the nonce)"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("", None),
        (" \t\r\n ", None),
        ("\x00\u202e\ud800", None),
        ("Access denied.", "Access denied."),
        ("  Zugriff   verweigert — ¡no! 拒否  ", "Zugriff verweigert — ¡no! 拒否"),
        ("one\r\nlevel=info forged=true", "one level=info forged=true"),
        ("a\x00b\x1b[31mc\x7fd\x85e", "a b [31mc d e"),
        ("user\u202egnp.exe\u2066\u200b", "user gnp.exe"),
        ("a\u2028b\u2029c", "a b c"),
        ("a\ud800b\udfffc", "a b c"),
        ("a\ue000b\ufdd0c", "a b c"),  # private use, and a code point that is no character
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 200),
        ("x" * 199 + " yz", "x" * 199),
        ("x" * 100_000, "x" * 200),
        # What is far behind is not looked at: the text's length is the sender's choice.
        (" " * 4095 + "x", "x"),
        (" " * 4096 + "x", None),
    ],
)
def test_foreign_text_is_made_fit_to_be_stored(text: str | None, expected: str | None) -> None:
    assert clean(text) == expected


@given(st.text(st.characters(codec=None), max_size=400))
@example("\ud800" * 300)
@example("\n" * 100_000 + "x")
@example("\ue000")
def test_what_is_stored_is_printable_and_short(text: str) -> None:
    cleaned = clean(text)
    if cleaned is not None:
        assert cleaned.isprintable()
        assert 0 < len(cleaned) <= 200
        assert cleaned == cleaned.strip()
        assert clean(cleaned) == cleaned


@pytest.mark.parametrize("code", REGISTERED)
def test_a_registered_authorization_error_is_passed_on(code: str) -> None:
    assert authorization_failure(code, " too\nbad ") == Failure(code, "too bad")
    assert code in CATALOGUE


@pytest.mark.parametrize(
    "code",
    [
        "",
        "ACCESS_DENIED",
        "access_denied ",
        "fraud_suspected",
        "access_denied\n",
        # Codes of our own, and the token endpoint's, are not the browser's to choose.
        "invalid_grant",
        "invalid_client",
        "provider_unavailable",
        "callback_interrupted",
        "verification_expired",
        "too_many_attempts",
        "identity_not_established",
        "x" * 100_000,
        "\ud800",
    ],
)
def test_any_other_authorization_error_has_one_name(code: str) -> None:
    assert authorization_failure(code, None) == Failure("authorization_error", None)


@given(st.text(st.characters(codec=None)), st.one_of(st.none(), st.text(st.characters(codec=None))))
def test_whatever_the_browser_brings_is_a_failure_of_the_catalogue(error: str, description: str | None) -> None:
    failure = authorization_failure(error, description)
    assert failure.code in CATALOGUE
    assert stored_text(failure).isprintable()


def test_the_stored_text_is_the_code_and_what_was_said() -> None:
    assert stored_text(Failure("access_denied")) == "access_denied"
    assert stored_text(Failure("access_denied", "the person left")) == "access_denied: the person left"


@pytest.mark.parametrize(
    "failure", [Failure("access_denied"), Failure("id_token_invalid", "nonce"), Failure("access_denied", "a: b")]
)
def test_the_stored_text_is_read_as_it_was_written(failure: Failure) -> None:
    assert read_stored_text(stored_text(failure)) == failure


@pytest.mark.parametrize("text", ["", "telepathy_failed", "telepathy_failed: access_denied", "access_denied:", " access_denied"])
def test_a_stored_text_of_another_version_is_read_as_none(text: str) -> None:
    assert read_stored_text(text) is None


@pytest.mark.parametrize("code", [*REGISTERED, "authorization_error"])
def test_what_a_browser_may_have_written_is_not_in_our_words(code: str) -> None:
    assert detail_in_our_words(Failure(code, "ana@example.com")) == detail(Failure(code))


@pytest.mark.parametrize("code", ["id_token_invalid", "provider_unavailable"])
def test_what_we_have_written_ourselves_is_in_our_words(code: str) -> None:
    assert detail_in_our_words(Failure(code, "the nonce")) == detail(Failure(code, "the nonce"))
