"""The five endpoints: from a request that was read to an answer, without waiting for anything."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from starlette.responses import JSONResponse, RedirectResponse, Response

from app.sandbox import authorization, pages
from app.sandbox.authorization import AuthorizationRequest
from app.sandbox.client_authentication import ClientAuthentication
from app.sandbox.config import SandboxConfig
from app.sandbox.errors import ProtocolError, UntrustedRequestError
from app.sandbox.forgery import Workshop
from app.sandbox.grants import ACCESS_TOKEN_LIFETIME, Grant, Grants
from app.sandbox.incoming import Incoming
from app.sandbox.metadata import discovery_document
from app.sandbox.outcomes import OUTCOMES, Outcome
from app.sandbox.people import People, released
from app.sandbox.persona import HONEST
from app.sandbox.scopes import claims_of
from app.sandbox.signing import SigningKey, at_hash

ID_TOKEN_LIFETIME: Final = 300


class Provider:
    """An OpenID provider for the authorization code flow.

    `config`, `key` and `persona` may be replaced by another thread at any time: each answer reads them once.
    """

    def __init__(self, config: SandboxConfig, clock: Callable[[], datetime], key: SigningKey) -> None:
        self.config = config
        self.key = key
        self.persona = HONEST
        self._clock = clock
        self._people = People()
        self._grants = Grants()
        self._clients = ClientAuthentication()

    def discovery(self, _: Incoming) -> Response:
        """Answer with the discovery document (OpenID Connect Discovery 1.0 section 4)."""
        return JSONResponse(dict(self.persona.discovery(discovery_document(self.config))))

    def jwks(self, _: Incoming) -> Response:
        """Answer with the public signing key (RFC 7517 section 5)."""
        return JSONResponse({"keys": self.persona.keys(self.key.public_jwk())})

    def authorize(self, incoming: Incoming) -> Response:
        """Show the choice, or send the browser back with its outcome (OpenID Connect Core 1.0 section 3.1.2)."""
        config = self.config
        issuer = self.persona.issuer(config.issuer)
        try:
            address = authorization.reply_address(incoming, config)
            outcome = _chosen_outcome(incoming)
        except UntrustedRequestError as refusal:
            return pages.message_page("This request cannot be answered", str(refusal), 400)
        try:
            request = authorization.check(incoming, address, config)
        except ProtocolError as refusal:
            return RedirectResponse(address.url(issuer, refusal.fields), 303)
        if outcome is None:
            return pages.choice_page(request, incoming.parameters)
        return RedirectResponse(address.url(issuer, self._conclude(request, outcome)), 303)

    def _conclude(self, request: AuthorizationRequest, outcome: Outcome) -> dict[str, str]:
        if outcome.instead_of_code is not None:
            return dict(outcome.instead_of_code)
        subject = self._people.identify(request.hint)
        grant = Grant(
            client_id=request.reply_address.client.client_id,
            redirect_uri=request.reply_address.redirect_uri,
            scopes=request.scopes,
            nonce=request.nonce,
            code_challenge=request.code_challenge,
            outcome=outcome,
            subject=self._people.somebody_else(subject) if outcome.another_person else subject,
            interview_id=secrets.token_hex(12),
        )
        return {"code": self._grants.issue_code(grant, self._clock())}

    def token(self, incoming: Incoming) -> Response:
        """Exchange a code (OpenID Connect Core 1.0 section 3.1.3)."""
        try:
            return self._exchange(incoming)
        except ProtocolError as refusal:
            challenged = refusal.status == 401 and incoming.credentials("basic") is not None
            headers = {"WWW-Authenticate": 'Basic realm="sandbox"'} if challenged else None
            return JSONResponse(refusal.fields, refusal.status, headers)

    def _exchange(self, incoming: Incoming) -> Response:
        config, now, form = self.config, self._clock(), incoming.parameters
        if incoming.repeated:
            raise ProtocolError("invalid_request", "A parameter came more than once")
        client = self._clients.authenticate(incoming, config, now)
        if "grant_type" not in form or "code" not in form:
            raise ProtocolError("invalid_request", "grant_type or code is missing")
        if form["grant_type"] != "authorization_code":
            raise ProtocolError("unsupported_grant_type", "Only authorization_code is supported")
        promised = self._grants.of_code(form["code"])
        if promised and "token" in promised.outcome.down:
            return unavailable()
        grant, access_token = self._grants.redeem(form, client.client_id, now)
        persona, workshop = self.persona, self._workshop(config, client.client_id)
        claims = persona.id_token(_id_token_claims(config.issuer, grant, access_token, now))
        answer = {
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": int(ACCESS_TOKEN_LIFETIME.total_seconds()),
            "scope": " ".join(grant.scopes),
            "id_token": persona.mint(claims, workshop),
        }
        return persona.token_answer(answer, workshop)

    def userinfo(self, incoming: Incoming) -> Response:
        """Answer with the claims that the granted scopes allow (OpenID Connect Core 1.0 section 5.3)."""
        access_token = incoming.credentials("bearer")
        if access_token is None:
            return _bearer_challenge("Bearer")
        grant = self._grants.of_access_token(access_token, self._clock())
        if grant is None:
            return _bearer_challenge('Bearer error="invalid_token"')
        if "userinfo" in grant.outcome.down:
            return unavailable()
        config, persona = self.config, self.persona
        return persona.userinfo_answer(
            persona.userinfo(_userinfo_claims(grant)), self._workshop(config, grant.client_id)
        )

    def _workshop(self, config: SandboxConfig, client_id: str) -> Workshop:
        client = config.client(client_id)
        return Workshop(config.issuer, self.key, client_id, client.client_secret if client else "")


def unavailable() -> Response:
    """Answer as a provider that is down."""
    return JSONResponse({"error": "temporarily_unavailable"}, 503)


def _bearer_challenge(challenge: str) -> Response:
    """Refuse as RFC 6750 section 3 asks: without an error code where no token came."""
    return Response(status_code=401, headers={"WWW-Authenticate": challenge})


def _chosen_outcome(incoming: Incoming) -> Outcome | None:
    key = incoming.parameters.get("outcome")
    if key is not None and key not in OUTCOMES:
        raise UntrustedRequestError("This sandbox does not know the outcome that was asked for.")
    return OUTCOMES[key] if key else None


def _id_token_claims(issuer: str, grant: Grant, access_token: str, now: datetime) -> Mapping[str, object]:
    issued_at = int(now.timestamp())
    claims = {
        "iss": issuer,
        "sub": grant.interview_id,
        "aud": grant.client_id,
        "iat": issued_at,
        "exp": issued_at + ID_TOKEN_LIFETIME,
        "at_hash": at_hash(access_token),
        "interview_id": grant.interview_id,
        "identity_id": grant.subject.identity_id,
        "auth_overall_score": "100.0",
        "auth_overall_status": "OK",
    }
    return grant.outcome.id_token(claims if grant.nonce is None else {**claims, "nonce": grant.nonce})


def _userinfo_claims(grant: Grant) -> Mapping[str, object]:
    claims = {
        "sub": grant.interview_id,
        "interview_id": grant.interview_id,
        "identity_id": grant.subject.identity_id,
    }
    return grant.outcome.userinfo({**claims, **released(grant.subject.person, claims_of(grant.scopes))})
