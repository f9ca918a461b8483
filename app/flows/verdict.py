"""From the provider's validated answers to a verdict about a person."""

from __future__ import annotations

from collections.abc import Mapping

from app.core.domain import Evidence, Json, Tokens, Verdict
from app.core.evidence import is_usable_score, kept_userinfo, personal_data, status_text, usable_id
from app.oidc import Authentication, IdTokenInvalid


def read_verdict(authentication: Authentication, *, keep_tokens: bool) -> Verdict:
    """The verdict in an ID token and userinfo; ids come from the ID token, else from userinfo, and never from `sub`.

    Raises IdTokenInvalid when the ID token holds an id or a score that no provider would send.
    """
    claims, userinfo = authentication.id_token, authentication.userinfo or {}
    evidence = Evidence(
        interview_id=_id_of(claims, "interview_id") or usable_id(userinfo.get("interview_id")),
        identity_id=_id_of(claims, "identity_id") or usable_id(userinfo.get("identity_id")),
        auth_overall_score=_score(claims.get("auth_overall_score")),
        auth_overall_status=status_text(claims.get("auth_overall_status")),
        pii=personal_data(userinfo),
        userinfo=kept_userinfo(userinfo) if authentication.userinfo is not None else None,
        tokens=_tokens(authentication) if keep_tokens else None,
    )
    return Verdict(evidence, userinfo_answered=authentication.userinfo is not None)


def _id_of(claims: Mapping[str, Json], name: str) -> str | None:
    value = claims.get(name)
    if value is None or value == "":
        return None
    if (usable := usable_id(value)) is None:
        raise IdTokenInvalid(name)
    return usable


def _score(value: Json) -> Json:
    if not is_usable_score(value):
        raise IdTokenInvalid("auth_overall_score")
    return value


def _tokens(authentication: Authentication) -> Tokens:
    answer = authentication.tokens
    return Tokens(
        id_token=answer.id_token,
        access_token=answer.access_token,
        token_type=answer.token_type,
        expires_in=answer.expires_in if is_usable_score(answer.expires_in) else None,
    )
