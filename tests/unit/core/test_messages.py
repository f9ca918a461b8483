"""What a person is told about a failure: a sentence for every code, in every language, that helps no attacker."""

from __future__ import annotations

import re

import pytest

from app.core.failures import CATALOGUE
from app.core.messages import LANGUAGES, Language, language_of, message


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("code", CATALOGUE)
def test_every_failure_has_one_plain_sentence_in_every_language(code: str, language: Language) -> None:
    sentence = message(code, language)
    assert re.fullmatch(r"[A-ZÀ-Ý][^.!?]{15,110}\.", sentence)
    assert code not in sentence


@pytest.mark.parametrize("code", CATALOGUE)
def test_the_languages_do_not_say_the_same_words(code: str) -> None:
    assert len({message(code, language) for language in LANGUAGES}) == len(LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_which_check_refused_a_person_is_not_told(language: Language) -> None:
    refusals = ("access_denied", "status_not_accepted", "status_missing", "identity_mismatch", "id_token_invalid")
    assert len({message(code, language) for code in refusals}) == 1


@pytest.mark.parametrize(
    ("locale", "language"),
    [
        ("en", "en"),
        ("es", "es"),
        ("pt", "pt"),
        ("pt-BR", "pt"),
        ("es-419", "es"),
        ("ES-mx", "es"),
        ("pt_PT", "pt"),
        ("en-GB", "en"),
        ("fr-CA", "en"),
        ("est", "en"),
        ("est-EE", "en"),
        ("", "en"),
        ("*", "en"),
        (None, "en"),
    ],
)
def test_the_language_of_a_tag_is_its_first_part(locale: str | None, language: Language) -> None:
    assert language_of(locale) == language
