"""The catalogue of failures: what each code means, what to do about it, and whether it speaks about the person."""

from __future__ import annotations

from dataclasses import dataclass

from app.domain import Failure

MAX_DESCRIPTION = 200


@dataclass(frozen=True, slots=True)
class FailureKind:
    """`about_the_person`: takes a standing verification away and counts towards the attempt limit."""

    detail: str
    hint: str
    about_the_person: bool = False


_CHECK_PROVIDER = "Look at the client's configuration in the Incode Dashboard and at INCODE_SERVER_URL."
_START_AGAIN = "Let the user log in again; a new login starts a new verification."
_NEEDS_A_PERSON = "The provider wanted to ask the person something and could not. " + _START_AGAIN

CATALOGUE: dict[str, FailureKind] = {
    "no_code_returned": FailureKind(
        "The provider returned neither a code nor an error.",
        "The person may have left the flow. Check that every query parameter of the continue URL is passed on. " + _START_AGAIN,
        about_the_person=True,
    ),
    "access_denied": FailureKind(
        "The person or the provider refused the verification.", _START_AGAIN, about_the_person=True
    ),
    "login_required": FailureKind("The provider requires a login.", _NEEDS_A_PERSON, about_the_person=True),
    "interaction_required": FailureKind("The provider requires interaction.", _NEEDS_A_PERSON, about_the_person=True),
    "consent_required": FailureKind("The provider requires consent.", _NEEDS_A_PERSON, about_the_person=True),
    "account_selection_required": FailureKind(
        "The provider requires an account to be selected.", _NEEDS_A_PERSON, about_the_person=True
    ),
    "unmet_authentication_requirements": FailureKind(
        "The provider could not authenticate the person as required.", _START_AGAIN, about_the_person=True
    ),
    "authorization_error": FailureKind(
        "The provider returned an authorization error that is not a registered one.",
        "Look at incode_idv_error for the provider's words. " + _START_AGAIN,
        about_the_person=True,
    ),
    "invalid_scope": FailureKind(
        "A requested scope is not enabled on the Incode client.",
        "Set SCOPES to openid and ask your Incode representative to enable the other scopes.",
    ),
    "invalid_request": FailureKind("The provider found the request malformed.", _CHECK_PROVIDER),
    "unauthorized_client": FailureKind("The Incode client may not use this flow.", _CHECK_PROVIDER),
    "unsupported_response_type": FailureKind("The provider does not offer the code flow.", _CHECK_PROVIDER),
    "invalid_request_uri": FailureKind("The provider refused the request_uri.", _CHECK_PROVIDER),
    "invalid_request_object": FailureKind("The provider refused the request object.", _CHECK_PROVIDER),
    "request_not_supported": FailureKind("The provider does not support request objects.", _CHECK_PROVIDER),
    "request_uri_not_supported": FailureKind("The provider does not support request_uri.", _CHECK_PROVIDER),
    "registration_not_supported": FailureKind("The provider does not support registration.", _CHECK_PROVIDER),
    "invalid_target": FailureKind("The provider refused the requested resource.", _CHECK_PROVIDER),
    "server_error": FailureKind("The provider had an internal error.", "Try again later. " + _START_AGAIN),
    "temporarily_unavailable": FailureKind("The provider is overloaded.", "Try again later. " + _START_AGAIN),
    "invalid_grant": FailureKind(
        "The provider refused the code.",
        "A code works once and for about 60 seconds: send the callback at once and only once. Check that the redirect URI "
        "registered at Incode is exactly REDIRECT_URI.",
        about_the_person=True,
    ),
    "token_exchange_failed": FailureKind(
        "The provider's token endpoint refused the code without a reason that is registered.",
        "Look at the integration's log in the Incode Dashboard. " + _START_AGAIN,
        about_the_person=True,
    ),
    "invalid_client": FailureKind(
        "The provider does not accept the client's credentials.",
        "Check INCODE_CLIENT_ID, INCODE_CLIENT_SECRET and CLIENT_AUTH_METHOD, and that INCODE_SERVER_URL is the environment "
        "(demo or production) that they belong to.",
    ),
    "unsupported_grant_type": FailureKind("The Incode client may not use the authorization code grant.", _CHECK_PROVIDER),
    "provider_unavailable": FailureKind(
        "The provider did not answer, or its answer was unusable.",
        "Check that INCODE_SERVER_URL and INCODE_ISSUER are right and can be reached from here; then let the user log in again.",
    ),
    "id_token_invalid": FailureKind(
        "The ID token was refused.",
        "The check named in the detail failed. Check INCODE_ISSUER, INCODE_CLIENT_ID, ID_TOKEN_ALGORITHMS and this machine's "
        "clock; if they are right, treat it as an attack.",
        about_the_person=True,
    ),
    "userinfo_sub_mismatch": FailureKind(
        "The userinfo answer is about another subject than the ID token.",
        "Treat it as an attack, or as a fault of the provider, and report it to Incode.",
        about_the_person=True,
    ),
    "status_not_accepted": FailureKind(
        "The person's verification did not pass.",
        "See auth_overall_status in the Incode Dashboard; ACCEPTED_STATUSES says which results count.",
        about_the_person=True,
    ),
    "status_missing": FailureKind(
        "The provider sent no overall status, and one is required.",
        "Ask Incode to include auth_overall_status in the ID token, or set REQUIRE_STATUS=false for logins.",
        about_the_person=True,
    ),
    "identity_mismatch": FailureKind(
        "The person who came back is not the one who is enrolled for this user.",
        "If the wrong person was enrolled, an administrator resets the user with identity=true.",
        about_the_person=True,
    ),
    "identity_not_established": FailureKind(
        "This user has no enrolled identity to compare with.",
        "Verify the user at a login first; a step-up compares with the identity that is on file.",
    ),
    "verification_expired": FailureKind("The answer came too late.", _START_AGAIN),
    "callback_interrupted": FailureKind("The callback was interrupted before it was finished.", _START_AGAIN),
    "too_many_attempts": FailureKind(
        "Too many verifications of this user failed.",
        "Wait until the time in the detail. ATTEMPT_LIMIT and ATTEMPT_WINDOW_HOURS set the limit; a reset lifts it.",
    ),
}  # fmt: skip

PERSON_CODES = frozenset(code for code, kind in CATALOGUE.items() if kind.about_the_person)

_AUTHORIZATION_CODES = frozenset({
    # RFC 6749 section 4.1.2.1
    "invalid_request", "unauthorized_client", "access_denied", "unsupported_response_type", "invalid_scope", "server_error",
    "temporarily_unavailable",
    # OpenID Connect Core 1.0 section 3.1.2.6
    "interaction_required", "login_required", "account_selection_required", "consent_required", "invalid_request_uri",
    "invalid_request_object", "request_not_supported", "request_uri_not_supported", "registration_not_supported",
    # RFC 8707 section 2; OpenID Connect Core Error Code unmet_authentication_requirements 1.0
    "invalid_target", "unmet_authentication_requirements",
})  # fmt: skip


def clean(text: str | None) -> str | None:
    """A foreign text made fit to be stored and shown: control and formatting characters out, cut at 200 characters."""
    if not text:
        return None
    # Formatting characters, which are not printable, hold the bidirectional overrides that make one text look like another.
    printable = "".join(c if c.isprintable() else " " for c in text[:4096])
    return " ".join(printable.split())[:MAX_DESCRIPTION].rstrip() or None


def authorization_failure(error: str, description: str | None) -> Failure:
    """The provider's authorization error response as a failure; an unregistered code becomes `authorization_error`."""
    return Failure(error if error in _AUTHORIZATION_CODES else "authorization_error", clean(description))


def is_about_the_person(failure: Failure) -> bool:
    """Whether the failure takes a standing verification away."""
    return CATALOGUE[failure.code].about_the_person


def detail(failure: Failure) -> str:
    """What went wrong, in a sentence or two."""
    sentence = CATALOGUE[failure.code].detail
    return f"{sentence} ({failure.description})" if failure.description else sentence


def hint(failure: Failure) -> str:
    """What to do about it."""
    return CATALOGUE[failure.code].hint


def stored_text(failure: Failure) -> str:
    """The failure as `incode_idv_error` holds it: `code` or `code: description`."""
    return f"{failure.code}: {failure.description}" if failure.description else failure.code
