"""What was granted: codes, which work once, and the access tokens that they were exchanged for."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from hmac import compare_digest
from typing import Final

from app.sandbox.errors import ProtocolError
from app.sandbox.outcomes import Outcome
from app.sandbox.people import Subject
from app.sandbox.signing import base64url

ACCESS_TOKEN_LIFETIME: Final = timedelta(minutes=5)


@dataclass(frozen=True)
class Grant:
    """One finished verification, and for whom its result is."""

    client_id: str
    redirect_uri: str
    scopes: tuple[str, ...]
    nonce: str | None
    code_challenge: str | None
    outcome: Outcome
    subject: Subject
    interview_id: str


@dataclass
class _Code:
    grant: Grant
    expires_at: datetime
    access_token: str | None = None


class Grants:
    """The codes and access tokens that are out; only the event loop touches them."""

    def __init__(self) -> None:
        self._codes: dict[str, _Code] = {}
        self._access_tokens: dict[str, tuple[Grant, datetime]] = {}

    def issue_code(self, grant: Grant, now: datetime) -> str:
        """Make a code that lives as long as the outcome says (RFC 6749 section 4.1.2)."""
        code = secrets.token_urlsafe(32)
        self._codes[code] = _Code(grant, now + grant.outcome.code_lifetime)
        return code

    def of_code(self, code: str) -> Grant | None:
        """Find what a code stands or stood for, without using it."""
        entry = self._codes.get(code)
        return entry.grant if entry else None

    def redeem(self, form: dict[str, str], client_id: str, now: datetime) -> tuple[Grant, str]:
        """Exchange a code for an access token, once.

        Raises:
            ProtocolError: `invalid_grant` (RFC 6749 section 5.2, RFC 7636 section 4.6).
        """
        entry = self._codes.get(form["code"])
        if entry is None or entry.grant.client_id != client_id:
            raise ProtocolError("invalid_grant", "The code is unknown")
        if entry.access_token is not None:
            # RFC 6749 section 4.1.2: a code that comes twice was stolen, so what it bought is worthless.
            self._access_tokens.pop(entry.access_token, None)
            raise ProtocolError("invalid_grant", "The code was used before")
        if now >= entry.expires_at:
            raise ProtocolError("invalid_grant", "The code has expired")
        if form.get("redirect_uri") != entry.grant.redirect_uri:
            raise ProtocolError("invalid_grant", "redirect_uri is not that of the authorization request")
        _check_verifier(form.get("code_verifier"), entry.grant.code_challenge)
        entry.access_token = secrets.token_urlsafe(32)
        self._access_tokens[entry.access_token] = (entry.grant, now + ACCESS_TOKEN_LIFETIME)
        return entry.grant, entry.access_token

    def of_access_token(self, access_token: str, now: datetime) -> Grant | None:
        """Find what a living access token stands for."""
        grant, expires_at = self._access_tokens.get(access_token, (None, now))
        return grant if now < expires_at else None


def _check_verifier(verifier: str | None, challenge: str | None) -> None:
    if challenge is None:
        return
    hashed = base64url(hashlib.sha256((verifier or "").encode()).digest())
    well_formed = re.fullmatch("[A-Za-z0-9._~-]{43,128}", verifier or "")
    if not well_formed or not compare_digest(hashed, challenge):
        raise ProtocolError("invalid_grant", "code_verifier does not fit code_challenge")
