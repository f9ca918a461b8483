"""The catalogue of failures: what each code means, what to do about it, and whether it speaks about the person."""

from __future__ import annotations

from dataclasses import dataclass

from app.core.domain import Failure

MAX_DESCRIPTION = 200


@dataclass(frozen=True, slots=True)
class FailureKind:
    """`about_the_person`: takes a standing verification away and counts towards the attempt limit."""

    detail: str
    hint: str
    about_the_person: bool = False


_START_AGAIN = "Let the user log in again; a new login starts a new verification."
_ASK_INCODE = "Run «idv check», and ask Incode whether the client INCODE_CLIENT_ID may use the authorization code flow."
_NEVER_SENT = (
    "The service sends nothing of the kind: compare redirect_url with the request that reaches the provider. Something on the "
    "way, such as a redirect of your own, has added to it."
)
_NEVER_SILENT = (
    _START_AGAIN + " If it fails for everybody, ask Incode: the service never sends a prompt=none, and the "
    "client's settings must not add one."
)
_INCODE_FAILED = _START_AGAIN + " If it lasts, report it to Incode with the time; nothing here needs a change."

CATALOGUE: dict[str, FailureKind] = {
    "no_code_returned": FailureKind(
        "The provider returned neither a code nor an error.",
        "The person may have left the flow. " + _START_AGAIN + " If it fails for everybody, check that code, state, iss, error "
        "and error_description of the continue URL are all passed on.",
        about_the_person=True,
    ),
    "access_denied": FailureKind(
        "The person or the provider refused the verification.",
        _START_AGAIN + " The Incode Dashboard shows the session and why it was refused.",
        about_the_person=True,
    ),
    "login_required": FailureKind("The provider requires a login.", _NEVER_SILENT, about_the_person=True),
    "interaction_required": FailureKind("The provider requires interaction.", _NEVER_SILENT, about_the_person=True),
    "consent_required": FailureKind("The provider requires consent.", _NEVER_SILENT, about_the_person=True),
    "account_selection_required": FailureKind(
        "The provider requires an account to be selected.", _NEVER_SILENT, about_the_person=True
    ),
    "unmet_authentication_requirements": FailureKind(
        "The provider could not authenticate the person as required.",
        _START_AGAIN + " The Incode Dashboard shows the session and what was not met.",
        about_the_person=True,
    ),
    "authorization_error": FailureKind(
        "The provider returned an authorization error that is not a registered one.",
        "The provider's words, if it sent any, are in incode_idv_error. " + _START_AGAIN,
        about_the_person=True,
    ),
    "invalid_scope": FailureKind(
        "A requested scope is not enabled on the Incode client.",
        "Set SCOPES to openid, restart, and ask your Incode representative to enable the other scopes.",
    ),
    "invalid_request": FailureKind(
        "The provider found the request malformed.",
        "Check that the redirect URI registered at Incode is exactly REDIRECT_URI (hosted: PUBLIC_URL/v1/callback), and that "
        "your own redirect neither changes nor repeats a parameter of redirect_url; where it adds a state, use omit_state.",
    ),
    "unauthorized_client": FailureKind("The Incode client may not use this flow.", _ASK_INCODE),
    "unsupported_response_type": FailureKind("The provider does not offer the code flow.", _ASK_INCODE),
    "invalid_request_uri": FailureKind("The provider refused the request_uri.", _NEVER_SENT),
    "invalid_request_object": FailureKind("The provider refused the request object.", _NEVER_SENT),
    "request_not_supported": FailureKind("The provider does not support request objects.", _NEVER_SENT),
    "request_uri_not_supported": FailureKind("The provider does not support request_uri.", _NEVER_SENT),
    "registration_not_supported": FailureKind("The provider does not support registration.", _NEVER_SENT),
    "invalid_target": FailureKind("The provider refused the requested resource.", _NEVER_SENT),
    "server_error": FailureKind("The provider had an internal error.", _INCODE_FAILED),
    "temporarily_unavailable": FailureKind("The provider is overloaded.", _INCODE_FAILED),
    "invalid_grant": FailureKind(
        "The provider refused the code.",
        "A code works once and for about 60 seconds: send the callback at once and only once. Check that the redirect URI "
        "registered at Incode is exactly REDIRECT_URI (hosted: PUBLIC_URL/v1/callback).",
        about_the_person=True,
    ),
    "token_exchange_failed": FailureKind(
        "The provider's token endpoint refused the code without a reason that is registered.",
        "Look at the integration's log in the Incode Dashboard for the time of finished_at. " + _START_AGAIN,
        about_the_person=True,
    ),
    "invalid_client": FailureKind(
        "The provider does not accept the client's credentials.",
        "Check INCODE_CLIENT_ID, INCODE_CLIENT_SECRET and CLIENT_AUTH_METHOD, and that INCODE_SERVER_URL is the environment "
        "(demo or production) that they belong to; «idv check» tries them.",
    ),
    "unsupported_grant_type": FailureKind("The Incode client may not use the authorization code grant.", _ASK_INCODE),
    "provider_unavailable": FailureKind(
        "The provider did not answer, or its answer was unusable.",
        "Run «idv check» where the service runs: it asks INCODE_SERVER_URL and says what fails (name, network, proxy, "
        "certificate, issuer). Valid verifications still count. When it answers again, let the user log in again.",
    ),
    "id_token_invalid": FailureKind(
        "The ID token was refused.",
        "The check named in the detail failed. iss: INCODE_ISSUER; aud or azp: INCODE_CLIENT_ID; alg: ID_TOKEN_ALGORITHMS; exp, "
        "iat or nbf: this machine's clock and CLOCK_SKEW_SECONDS; kid or signature: «idv check» reads the provider's keys, and "
        "new ones are fetched within a minute; nonce: the callback of another login. Any other check, or if these are right: "
        "treat it as an attack, or as a fault of the provider.",
        about_the_person=True,
    ),
    "userinfo_sub_mismatch": FailureKind(
        "The userinfo answer is about another subject than the ID token.",
        "No setting causes this. Treat it as an attack, or as a fault of the provider, and report it to Incode with the "
        "verification's finished_at.",
        about_the_person=True,
    ),
    "status_not_accepted": FailureKind(
        "The person's verification did not pass.",
        "The verification's auth_overall_status and the session in the Incode Dashboard say why; ACCEPTED_STATUSES says which "
        "results count. " + _START_AGAIN,
        about_the_person=True,
    ),
    "status_missing": FailureKind(
        "The provider sent no overall status, and one is required.",
        "Ask Incode to include auth_overall_status in the ID token. For logins alone, REQUIRE_STATUS=false does without; a "
        "step-up never does.",
        about_the_person=True,
    ),
    "identity_mismatch": FailureKind(
        "The person who came back is not the one who is enrolled for this user.",
        "Somebody else may hold the user's password: find out who it was first. If the wrong person was enrolled, an "
        "administrator resets the user with identity=true («idv reset USER --identity»).",
        about_the_person=True,
    ),
    "identity_not_established": FailureKind(
        "This user has no enrolled identity to compare with.",
        "Verify the user at a login first; a step-up compares with the identity that is on file.",
    ),
    "verification_expired": FailureKind(
        "The answer came too late, or the user was reset in between.",
        _START_AGAIN + " A person has VERIFICATION_TTL_SECONDS, a session_token of the hosted flow 5 minutes.",
    ),
    "callback_interrupted": FailureKind(
        "The callback was interrupted before it was finished.",
        _START_AGAIN + " If it comes back, look for restarts of the service in its log at that time.",
    ),
    "too_many_attempts": FailureKind(
        "Too many verifications of this user failed.",
        "Wait until the time in the detail, or let an administrator reset the user («idv reset USER»). ATTEMPT_LIMIT and "
        "ATTEMPT_WINDOW_HOURS set the limit. Many users at once: look at the errors of their attempts.",
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


def detail_in_our_words(failure: Failure) -> str:
    """What went wrong, without what a provider or a browser wrote into an authorization response: it may name a person."""
    foreign = failure.code in _AUTHORIZATION_CODES or failure.code == "authorization_error"
    return CATALOGUE[failure.code].detail if foreign else detail(failure)


def hint(failure: Failure) -> str:
    """What to do about it."""
    return CATALOGUE[failure.code].hint


def stored_text(failure: Failure) -> str:
    """The failure as `incode_idv_error` holds it: `code` or `code: description`."""
    return f"{failure.code}: {failure.description}" if failure.description else failure.code


def read_stored_text(text: str) -> Failure | None:
    """The failure that `stored_text` has written; None where the catalogue does not have it."""
    code, _, description = text.partition(": ")
    return Failure(code, description or None) if code in CATALOGUE else None
