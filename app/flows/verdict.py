"""From the provider's validated answers to a verdict about a person."""

from __future__ import annotations

import json
from collections.abc import Mapping

from app.core.domain import Evidence, Json, Tokens, Verdict
from app.oidc import Authentication, IdTokenInvalid

PII_CLAIMS = ("name", "given_name", "family_name", "birthdate", "email", "phone_number", "address")
MAX_USERINFO_BYTES = 16 * 1024
MAX_PII_BYTES = 4 * 1024
MAX_ID_LENGTH = 255


def read_verdict(authentication: Authentication, *, keep_tokens: bool) -> Verdict:
    """The verdict in an ID token and userinfo; ids come from the ID token, else from userinfo, and never from `sub`.

    Raises IdTokenInvalid when the ID token holds an id or a score that no provider would send.
    """
    claims, userinfo = authentication.id_token, authentication.userinfo or {}
    evidence = Evidence(
        interview_id=_id_of(claims, "interview_id") or _usable_id(userinfo.get("interview_id")),
        identity_id=_id_of(claims, "identity_id") or _usable_id(userinfo.get("identity_id")),
        auth_overall_score=_score(claims.get("auth_overall_score")),
        auth_overall_status=_status(claims.get("auth_overall_status")),
        pii={name: userinfo[name] for name in PII_CLAIMS if _is_usable_pii(userinfo.get(name))},
        userinfo=userinfo if authentication.userinfo is not None and _fits(userinfo, MAX_USERINFO_BYTES) else None,
        tokens=_tokens(authentication) if keep_tokens else None,
    )
    return Verdict(evidence, userinfo_answered=authentication.userinfo is not None)


def _id_of(claims: Mapping[str, Json], name: str) -> str | None:
    value = claims.get(name)
    if value is None or value == "":
        return None
    if (usable := _usable_id(value)) is None:
        raise IdTokenInvalid(name)
    return usable


def _usable_id(value: Json) -> str | None:
    if isinstance(value, str) and 0 < len(value) <= MAX_ID_LENGTH and value.isprintable():
        return value
    return None


def _score(value: Json) -> Json:
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, str) and len(value) <= MAX_ID_LENGTH:
        return value
    raise IdTokenInvalid("auth_overall_score")


def _status(value: Json) -> str | None:
    if value is None or isinstance(value, str):
        return value if value is None else value[:MAX_ID_LENGTH]
    return json.dumps(value)[:MAX_ID_LENGTH]


def _is_usable_pii(value: Json) -> bool:
    # The claim goes into tokens, and these into HTTP headers: a provider's megabyte would lock the person out everywhere.
    return value not in (None, "") and _fits(value, MAX_PII_BYTES)


def _fits(value: Json, size: int) -> bool:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()) <= size


def _tokens(authentication: Authentication) -> Tokens:
    answer = authentication.tokens
    return Tokens(
        id_token=answer.id_token,
        access_token=answer.access_token,
        token_type=answer.token_type,
        expires_in=answer.expires_in,
    )
