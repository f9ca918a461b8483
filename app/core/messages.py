"""What a person may be told about a failure, in the languages that the pages speak.

Several codes share one sentence on purpose: which check refused a person would tell an attacker what to try next.
"""

from __future__ import annotations

from typing import Literal

Language = Literal["en", "es", "pt"]

LANGUAGES: tuple[Language, ...] = ("en", "es", "pt")
DEFAULT_LANGUAGE: Language = "en"


_Sentence = dict[Language, str]

_NOT_COMPLETED: _Sentence = {
    "en": "The identity verification was not completed: please start again.",
    "es": "La verificación de identidad no se completó: empiece de nuevo.",
    "pt": "A verificação de identidade não foi concluída: comece de novo.",
}
_NOT_CONFIRMED: _Sentence = {
    "en": "We could not confirm your identity.",
    "es": "No pudimos confirmar su identidad.",
    "pt": "Não foi possível confirmar a sua identidade.",
}
_NOT_AVAILABLE: _Sentence = {
    "en": "Identity verification is not available at the moment: please try again later.",
    "es": "La verificación de identidad no está disponible en este momento: inténtelo más tarde.",
    "pt": "A verificação de identidade não está disponível no momento: tente mais tarde.",
}
_NOT_YET_VERIFIED: _Sentence = {
    "en": "This needs a verified identity, and yours has not been verified yet.",
    "es": "Esto requiere una identidad verificada y la suya todavía no lo está.",
    "pt": "Isto exige uma identidade verificada, e a sua ainda não foi verificada.",
}
_TOO_LATE: _Sentence = {
    "en": "The time for this identity verification is over: please start again.",
    "es": "El tiempo para esta verificación de identidad terminó: empiece de nuevo.",
    "pt": "O tempo para esta verificação de identidade terminou: comece de novo.",
}
_TOO_MANY: _Sentence = {
    "en": "There were too many identity verifications: please try again later.",
    "es": "Hubo demasiadas verificaciones de identidad: inténtelo más tarde.",
    "pt": "Houve verificações de identidade demais: tente mais tarde.",
}
_NEEDS_HELP: _Sentence = {
    "en": "Your identity cannot be verified at the moment: please ask for help.",
    "es": "Su identidad no se puede verificar en este momento: pida ayuda.",
    "pt": "A sua identidade não pode ser verificada no momento: peça ajuda.",
}

_SENTENCES: dict[str, _Sentence] = {
    "no_code_returned": _NOT_COMPLETED,
    "login_required": _NOT_COMPLETED,
    "interaction_required": _NOT_COMPLETED,
    "consent_required": _NOT_COMPLETED,
    "account_selection_required": _NOT_COMPLETED,
    "authorization_error": _NOT_COMPLETED,
    "invalid_grant": _NOT_COMPLETED,
    "token_exchange_failed": _NOT_COMPLETED,
    "callback_interrupted": _NOT_COMPLETED,
    "access_denied": _NOT_CONFIRMED,
    "unmet_authentication_requirements": _NOT_CONFIRMED,
    "id_token_invalid": _NOT_CONFIRMED,
    "userinfo_sub_mismatch": _NOT_CONFIRMED,
    "status_not_accepted": _NOT_CONFIRMED,
    "status_missing": _NOT_CONFIRMED,
    "identity_mismatch": _NOT_CONFIRMED,
    "invalid_scope": _NOT_AVAILABLE,
    "invalid_request": _NOT_AVAILABLE,
    "unauthorized_client": _NOT_AVAILABLE,
    "unsupported_response_type": _NOT_AVAILABLE,
    "invalid_request_uri": _NOT_AVAILABLE,
    "invalid_request_object": _NOT_AVAILABLE,
    "request_not_supported": _NOT_AVAILABLE,
    "request_uri_not_supported": _NOT_AVAILABLE,
    "registration_not_supported": _NOT_AVAILABLE,
    "invalid_target": _NOT_AVAILABLE,
    "server_error": _NOT_AVAILABLE,
    "temporarily_unavailable": _NOT_AVAILABLE,
    "invalid_client": _NOT_AVAILABLE,
    "unsupported_grant_type": _NOT_AVAILABLE,
    "provider_unavailable": _NOT_AVAILABLE,
    "identity_not_established": _NOT_YET_VERIFIED,
    "verification_expired": _TOO_LATE,
    "too_many_attempts": _TOO_MANY,
    "record_not_authentic": _NEEDS_HELP,
}


def language_of(locale: str | None) -> Language:
    """The language of a BCP 47 tag (`pt-BR`, `es_419`) where we speak it, else English."""
    primary = (locale or "").strip().replace("_", "-").partition("-")[0].lower()
    return next((language for language in LANGUAGES if language == primary), DEFAULT_LANGUAGE)


def message(code: str, language: Language) -> str:
    """The sentence for the person whose verification failed with `code`, a code of the catalogue of failures."""
    return _SENTENCES[code][language]
