"""The catalogue of failures: what each code means, what to do about it, and whether it speaks about the person."""

from __future__ import annotations

from dataclasses import dataclass

from app.core.domain import Failure, FailureCode

MAX_DESCRIPTION = 200


@dataclass(frozen=True, slots=True)
class FailureKind:
    """`about_the_person`: takes a standing verification away and counts towards the attempt limit."""

    detail: str
    hint: str
    about_the_person: bool = False


_START_AGAIN = "Let the user log in again; a new login starts a new verification."
_ASK_INCODE = "Run `idv check`, and ask Incode whether the client INCODE_CLIENT_ID may use the authorization code flow."
_NEVER_SENT = (
    "The service sends nothing of the kind: compare redirect_url with the request that reaches the provider. "
    "Something on the way, such as a redirect of your own, has added to it."
)
_NEVER_SILENT = (
    _START_AGAIN + " If it fails for everybody, ask Incode: the service never sends a prompt=none, and the "
    "client's settings must not add one."
)
_INCODE_FAILED = _START_AGAIN + " If it lasts, report it to Incode with the time; nothing here needs a change."

CATALOGUE: dict[FailureCode, FailureKind] = {
    FailureCode.NO_CODE_RETURNED: FailureKind(
        "The provider returned neither a code nor an error.",
        "The person may have left the flow. " + _START_AGAIN + " If it fails for everybody, check that code, state, "
        "iss, error and error_description of the continue URL are all passed on.",
        about_the_person=True,
    ),
    FailureCode.ACCESS_DENIED: FailureKind(
        "The person or the provider refused the verification.",
        _START_AGAIN + " The Incode Dashboard shows the session and why it was refused.",
        about_the_person=True,
    ),
    FailureCode.LOGIN_REQUIRED: FailureKind("The provider requires a login.", _NEVER_SILENT, about_the_person=True),
    FailureCode.INTERACTION_REQUIRED: FailureKind("The provider requires interaction.", _NEVER_SILENT,
        about_the_person=True),
    FailureCode.CONSENT_REQUIRED: FailureKind("The provider requires consent.", _NEVER_SILENT, about_the_person=True),
    FailureCode.ACCOUNT_SELECTION_REQUIRED: FailureKind(
        "The provider requires an account to be selected.", _NEVER_SILENT, about_the_person=True
    ),
    FailureCode.UNMET_AUTHENTICATION_REQUIREMENTS: FailureKind(
        "The provider could not authenticate the person as required.",
        _START_AGAIN + " The Incode Dashboard shows the session and what was not met.",
        about_the_person=True,
    ),
    FailureCode.AUTHORIZATION_ERROR: FailureKind(
        "The provider returned an authorization error that is not a registered one.",
        "The provider's words, if it sent any, are in incode_idv_error. " + _START_AGAIN,
        about_the_person=True,
    ),
    FailureCode.INVALID_SCOPE: FailureKind(
        "A requested scope is not enabled on the Incode client.",
        "Set SCOPES to openid, restart, and ask your Incode representative to enable the other scopes.",
    ),
    FailureCode.INVALID_REQUEST: FailureKind(
        "The provider found the request malformed.",
        "Check that the redirect URI registered at Incode is exactly REDIRECT_URI (hosted: PUBLIC_URL/v1/callback), "
        "and that your own redirect neither changes nor repeats a parameter of redirect_url; where it adds a state, "
        "use omit_state.",
    ),
    FailureCode.UNAUTHORIZED_CLIENT: FailureKind("The Incode client may not use this flow.", _ASK_INCODE),
    FailureCode.UNSUPPORTED_RESPONSE_TYPE: FailureKind("The provider does not offer the code flow.", _ASK_INCODE),
    FailureCode.INVALID_REQUEST_URI: FailureKind("The provider refused the request_uri.", _NEVER_SENT),
    FailureCode.INVALID_REQUEST_OBJECT: FailureKind("The provider refused the request object.", _NEVER_SENT),
    FailureCode.REQUEST_NOT_SUPPORTED: FailureKind("The provider does not support request objects.", _NEVER_SENT),
    FailureCode.REQUEST_URI_NOT_SUPPORTED: FailureKind("The provider does not support request_uri.", _NEVER_SENT),
    FailureCode.REGISTRATION_NOT_SUPPORTED: FailureKind("The provider does not support registration.", _NEVER_SENT),
    FailureCode.INVALID_TARGET: FailureKind("The provider refused the requested resource.", _NEVER_SENT),
    FailureCode.SERVER_ERROR: FailureKind("The provider had an internal error.", _INCODE_FAILED),
    FailureCode.TEMPORARILY_UNAVAILABLE: FailureKind("The provider is overloaded.", _INCODE_FAILED),
    FailureCode.INVALID_GRANT: FailureKind(
        "The provider refused the code.",
        "A code works once and for about 60 seconds: send the callback at once and only once. Check that the redirect "
        "URI registered at Incode is exactly REDIRECT_URI (hosted: PUBLIC_URL/v1/callback).",
        about_the_person=True,
    ),
    FailureCode.TOKEN_EXCHANGE_FAILED: FailureKind(
        "The provider's token endpoint refused the code without a reason that is registered.",
        "Look at the integration's log in the Incode Dashboard for the time of finished_at. " + _START_AGAIN,
        about_the_person=True,
    ),
    FailureCode.INVALID_CLIENT: FailureKind(
        "The provider does not accept the client's credentials.",
        "Check INCODE_CLIENT_ID, INCODE_CLIENT_SECRET and CLIENT_AUTH_METHOD, and that INCODE_SERVER_URL is the "
        "environment (demo or production) that they belong to; `idv check` tries them.",
    ),
    FailureCode.UNSUPPORTED_GRANT_TYPE: FailureKind("The Incode client may not use the authorization code grant.",
        _ASK_INCODE),
    FailureCode.PROVIDER_UNAVAILABLE: FailureKind(
        "The provider did not answer, or its answer was unusable.",
        "Run `idv check` where the service runs: it asks INCODE_SERVER_URL and says what fails (name, network, proxy, "
        "certificate, issuer). Valid verifications still count. When it answers again, let the user log in again.",
    ),
    FailureCode.ID_TOKEN_INVALID: FailureKind(
        "The ID token was refused.",
        "The check named in the detail failed. iss: INCODE_ISSUER; aud or azp: INCODE_CLIENT_ID; alg: "
        "ID_TOKEN_ALGORITHMS; exp, iat or nbf: this machine's clock and CLOCK_SKEW_SECONDS; kid or signature: `idv "
        "check` reads the provider's keys, and new ones are fetched within a minute; nonce: the callback of another "
        "login. Any other check, or if these are right: treat it as an attack, or as a fault of the provider.",
        about_the_person=True,
    ),
    FailureCode.USERINFO_SUB_MISMATCH: FailureKind(
        "The userinfo answer is about another subject than the ID token.",
        "No setting causes this. Treat it as an attack, or as a fault of the provider, and report it to Incode with "
        "the verification's finished_at.",
        about_the_person=True,
    ),
    FailureCode.STATUS_NOT_ACCEPTED: FailureKind(
        "The person's verification did not pass.",
        "The verification's auth_overall_status and the session in the Incode Dashboard say why; ACCEPTED_STATUSES "
        "says which "
        "results count. " + _START_AGAIN,
        about_the_person=True,
    ),
    FailureCode.STATUS_MISSING: FailureKind(
        "The provider sent no overall status, and one is required.",
        "Ask Incode to include auth_overall_status in the ID token. For logins alone, REQUIRE_STATUS=false does "
        "without; a step-up never does.",
        about_the_person=True,
    ),
    FailureCode.IDENTITY_MISMATCH: FailureKind(
        "The person who came back is not the one who is enrolled for this user.",
        "Somebody else may hold the user's password: find out who it was first. If the wrong person was enrolled, an "
        "administrator resets the user with identity=true (`idv reset USER --identity`).",
        about_the_person=True,
    ),
    FailureCode.IDENTITY_NOT_ESTABLISHED: FailureKind(
        "This user has no enrolled identity to compare with.",
        "Verify the user at a login first; a step-up compares with the identity that is on file.",
    ),
    FailureCode.RECORD_NOT_AUTHENTIC: FailureKind(
        "What is on file about this user was changed by somebody without the keys, or the key it was sealed with is "
        "lost.",
        "Run `idv check --records`, which names the records, and see that ENCRYPTION_KEYS has every key that is in "
        "use. If the keys are right, somebody has written to the database: find out who. An administrator's reset "
        "with identity=true (`idv reset USER --identity`) lets the user enrol anew.",
    ),
    FailureCode.VERIFICATION_EXPIRED: FailureKind(
        "The answer came too late, or the user was reset in between.",
        _START_AGAIN + " A person has VERIFICATION_TTL_SECONDS, a session_token of the hosted flow 5 minutes.",
    ),
    FailureCode.CALLBACK_INTERRUPTED: FailureKind(
        "The callback was interrupted before it was finished.",
        _START_AGAIN + " If it comes back, look for restarts of the service in its log at that time.",
    ),
    FailureCode.TOO_MANY_ATTEMPTS: FailureKind(
        "Too many verifications of this user were begun without success.",
        "Wait until the time in the detail, or let an administrator reset the user (`idv reset USER`). ATTEMPT_LIMIT "
        "and ATTEMPT_WINDOW_HOURS set the limit. Many users at once: look at the errors of their attempts.",
    ),
}  # fmt: skip

_AUTHORIZATION_CODES = frozenset({
    FailureCode.ACCESS_DENIED,
    FailureCode.ACCOUNT_SELECTION_REQUIRED,
    FailureCode.CONSENT_REQUIRED,
    FailureCode.INTERACTION_REQUIRED,
    FailureCode.INVALID_REQUEST,
    FailureCode.INVALID_REQUEST_OBJECT,
    FailureCode.INVALID_REQUEST_URI,
    FailureCode.INVALID_SCOPE,
    FailureCode.INVALID_TARGET,
    FailureCode.LOGIN_REQUIRED,
    FailureCode.REGISTRATION_NOT_SUPPORTED,
    FailureCode.REQUEST_NOT_SUPPORTED,
    FailureCode.REQUEST_URI_NOT_SUPPORTED,
    FailureCode.SERVER_ERROR,
    FailureCode.TEMPORARILY_UNAVAILABLE,
    FailureCode.UNAUTHORIZED_CLIENT,
    FailureCode.UNMET_AUTHENTICATION_REQUIREMENTS,
    FailureCode.UNSUPPORTED_RESPONSE_TYPE,
})  # fmt: skip


def clean(text: str | None) -> str | None:
    """A foreign text made fit to be stored and shown: control and formatting characters out, cut at 200 characters."""
    if not text:
        return None
    # Formatting characters, which are not printable, hold the bidirectional overrides that make one text look like
    # another.
    printable = "".join(c if c.isprintable() else " " for c in text[:4096])
    return " ".join(printable.split())[:MAX_DESCRIPTION].rstrip() or None


def authorization_failure(error: str, description: str | None) -> Failure:
    """The provider's authorization error response as a failure; an unregistered code becomes `authorization_error`."""
    registered = error in _AUTHORIZATION_CODES
    return Failure(FailureCode(error) if registered else FailureCode.AUTHORIZATION_ERROR, clean(description))


def is_about_the_person(failure: Failure) -> bool:
    """Whether the failure takes a standing verification away."""
    return CATALOGUE[failure.code].about_the_person


def counts_towards_the_limit(failure: Failure) -> bool:
    """Whether an attempt that ended so was the person's to lose: one that came too late was, an outage was not."""
    return is_about_the_person(failure) or failure.code is FailureCode.VERIFICATION_EXPIRED


def detail(failure: Failure) -> str:
    """What went wrong, in a sentence or two."""
    sentence = CATALOGUE[failure.code].detail
    return f"{sentence} ({failure.description})" if failure.description else sentence


def detail_in_our_words(failure: Failure) -> str:
    """What went wrong, without what a provider or a browser wrote into an authorization response.

    Such words may name a person.
    """
    foreign = failure.code in _AUTHORIZATION_CODES or failure.code is FailureCode.AUTHORIZATION_ERROR
    return CATALOGUE[failure.code].detail if foreign else detail(failure)


def hint(failure: Failure) -> str:
    """What to do about it."""
    return CATALOGUE[failure.code].hint
