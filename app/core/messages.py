"""What a person may be told about a failure, in the languages that the pages speak.

Several codes share one sentence on purpose: which check refused a person would tell an attacker what to try next.
"""

from __future__ import annotations

from enum import Enum
from typing import Literal

Language = Literal["en", "es", "pt"]

LANGUAGES: tuple[Language, ...] = ("en", "es", "pt")
DEFAULT_LANGUAGE: Language = "en"


class Sentence(Enum):
    """One plain sentence a language; the members' values are keyed by language."""

    NOT_COMPLETED = {
        "en": "The identity verification was not completed: please start again.",
        "es": "La verificación de identidad no se completó: empiece de nuevo.",
        "pt": "A verificação de identidade não foi concluída: comece de novo.",
    }
    NOT_CONFIRMED = {
        "en": "We could not confirm your identity.",
        "es": "No pudimos confirmar su identidad.",
        "pt": "Não foi possível confirmar a sua identidade.",
    }
    NOT_AVAILABLE = {
        "en": "Identity verification is not available at the moment: please try again later.",
        "es": "La verificación de identidad no está disponible en este momento: inténtelo más tarde.",
        "pt": "A verificação de identidade não está disponível no momento: tente mais tarde.",
    }
    NOT_YET_VERIFIED = {
        "en": "This needs a verified identity, and yours has not been verified yet.",
        "es": "Esto requiere una identidad verificada y la suya todavía no lo está.",
        "pt": "Isto exige uma identidade verificada, e a sua ainda não foi verificada.",
    }
    TOO_LATE = {
        "en": "The time for this identity verification is over: please start again.",
        "es": "El tiempo para esta verificación de identidad terminó: empiece de nuevo.",
        "pt": "O tempo para esta verificação de identidade terminou: comece de novo.",
    }
    TOO_MANY = {
        "en": "There were too many identity verifications: please try again later.",
        "es": "Hubo demasiadas verificaciones de identidad: inténtelo más tarde.",
        "pt": "Houve verificações de identidade demais: tente mais tarde.",
    }
    NEEDS_HELP = {
        "en": "Your identity cannot be verified at the moment: please ask for help.",
        "es": "Su identidad no se puede verificar en este momento: pida ayuda.",
        "pt": "A sua identidade não pode ser verificada no momento: peça ajuda.",
    }


_SENTENCES: dict[str, Sentence] = {
    "no_code_returned": Sentence.NOT_COMPLETED,
    "login_required": Sentence.NOT_COMPLETED,
    "interaction_required": Sentence.NOT_COMPLETED,
    "consent_required": Sentence.NOT_COMPLETED,
    "account_selection_required": Sentence.NOT_COMPLETED,
    "authorization_error": Sentence.NOT_COMPLETED,
    "invalid_grant": Sentence.NOT_COMPLETED,
    "token_exchange_failed": Sentence.NOT_COMPLETED,
    "callback_interrupted": Sentence.NOT_COMPLETED,
    "access_denied": Sentence.NOT_CONFIRMED,
    "unmet_authentication_requirements": Sentence.NOT_CONFIRMED,
    "id_token_invalid": Sentence.NOT_CONFIRMED,
    "userinfo_sub_mismatch": Sentence.NOT_CONFIRMED,
    "status_not_accepted": Sentence.NOT_CONFIRMED,
    "status_missing": Sentence.NOT_CONFIRMED,
    "identity_mismatch": Sentence.NOT_CONFIRMED,
    "invalid_scope": Sentence.NOT_AVAILABLE,
    "invalid_request": Sentence.NOT_AVAILABLE,
    "unauthorized_client": Sentence.NOT_AVAILABLE,
    "unsupported_response_type": Sentence.NOT_AVAILABLE,
    "invalid_request_uri": Sentence.NOT_AVAILABLE,
    "invalid_request_object": Sentence.NOT_AVAILABLE,
    "request_not_supported": Sentence.NOT_AVAILABLE,
    "request_uri_not_supported": Sentence.NOT_AVAILABLE,
    "registration_not_supported": Sentence.NOT_AVAILABLE,
    "invalid_target": Sentence.NOT_AVAILABLE,
    "server_error": Sentence.NOT_AVAILABLE,
    "temporarily_unavailable": Sentence.NOT_AVAILABLE,
    "invalid_client": Sentence.NOT_AVAILABLE,
    "unsupported_grant_type": Sentence.NOT_AVAILABLE,
    "provider_unavailable": Sentence.NOT_AVAILABLE,
    "identity_not_established": Sentence.NOT_YET_VERIFIED,
    "verification_expired": Sentence.TOO_LATE,
    "too_many_attempts": Sentence.TOO_MANY,
    "record_not_authentic": Sentence.NEEDS_HELP,
}


def language_of(locale: str | None) -> Language:
    """The language of a BCP 47 tag (`pt-BR`, `es_419`) where we speak it, else English."""
    primary = (locale or "").strip().replace("_", "-").partition("-")[0].lower()
    return next((language for language in LANGUAGES if language == primary), DEFAULT_LANGUAGE)


def message(code: str, language: Language) -> str:
    """The sentence for the person whose verification failed with `code`, a code of the catalogue of failures."""
    return str(_SENTENCES[code].value[language])
