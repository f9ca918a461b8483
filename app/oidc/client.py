"""The relying party: authorization request, callback check, code exchange, userinfo."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

import httpx

from app.oidc import client_auth, http, id_token, jwks, metadata, pkce
from app.oidc.cache import Cached
from app.oidc.client_auth import ClientCredentials
from app.oidc.deadline import Deadline
from app.oidc.errors import (
    Endpoint,
    IdTokenInvalid,
    IssuerMismatch,
    ProtocolError,
    ProviderUnavailable,
    Reason,
    UserinfoSubMismatch,
)
from app.oidc.http import Answer
from app.oidc.id_token import Expectation
from app.oidc.key_set import KeySet
from app.oidc.metadata import ProviderMetadata
from app.oidc.token_answer import TokenAnswer, read_token_answer


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
class Authentication:
    """The claims of an ID token that passed every check, with userinfo.

    Userinfo is of the same subject, or None without a usable one.
    """

    id_token: Mapping[str, Any]
    userinfo: Mapping[str, Any] | None
    tokens: TokenAnswer


class Conversation:
    """What one callback has to say to the provider, on one connection that is no other callback's (decision 0021)."""

    def __init__(self, provider: RelyingParty, line: http.Line) -> None:
        self._provider = provider
        self._line = line

    async def authenticate(self, grant: AuthorizationGrant, *, deadline: Deadline) -> Authentication:
        """Exchange a code, once, and validate what comes back, before `deadline`.

        Raises ProtocolError. Userinfo may stay away.
        """
        return await self._provider._authenticate(grant, self._line, deadline)


class RelyingParty:
    """A client of one provider. It does no I/O until asked; `now` gives seconds since 1970, `monotonic` seconds."""

    def __init__(
        self,
        config: ProviderConfig,
        *,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        observe: http.Observe = http.ignore,
        on_key_refetch: Callable[[], None] | None = None,
    ) -> None:
        self._config = config
        self._http = http.Client(request_seconds=config.request_seconds, observe=observe)
        self._now = now
        self._metadata = Cached(self._load_metadata, monotonic)
        self._keys = KeySet(self._load_keys, config.algorithms, monotonic, on_key_refetch)

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
        """Check that the authorization response is our provider's (RFC 9207 section 2.4), before its code is used.

        Raises IssuerMismatch, and ProviderUnavailable when it cannot be known whether `iss` is required.
        """
        if iss is None:
            if (await self.metadata()).issuer_in_response:
                raise IssuerMismatch
        elif not hmac.compare_digest(iss.encode(), self._config.issuer.encode()):
            raise IssuerMismatch

    @asynccontextmanager
    async def conversation(self, *, at_once: bool = True) -> AsyncIterator[Conversation]:
        """A conversation whose connection begins to be opened at once, or when it is used.

        It is closed at the block's end. The connection is not waited for, so enter while there is something else to do,
        such as asking the database.
        """
        async with self._http.line() as line:
            if at_once and (known := self._metadata.at_hand):
                line.prepare(known.token_endpoint)
            yield Conversation(self, line)

    async def _authenticate(self, grant: AuthorizationGrant, line: http.Line, deadline: Deadline) -> Authentication:
        try:
            async with asyncio.timeout_at(deadline.at):
                provider = await self.metadata()
                tokens = await self._exchange(grant, provider, line)
                claims = await self._validate(tokens, grant.nonce)
        except TimeoutError:
            raise ProviderUnavailable(None, Reason.LATE) from None
        left = min(self._config.request_seconds, deadline.left())
        userinfo = await self._userinfo(provider, tokens.access_token, claims["sub"], line, left)
        return Authentication(id_token=claims, userinfo=userinfo, tokens=tokens)

    async def _exchange(self, grant: AuthorizationGrant, provider: ProviderMetadata, line: http.Line) -> TokenAnswer:
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
        return read_token_answer(await line.post_form(provider.token_endpoint, Endpoint.TOKEN, headers, form))

    async def _validate(self, tokens: TokenAnswer, nonce: str) -> Mapping[str, Any]:
        signed = await self._keys.verify(tokens.id_token)
        id_token.check_id_token(
            signed, self._expectation(), nonce=nonce, access_token=tokens.access_token, now=self._now()
        )
        return signed.claims

    async def _userinfo(
        self, provider: ProviderMetadata, access_token: str, subject: str, line: http.Line, timeout: float
    ) -> Mapping[str, Any] | None:
        """Userinfo of `subject`; None when it cannot be had. Raises UserinfoSubMismatch."""
        if provider.userinfo_endpoint is None or timeout <= 0:
            return None
        headers = {"Authorization": f"Bearer {access_token}", "Accept": "application/json, application/jwt"}
        try:
            async with asyncio.timeout(timeout):
                answer = await line.get(provider.userinfo_endpoint, Endpoint.USERINFO, headers)
                claims = await self._read_userinfo(answer)
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
            signed = await self._keys.verify(answer.body.decode("ascii"))
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
        document = await self._http.get_json(url, Endpoint.DISCOVERY)
        return metadata.parse(document, issuer=self._config.issuer, allow_http=self._config.allow_http)

    async def _load_keys(self) -> tuple[jwks.Jwk, ...]:
        return jwks.parse(await self._http.get_json((await self.metadata()).jwks_uri, Endpoint.KEYS))
