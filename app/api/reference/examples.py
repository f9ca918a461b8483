"""The examples of the API's description: one person's story, request by request.

A test plays it against the running service. What an earlier answer gives (`VERIFICATION_ID`, what the provider sends
back, `SESSION_TOKEN`) stands here as a fixed value, and is what that answer gave when the story is played.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from fastapi.responses import HTMLResponse
from pydantic import BaseModel

from app.api.page_words import PAGES, PREVIEW, Words
from app.api.pages import Pages
from app.api.schemas import (
    AuditEntryPage,
    CallbackBody,
    HealthView,
    ReadinessView,
    ResetBody,
    StartBody,
    UserStatusView,
    VerificationPage,
    VerificationView,
    decision_view,
    write_cursor,
)
from app.core import claims, decisions, policy
from app.core.domain import (
    Accepted,
    Attempt,
    AuditAction,
    AuditEntry,
    Decision,
    Evidence,
    Failure,
    FailureCode,
    Flow,
    Purpose,
    Reason,
    Rules,
    Ruling,
    Status,
    UserRecord,
    UserStatus,
    Verdict,
)
from app.core.messages import DEFAULT_LANGUAGE
from app.flows.addresses import site_of
from app.flows.hosted import Origin, PageKind
from app.storage.audit import AuditPage
from app.storage.faults import Cause
from app.storage.store import Page

Example = dict[str, Any]
Examples = dict[str, Example]

USER_ID: Final = "auth0|66f1c0ffee"
OTHER_USER_ID: Final = "samlp|acme|noor@corp.example"
EMAIL: Final = "mei@example.com"
VERIFICATION_ID: Final = "idv_6f1d2c3b4a5968778695a4b3c2d1e0f1"
CODE: Final = "SplxlOBeZQQYbYS6WxSbIA"
STATE: Final = "eyJhbGciOiJIUzI1NiJ9.eyJ2ZXJpZmljYXRpb25faWQiOiJpZHZfNmYxZCJ9.8yUQ0fSHm1E"
ISSUER: Final = "https://auth.demo.incode.com"
SESSION_TOKEN: Final = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhdXRoMHw2NmYxYzBmZmVlIn0.Qf1mZ5n0c2k"  # noqa: S105  it signs nothing
INTERVIEW_ID: Final = "1d930fd42e7c5ad1866d837b"
IDENTITY_ID: Final = "2312120ecbbd3d7b78f3fdec"
AUDIT_ID: Final = "aud_0b1c2d3e4f5061728394a5b6c7d8e9f0"
CALLER: Final = "acme"
ADMINISTRATOR: Final = "root"
RETURN_TO: Final = "https://tenant.us.auth0.com/continue"
CALLER_STATE: Final = "my-own-state"
RETURNED_TO: Final = f"{RETURN_TO}?state={CALLER_STATE}&session_token={SESSION_TOKEN}"
LAUNCH_URL: Final = f"https://idv.example.com/v1/verifications/{VERIFICATION_ID}/launch"
REQUEST_ID: Final = "0f0c9f6c7d6c4f3c9d3d7f0f8d1f2a3b"

_NOW: Final = datetime(2026, 4, 7, 17, 28, 25, 150_000, tzinfo=UTC)
CURSOR: Final = write_cursor((_NOW, VERIFICATION_ID))
_RULES: Final = Rules()
_PII: Final = {
    "name": "Mei Tanaka",
    "given_name": "Mei",
    "family_name": "Tanaka",
    "birthdate": "1995-07-21",
    "email": EMAIL,
}
_EVIDENCE: Final = Evidence(
    interview_id=INTERVIEW_ID,
    identity_id=IDENTITY_ID,
    auth_overall_score="100.0",
    auth_overall_status="OK",
    pii=_PII,
    userinfo={"sub": INTERVIEW_ID, "interview_id": INTERVIEW_ID, "identity_id": IDENTITY_ID, **_PII},
)
_VERIFIED: Final = policy.after_success(None, Accepted(_EVIDENCE), _NOW)
REFUSED: Final = Failure(FailureCode.ACCESS_DENIED, "The verification was refused")


def _authorization_url(
    login_hint: str, state: str = f"&state={STATE}", redirect_uri: str = "https%3A%2F%2Ftenant.us.auth0.com%2Fcontinue"
) -> str:
    return (
        f"{ISSUER}/oauth2/authorize?response_type=code&client_id=4cacb025&redirect_uri={redirect_uri}"
        f"&scope=openid%20profile%20email{state}&nonce=oK8a1Y_6LE-2KP8KolIb3ZZEWvnThHH9-zolt99W45I"
        "&code_challenge=NJdqdR-1Ecnpk2CBcnmLsLQUx4DcP75lWiOp67Z_5Bw&code_challenge_method=S256"
        f"&login_hint={login_hint}"
    )


_TO_IDENTIFY: Final = _authorization_url("mei%40example.com")
_TO_SHOW_THE_FACE: Final = _authorization_url(IDENTITY_ID)
LAUNCHED_TO: Final = _authorization_url(
    "mei%40example.com", redirect_uri="https%3A%2F%2Fidv.example.com%2Fv1%2Fcallback"
)
_WITHOUT_STATE: Final = _authorization_url("mei%40example.com", state="")


def _example(summary: str, value: Any, description: str | None = None) -> Example:
    return {"summary": summary, "value": value} | ({"description": description} if description else {})


def _page(words: Words, answer: HTMLResponse) -> Example:
    return _example(words.title, bytes(answer.body).decode())


def _page_of(kind: PageKind) -> Example:
    if kind in _WITHOUT_ATTEMPT:
        return _page(PAGES[kind][DEFAULT_LANGUAGE], _pages.page(kind, REQUEST_ID))
    origin = Origin(address=None if kind in _WITHOUT_REQUEST else site_of(RETURN_TO))
    return _page(PAGES[kind][DEFAULT_LANGUAGE], _pages.page(kind, VERIFICATION_ID, origin=origin))


def _attempt(flow: Flow = Flow.RELAY, purpose: Purpose = Purpose.LOGIN) -> Attempt:
    return Attempt(
        id=VERIFICATION_ID,
        user_id=USER_ID,
        flow=flow,
        purpose=purpose,
        status=Status.PENDING,
        started_by=CALLER,
        created_at=_NOW,
        expires_at=_NOW + timedelta(hours=1),
    )


def _ruling(outcome: Evidence | Failure, attempt: Attempt) -> Ruling:
    """What is decided about an attempt of somebody who had never been verified."""
    return decisions.rule(outcome if isinstance(outcome, Failure) else Verdict(outcome), attempt, None, _NOW, _RULES)


def _finished_attempt(outcome: Evidence | Failure, flow: Flow = Flow.RELAY) -> Attempt:
    attempt = _attempt(flow)
    ruling = _ruling(outcome, attempt)
    evidence = ruling.evidence or Evidence()
    return replace(
        attempt,
        status=ruling.status,
        finished_by=CALLER,
        finished_at=_NOW,
        interview_id=evidence.interview_id,
        identity_id=evidence.identity_id,
        auth_overall_score=evidence.auth_overall_score,
        auth_overall_status=evidence.auth_overall_status,
        failure=ruling.failure,
    )


def _finish(outcome: Evidence | Failure, flow: Flow = Flow.RELAY) -> Decision:
    return replace(_ruling(outcome, _attempt(flow)).decision, verification=_finished_attempt(outcome, flow))


def _status(record: UserRecord | None) -> UserStatus:
    reason = policy.standing(record, _NOW, _RULES)
    stands = reason is Reason.RECENTLY_VERIFIED and record is not None
    return UserStatus(
        user_id=USER_ID,
        reason=reason,
        reverify_at=policy.reverify_at(record, _RULES) if record and stands else None,
        claims=claims.token_claims(record, reason, _RULES),
        app_metadata=claims.app_metadata(record),
    )


def _decided(summary: str, decision: Decision) -> Example:
    return _shown(summary, decision_view(decision, with_tokens=False))


def _told(summary: str, record: UserRecord | None) -> Example:
    return _shown(summary, UserStatusView.of(_status(record), with_tokens=False))


def _shown(summary: str, view: BaseModel) -> Example:
    return _example(summary, view.model_dump(mode="json"))


def _asked(summary: str, body: BaseModel, description: str | None = None) -> Example:
    return _example(summary, body.model_dump(mode="json", exclude_unset=True), description)


START_REQUESTS: Final[Examples] = {
    "first_login": _asked("A login", StartBody(user_id=USER_ID, email=EMAIL)),
    "returning_user": _asked(
        "The next login",
        StartBody(user_id=USER_ID, email=EMAIL),
        "The request is the same each time: the service remembers.",
    ),
    "auth0": _asked(
        "A login in an Auth0 Action",
        StartBody(user_id=USER_ID, email=EMAIL, omit_state=True),
        "Auth0 adds a `state` of its own to the redirect, so ours is left out.",
    ),
    "step_up": _asked("Before a payment or a password reset", StartBody(user_id=USER_ID, purpose=Purpose.STEP_UP)),
    "step_up_refused": _asked(
        "A step-up of somebody who never verified", StartBody(user_id=OTHER_USER_ID, purpose=Purpose.STEP_UP)
    ),
    "hosted": _asked(
        "A login in the hosted flow",
        StartBody(user_id=USER_ID, email=EMAIL, flow=Flow.HOSTED, return_to=RETURN_TO, state=CALLER_STATE),
    ),
}
_STARTED: Final[Examples] = {
    "first_login": _decided(
        "Never verified: redirect", decisions.redirect(Reason.NEVER_VERIFIED, _TO_IDENTIFY, None, _attempt())
    ),
    "returning_user": _decided("Verified, and the window is open: continue", decisions.standing(_VERIFIED, _RULES)),
    "auth0": _decided(
        "For an Auth0 Action: no state of ours",
        decisions.redirect(Reason.NEVER_VERIFIED, _WITHOUT_STATE, None, _attempt()),
    ),
    "step_up": _decided(
        "Step-up: redirect, and show the enrolled face",
        decisions.redirect(Reason.STEP_UP, _TO_SHOW_THE_FACE, _VERIFIED, _attempt(purpose=Purpose.STEP_UP)),
    ),
    "step_up_refused": _decided(
        "Step-up without an enrolled identity: deny",
        decisions.failed(Failure(FailureCode.IDENTITY_NOT_ESTABLISHED), Purpose.STEP_UP, None, _RULES),
    ),
    "hosted": _decided(
        "Hosted: redirect to our own launch address",
        decisions.redirect(Reason.NEVER_VERIFIED, LAUNCH_URL, None, _attempt(Flow.HOSTED)),
    ),
}
FINISH_REQUESTS: Final[Examples] = {
    "relay": _asked(
        "Relay: what arrived at your redirect URI",
        CallbackBody(user_id=USER_ID, verification_id=VERIFICATION_ID, code=CODE, state=STATE, iss=ISSUER),
        "`verification_id` is `verification.id` of the start; the rest came with the browser.",
    ),
    "provider_error": _asked(
        "Relay: the provider returned an error",
        CallbackBody(
            user_id=USER_ID,
            verification_id=VERIFICATION_ID,
            error=REFUSED.code,
            error_description=REFUSED.description,
            state=STATE,
            iss=ISSUER,
        ),
    ),
    "no_parameters": _asked(
        "Relay: the browser came back with nothing but the state",
        CallbackBody(user_id=USER_ID, verification_id=VERIFICATION_ID, state=STATE),
    ),
    "hosted": _asked(
        "Hosted: the token that the browser brought",
        CallbackBody(user_id=USER_ID, verification_id=VERIFICATION_ID, session_token=SESSION_TOKEN),
        "`session_token` came to `return_to`; `user_id` comes from your own session.",
    ),
}
_FINISHED: Final[Examples] = {
    "relay": _decided("Verified: continue, with the claim", _finish(_EVIDENCE)),
    "provider_error": _decided("Refused: continue without the claim, or deny", _finish(REFUSED)),
    "no_parameters": _decided(
        "Nothing came back: continue without the claim, or deny", _finish(Failure(FailureCode.NO_CODE_RETURNED))
    ),
    "hosted": _decided("Verified in the hosted flow", _finish(_EVIDENCE, Flow.HOSTED)),
}
_USER_STATUS: Final[Examples] = {
    "verified": _told("The verification stands", _VERIFIED),
    "never_verified": _told("A user without a record", None),
}
RESET_REQUESTS: Final[Examples] = {
    "verification": _asked("Verify again, as the same person", ResetBody(identity=False)),
    "identity": _asked("Forget who was enrolled", ResetBody(identity=True)),
}
_RESET: Final[Examples] = {
    "verification": _told("The identity stays enrolled", policy.after_reset(_VERIFIED, forget_identity=False)),
    "identity": _told("Nobody is enrolled any more", policy.after_reset(_VERIFIED, forget_identity=True)),
}
_ATTEMPT: Final[Examples] = {
    "completed": _shown("Verified", VerificationView.of(_finished_attempt(_EVIDENCE))),
    "failed": _shown("Refused", VerificationView.of(_finished_attempt(REFUSED))),
}
_ATTEMPTS: Final[Examples] = {
    "page": _shown(
        "A page, and there is more",
        VerificationPage.of(Page([_finished_attempt(REFUSED)], next=(_NOW, VERIFICATION_ID))),
    ),
    "last_page": _shown("The last page", VerificationPage.of(Page([_attempt()], next=None))),
}
_HEALTH: Final[Examples] = {"ok": _shown("It lives", HealthView())}
_READY: Final[Examples] = {
    "ready": _shown("Ready", ReadinessView(status="ready", checks={"database": "ok", "migrations": "ok"}))
}
_NOT_READY: Final[Examples] = {
    "unreachable": _shown(
        "The database is away",
        ReadinessView(
            status="not_ready",
            checks={
                "database": f"{Cause.FILE_NOT_WRITABLE.words}. {Cause.FILE_NOT_WRITABLE.remedy}",
                "migrations": "unknown",
            },
        ),
    )
}
_METRICS: Final[Examples] = {
    "metrics": _example(
        "Some of the lines",
        "# HELP idv_decisions_total Decisions by action and reason.\n"
        "# TYPE idv_decisions_total counter\n"
        'idv_decisions_total{action="redirect",reason="never_verified"} 1.0\n',
    )
}
# These know of no attempt: what a person can tell is the request's id.
_WITHOUT_ATTEMPT: Final = {PageKind.BAD_LINK, PageKind.UNAVAILABLE}
# Nothing can be read of it: where the person came from is not known.
_WITHOUT_REQUEST: Final = {PageKind.UNREADABLE}
_pages: Final = Pages()
_PAGES: Final[Examples] = {
    **{kind: _page_of(kind) for kind in PAGES},
    "preview": _page(PREVIEW[DEFAULT_LANGUAGE], _pages.preview("?person=yes")),
}
_RESET_BY_AN_ADMINISTRATOR: Final = AuditEntry(
    id=AUDIT_ID, at=_NOW, action=AuditAction.RESET, by=ADMINISTRATOR, user_id=USER_ID, request_id=REQUEST_ID
)
_AUDIT_ENTRIES: Final[Examples] = {
    "page": _shown(
        "A page, and there is more",
        AuditEntryPage.of(AuditPage([_RESET_BY_AN_ADMINISTRATOR], next=(_NOW, VERIFICATION_ID))),
    ),
}
USER_IDS: Final[Examples] = {
    "auth0": _example("Of Auth0", USER_ID),
    "saml": _example("With characters that a path does not take as they are", OTHER_USER_ID),
}
VERIFICATION_IDS: Final[Examples] = {"verification": _example("Of the answer that started it", VERIFICATION_ID)}
_CLAIMS: Final = claims.token_claims(_VERIFIED, Reason.RECENTLY_VERIFIED, _RULES)
_CLAIM: Final = _CLAIMS[_RULES.claim_namespace]
_FLAT: Final = {
    "incode_idv_completed": "true",
    "incode_idv_completed_at": claims.timestamp(_NOW),
    "incode_idv_interview_id": INTERVIEW_ID,
    "incode_idv_identity_id": IDENTITY_ID,
    "incode_idv_auth_overall_score": "100.0",
    "incode_idv_auth_overall_status": "OK",
    **{f"incode_idv_{name}": value for name, value in _PII.items()},
}
_LOGIN: Final = {"iss": "https://id.example.com", "sub": USER_ID, "aud": ["shop"]}
HYDRA_REQUESTS: Final[Examples] = {
    "login": _example(
        "A login, or a refresh",
        {
            "session": {
                "id_token": {"id_token_claims": {**_LOGIN, "ext": {"plan": "gold"}}, "subject": USER_ID},
                "extra": {"plan": "gold"},
                "client_id": "shop",
            },
            "request": {"client_id": "shop", "granted_scopes": ["openid"], "grant_types": ["authorization_code"]},
        },
    )
}
SUPABASE_REQUESTS: Final[Examples] = {
    "login": _example(
        "An access token",
        {
            "user_id": USER_ID,
            "claims": {"sub": USER_ID, "role": "authenticated", "aal": "aal1", "email": EMAIL, "is_anonymous": False},
            "authentication_method": "password",
        },
    )
}
OKTA_REQUESTS: Final[Examples] = {
    "login": _example(
        "An ID token and an access token",
        {
            "eventType": "com.okta.oauth2.tokens.transform",
            "data": {
                "context": {"user": {"id": USER_ID}, "protocol": {"request": {"grant_type": "authorization_code"}}},
                "identity": {"claims": {"sub": USER_ID}},
                "access": {"claims": {"sub": EMAIL}},
            },
        },
    )
}
ENTRA_REQUESTS: Final[Examples] = {
    "login": _example(
        "A token is about to be issued",
        {
            "type": "microsoft.graph.authenticationEvent.tokenIssuanceStart",
            "data": {
                "@odata.type": "microsoft.graph.onTokenIssuanceStartCalloutData",
                "tenantId": "11111111-2222-3333-4444-555555555555",
                "authenticationContext": {"user": {"id": USER_ID, "mail": EMAIL}},
            },
        },
    )
}
ZITADEL_REQUESTS: Final[Examples] = {
    "login": _example(
        "Before userinfo, or before an access token",
        {
            "function": "function/preuserinfo",
            "user": {"id": USER_ID, "human": {"email": EMAIL}},
            "org": {"id": "312909075211944344"},
            "application": {"client_id": "shop"},
        },
    )
}
WSO2_TOKEN_REQUESTS: Final[Examples] = {
    "id_token": _example(
        "An ID token",
        {
            "actionType": "PRE_ISSUE_ID_TOKEN",
            "event": {
                "request": {"grantType": "authorization_code", "clientId": "shop", "scopes": ["openid"]},
                "user": {"id": USER_ID},
                "idToken": {"claims": [{"name": "sub", "value": USER_ID}]},
            },
        },
    )
}
WSO2_AUTHENTICATION_REQUESTS: Final[Examples] = {
    "first": _example(
        "A login has come to this step",
        {
            "actionType": "AUTHENTICATION",
            "flowId": CALLER_STATE,
            "event": {"request": {}, "tenant": {"name": "carbon.super"}, "user": {"id": USER_ID}},
            "allowedOperations": [{"op": "redirect"}],
        },
    ),
    "back": _example(
        "The browser is back, with the token",
        {
            "actionType": "AUTHENTICATION",
            "flowId": CALLER_STATE,
            "event": {
                "request": {"additionalParams": [{"name": "session_token", "value": [SESSION_TOKEN]}]},
                "tenant": {"name": "carbon.super"},
                "user": {"id": USER_ID},
            },
            "allowedOperations": [{"op": "redirect"}],
        },
    ),
}
_TO_MINT: Final[dict[str, Examples]] = {
    "answerHydra": {
        "login": _example(
            "What was there, and the claim",
            {"session": {"access_token": {"plan": "gold", **_CLAIMS}, "id_token": {"plan": "gold", **_CLAIMS}}},
        )
    },
    "answerSupabase": {
        "login": _example(
            "What was there, and the claim", {"claims": {**SUPABASE_REQUESTS["login"]["value"]["claims"], **_CLAIMS}}
        )
    },
    "answerOkta": {
        "login": _example(
            "The claim for both tokens",
            {
                "commands": [
                    {
                        "type": f"com.okta.{token}.patch",
                        "value": [{"op": "add", "path": "/claims/incode_idv", "value": _CLAIM}],
                    }
                    for token in ("identity", "access")
                ]
            },
        )
    },
    "answerEntra": {
        "login": _example(
            "The claim's members",
            {
                "data": {
                    "@odata.type": "microsoft.graph.onTokenIssuanceStartResponseData",
                    "actions": [
                        {"@odata.type": "microsoft.graph.tokenIssuanceStart.provideClaimsForToken", "claims": _FLAT}
                    ],
                }
            },
        )
    },
    "answerZitadel": {
        "login": _example(
            "The claim", {"append_claims": [{"key": name, "value": value} for name, value in _CLAIMS.items()]}
        )
    },
    "answerWso2Token": {
        "id_token": _example(
            "The claim",
            {
                "actionStatus": "SUCCESS",
                "operations": [
                    {"op": "add", "path": "/idToken/claims/-", "value": {"name": name, "value": value}}
                    for name, value in _CLAIMS.items()
                ],
            },
        )
    },
    "answerWso2Authentication": {
        "first": _example(
            "The browser goes to our launch address",
            {"actionStatus": "INCOMPLETE", "operations": [{"op": "redirect", "url": LAUNCH_URL}]},
        ),
        "back": _example("Verified", {"actionStatus": "SUCCESS"}),
    },
}
ANSWERS: Final[dict[str, Examples]] = {
    "startVerification": _STARTED,
    "finishVerification": _FINISHED,
    "getUserStatus": _USER_STATUS,
    "resetUser": _RESET,
    "getVerification": _ATTEMPT,
    "listVerifications": _ATTEMPTS,
    "listAudit": _AUDIT_ENTRIES,
    "getHealth": _HEALTH,
    "getReadiness": _READY,
    "getReadiness.503": _NOT_READY,
    "getMetrics": _METRICS,
    "page": _PAGES,
    **_TO_MINT,
}
"""The answers that are no problems, by the operation's id and their names, and the pages of a browser."""
