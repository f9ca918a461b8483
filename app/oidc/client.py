"""The relying party: authorization request, callback check, code exchange, userinfo."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

import httpx

from app.oidc import client_auth, http, id_token, jwks, metadata, pkce
from app.oidc.cache import Cached
from app.oidc.client_auth import ClientCredentials
from app.oidc.errors import (
    Endpoint,
    IdTokenInvalid,
    IssuerMismatch,
    ProtocolError,
    ProviderUnavailable,
    Reason,
    TokenEndpointError,
    UserinfoSubMismatch,
)
from app.oidc.http import Answer
from app.oidc.id_token import Expectation
from app.oidc.metadata import ProviderMetadata

# RFC 6749 section 5.2.
_TOKEN_ERRORS = frozenset({
    "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope",
})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderConfig:
    """The provider and our registration there. `request_seconds` bounds one call, from connecting to the last byte."""

    server_url: str
    issuer: str
    credentials: ClientCredentials
    scope: str
    algorithms: frozenset[str]
    leeway_seconds: float
    request_seconds: float
    allow_http: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationGrant:
    """A code and what its authorization request kept back to prove that it is ours."""

    code: str = field(repr=False)
    code_verifier: str = field(repr=False)
    nonce: str = field(repr=False)
    redirect_uri: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenAnswer:
    """A successful token response (RFC 6749 section 5.1)."""

    id_token: str = field(repr=False)
    access_token: str = field(repr=False)
    token_type: str
    expires_in: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Authentication:
    """The claims of an ID token that passed every check, with userinfo of the same subject, or None without a usable one."""

    id_token: Mapping[str, Any]
    userinfo: Mapping[str, Any] | None
    tokens: TokenAnswer


class RelyingParty:
    """A client of one provider. It does no I/O until asked; `now` gives seconds since 1970, `monotonic` seconds."""

    def __init__(
        self,
        config: ProviderConfig,
        client: httpx.AsyncClient,
        *,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        observe: http.Observe = http.ignore,
        on_key_refetch: Callable[[], None] | None = None,
    ) -> None:
        self._config = config
        self._transport = http.Transport(client, request_seconds=config.request_seconds, observe=observe)
        self._now = now
        self._metadata = Cached(self._load_metadata, monotonic)
        self._keys = Cached(self._load_keys, monotonic, on_key_refetch)

    async def metadata(self) -> ProviderMetadata:
        """The provider's metadata. Raises ProviderUnavailable."""
        return await self._metadata.get()

    async def authorization_url(
        self, *, redirect_uri: str, state: str | None, nonce: str, code_verifier: str, login_hint: str | None
    ) -> str:
        """Where to send the browser (OpenID Connect Core 1.0 section 3.1.2.1). Raises ProviderUnavailable."""
        parameters = {
            "response_type": "code",
            "client_id": self._config.credentials.client_id,
            "redirect_uri": redirect_uri,
            "scope": self._config.scope,
            "state": state,
            "nonce": nonce,
            "code_challenge": pkce.code_challenge(code_verifier),
            "code_challenge_method": "S256",
            "login_hint": login_hint,
        }
        given = {name: value for name, value in parameters.items() if value is not None}
        endpoint = urlsplit((await self.metadata()).authorization_endpoint)
        query = "&".join(filter(None, [endpoint.query, urlencode(given, quote_via=quote)]))
        return urlunsplit(endpoint._replace(query=query))

    async def check_response_issuer(self, iss: str | None) -> None:
        """That the authorization response is our provider's (RFC 9207 section 2.4), before its code is used.

        Raises IssuerMismatch, and ProviderUnavailable when it cannot be known whether `iss` is required.
        """
        if iss is None:
            if (await self.metadata()).issuer_in_response:
                raise IssuerMismatch
        elif not hmac.compare_digest(iss.encode(), self._config.issuer.encode()):
            raise IssuerMismatch

    async def authenticate(self, grant: AuthorizationGrant, *, deadline: float) -> Authentication:
        """Exchange a code, once, and validate what comes back, before `deadline` (seconds of the event loop's clock).

        Raises ProtocolError. Userinfo may stay away.
        """
        try:
            async with asyncio.timeout_at(deadline):
                provider = await self.metadata()
                tokens = await self._exchange(grant, provider)
                claims = await self._validate(tokens, grant.nonce)
        except TimeoutError:
            raise ProviderUnavailable(None, Reason.LATE) from None
        left = min(self._config.request_seconds, deadline - asyncio.get_running_loop().time())
        userinfo = await self._userinfo(provider, tokens.access_token, claims["sub"], left)
        return Authentication(id_token=claims, userinfo=userinfo, tokens=tokens)

    async def _exchange(self, grant: AuthorizationGrant, provider: ProviderMetadata) -> TokenAnswer:
        form, headers = client_auth.authenticate(
            self._config.credentials, token_endpoint=provider.token_endpoint, now=self._now()
        )
        form |= {
            "grant_type": "authorization_code",
            "code": grant.code,
            "redirect_uri": grant.redirect_uri,
            "code_verifier": grant.code_verifier,
        }
        headers["Accept"] = "application/json"
        request = self._transport.client.build_request("POST", provider.token_endpoint, data=form, headers=headers)
        return _read_token_answer(await self._transport.send(request, Endpoint.TOKEN))

    async def _validate(self, tokens: TokenAnswer, nonce: str) -> Mapping[str, Any]:
        signed = await self._verify_signature(tokens.id_token)
        id_token.check_id_token(signed, self._expectation(), nonce=nonce, access_token=tokens.access_token, now=self._now())
        return signed.claims

    async def _verify_signature(self, token: str) -> id_token.Signed:
        algorithms = self._config.algorithms
        id_token.read_header(token, algorithms)
        try:
            return id_token.verify_signature(token, await self._keys.get(), algorithms)
        except jwks.NoKeyFits:
            # The provider may have rotated its keys since they were fetched (OpenID Connect Core 1.0 section 10.1.1).
            return id_token.verify_signature(token, await self._keys.refetch(), algorithms)

    async def _userinfo(
        self, provider: ProviderMetadata, access_token: str, subject: str, timeout: float
    ) -> Mapping[str, Any] | None:
        """Userinfo of `subject`; None when it cannot be had. Raises UserinfoSubMismatch."""
        if provider.userinfo_endpoint is None or timeout <= 0:
            return None
        headers = {"Authorization": f"Bearer {access_token}", "Accept": "application/json, application/jwt"}
        try:
            async with asyncio.timeout(timeout):
                request = self._transport.client.build_request("GET", provider.userinfo_endpoint, headers=headers)
                claims = await self._read_userinfo(await self._transport.send(request, Endpoint.USERINFO))
        except (ProtocolError, TimeoutError):
            return None
        if not isinstance(claims.get("sub"), str):
            return None
        if claims["sub"] != subject:
            raise UserinfoSubMismatch
        return claims

    async def _read_userinfo(self, answer: Answer) -> Mapping[str, Any]:
        if answer.status != httpx.codes.OK:
            raise ProviderUnavailable(answer.endpoint, Reason.STATUS, answer.status)
        if answer.media_type != "application/jwt":
            return answer.json_object()
        # OpenID Connect Core 1.0 section 5.3.2: a signed answer names the issuer and us.
        try:
            signed = await self._verify_signature(answer.body.decode("ascii"))
        except UnicodeDecodeError:
            raise IdTokenInvalid("structure") from None
        id_token.check_issuer_and_audience(signed.claims, self._expectation())
        return signed.claims

    def _expectation(self) -> Expectation:
        config = self._config
        return Expectation(
            issuer=config.issuer,
            client_id=config.credentials.client_id,
            algorithms=config.algorithms,
            leeway_seconds=config.leeway_seconds,
        )

    async def _load_metadata(self) -> ProviderMetadata:
        url = self._config.server_url + metadata.WELL_KNOWN
        document = await self._transport.get_json(url, Endpoint.DISCOVERY)
        return metadata.parse(document, issuer=self._config.issuer, allow_http=self._config.allow_http)

    async def _load_keys(self) -> tuple[jwks.Jwk, ...]:
        return jwks.parse(await self._transport.get_json((await self.metadata()).jwks_uri, Endpoint.KEYS))


def _read_token_answer(answer: Answer) -> TokenAnswer:
    """The token answer, or the error in it: TokenEndpointError, ProviderUnavailable, IdTokenInvalid without an ID token."""
    if answer.status == httpx.codes.OK:
        body = answer.json_object()
        if "error" in body:
            raise _token_error(body)
        return _token_answer(body)
    if answer.status not in {httpx.codes.BAD_REQUEST, httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        raise ProviderUnavailable(answer.endpoint, Reason.STATUS, answer.status)
    try:
        error = _token_error(answer.json_object())
    except ProviderUnavailable:
        error = TokenEndpointError("token_exchange_failed")
    if answer.status == httpx.codes.UNAUTHORIZED and error.code == "token_exchange_failed":
        # RFC 6749 section 5.2 reserves 401 for failed client authentication.
        error = TokenEndpointError("invalid_client")
    raise error


def _token_error(body: Mapping[str, Any]) -> TokenEndpointError:
    error = body.get("error")
    return TokenEndpointError(error if isinstance(error, str) and error in _TOKEN_ERRORS else "token_exchange_failed")


def _token_answer(body: Mapping[str, Any]) -> TokenAnswer:
    access_token, token_type = body.get("access_token"), body.get("token_type")
    if not isinstance(access_token, str) or not access_token or not access_token.isascii() or not access_token.isprintable():
        raise ProviderUnavailable(Endpoint.TOKEN, Reason.NO_ACCESS_TOKEN)
    if not isinstance(token_type, str) or token_type.lower() != "bearer":
        raise ProviderUnavailable(Endpoint.TOKEN, Reason.NOT_BEARER)
    token = body.get("id_token")
    if not isinstance(token, str) or not token.isascii():
        raise IdTokenInvalid("missing")
    return TokenAnswer(id_token=token, access_token=access_token, token_type=token_type, expires_in=body.get("expires_in"))
