from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.core.claims import error_text, read_error_text
from app.core.domain import Failure, FailureCode
from app.core.failures import (
    CATALOGUE,
    authorization_failure,
    clean,
    detail,
    detail_in_our_words,
    hint,
    is_about_the_person,
)

# The table "Error codes of a decision": which codes take a standing verification away.
TAKES_AWAY = {
    FailureCode.NO_CODE_RETURNED: True,
    FailureCode.ACCESS_DENIED: True,
    FailureCode.LOGIN_REQUIRED: True,
    FailureCode.INTERACTION_REQUIRED: True,
    FailureCode.CONSENT_REQUIRED: True,
    FailureCode.ACCOUNT_SELECTION_REQUIRED: True,
    FailureCode.UNMET_AUTHENTICATION_REQUIREMENTS: True,
    FailureCode.AUTHORIZATION_ERROR: True,
    FailureCode.INVALID_SCOPE: False,
    FailureCode.INVALID_REQUEST: False,
    FailureCode.UNAUTHORIZED_CLIENT: False,
    FailureCode.UNSUPPORTED_RESPONSE_TYPE: False,
    FailureCode.INVALID_REQUEST_URI: False,
    FailureCode.INVALID_REQUEST_OBJECT: False,
    FailureCode.REQUEST_NOT_SUPPORTED: False,
    FailureCode.REQUEST_URI_NOT_SUPPORTED: False,
    FailureCode.REGISTRATION_NOT_SUPPORTED: False,
    FailureCode.INVALID_TARGET: False,
    FailureCode.SERVER_ERROR: False,
    FailureCode.TEMPORARILY_UNAVAILABLE: False,
    FailureCode.INVALID_GRANT: True,
    FailureCode.TOKEN_EXCHANGE_FAILED: True,
    FailureCode.INVALID_CLIENT: False,
    FailureCode.UNSUPPORTED_GRANT_TYPE: False,
    FailureCode.PROVIDER_UNAVAILABLE: False,
    FailureCode.ID_TOKEN_INVALID: True,
    FailureCode.USERINFO_SUB_MISMATCH: True,
    FailureCode.STATUS_NOT_ACCEPTED: True,
    FailureCode.STATUS_MISSING: True,
    FailureCode.IDENTITY_MISMATCH: True,
    FailureCode.IDENTITY_NOT_ESTABLISHED: False,
    FailureCode.RECORD_NOT_AUTHENTIC: False,
    FailureCode.VERIFICATION_EXPIRED: False,
    FailureCode.CALLBACK_INTERRUPTED: False,
    FailureCode.TOO_MANY_ATTEMPTS: False,
}

REGISTERED = [
    FailureCode.INVALID_REQUEST,
    FailureCode.UNAUTHORIZED_CLIENT,
    FailureCode.ACCESS_DENIED,
    FailureCode.UNSUPPORTED_RESPONSE_TYPE,
    FailureCode.INVALID_SCOPE,
    FailureCode.SERVER_ERROR,
    FailureCode.TEMPORARILY_UNAVAILABLE,
    FailureCode.INTERACTION_REQUIRED,
    FailureCode.LOGIN_REQUIRED,
    FailureCode.ACCOUNT_SELECTION_REQUIRED,
    FailureCode.CONSENT_REQUIRED,
    FailureCode.INVALID_REQUEST_URI,
    FailureCode.INVALID_REQUEST_OBJECT,
    FailureCode.REQUEST_NOT_SUPPORTED,
    FailureCode.REQUEST_URI_NOT_SUPPORTED,
    FailureCode.REGISTRATION_NOT_SUPPORTED,
    FailureCode.INVALID_TARGET,
    FailureCode.UNMET_AUTHENTICATION_REQUIREMENTS,
]


@pytest.mark.parametrize(("code", "takes_away"), TAKES_AWAY.items())
def test_every_code_of_the_contract_is_in_the_catalogue(code: FailureCode, takes_away: bool) -> None:
    assert is_about_the_person(Failure(code)) is takes_away


def test_the_catalogue_has_no_code_beyond_the_contract() -> None:
    assert set(FailureCode) == CATALOGUE.keys() == TAKES_AWAY.keys()


@pytest.mark.parametrize("code", FailureCode)
def test_every_code_says_what_went_wrong_and_what_to_do(code: FailureCode) -> None:
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
def test_a_registered_authorization_error_is_passed_on(code: FailureCode) -> None:
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
    assert authorization_failure(code, None) == Failure(FailureCode.AUTHORIZATION_ERROR, None)


@given(st.text(st.characters(codec=None)), st.one_of(st.none(), st.text(st.characters(codec=None))))
def test_whatever_the_browser_brings_is_a_failure_of_the_catalogue(error: str, description: str | None) -> None:
    failure = authorization_failure(error, description)
    assert failure.code in CATALOGUE
    assert error_text(failure).isprintable()


def test_the_stored_text_is_the_code_and_what_was_said() -> None:
    assert error_text(Failure(FailureCode.ACCESS_DENIED)) == "access_denied"
    assert error_text(Failure(FailureCode.ACCESS_DENIED, "the person left")) == "access_denied: the person left"


@pytest.mark.parametrize(
    "failure",
    [
        Failure(FailureCode.ACCESS_DENIED),
        Failure(FailureCode.ID_TOKEN_INVALID, "nonce"),
        Failure(FailureCode.ACCESS_DENIED, "a: b"),
    ],
)
def test_the_stored_text_is_read_as_it_was_written(failure: Failure) -> None:
    assert read_error_text(error_text(failure)) == failure


@pytest.mark.parametrize(
    "text", ["", "telepathy_failed", "telepathy_failed: access_denied", "access_denied:", " access_denied"]
)
def test_a_stored_text_of_another_version_is_read_as_none(text: str) -> None:
    assert read_error_text(text) is None


@pytest.mark.parametrize("code", [*REGISTERED, FailureCode.AUTHORIZATION_ERROR])
def test_what_a_browser_may_have_written_is_not_in_our_words(code: FailureCode) -> None:
    assert detail_in_our_words(Failure(code, "ana@example.com")) == detail(Failure(code))


@pytest.mark.parametrize("code", [FailureCode.ID_TOKEN_INVALID, FailureCode.PROVIDER_UNAVAILABLE])
def test_what_we_have_written_ourselves_is_in_our_words(code: FailureCode) -> None:
    assert detail_in_our_words(Failure(code, "the nonce")) == detail(Failure(code, "the nonce"))
