"""The hosted flow's use-cases of a browser: launch, and come back. A browser that does not belong here gets a page."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from app.core import lifetimes
from app.core.domain import Attempt, Clock, Failure, Flow, Status, Verdict
from app.core.errors import ResponseIssuerMismatch, StateInvalid
from app.flows.addresses import site_of, with_answer
from app.flows.exchange import CALLBACK_SECONDS, AuthorizationResponse, Exchange
from app.flows.session_token import SessionTokens
from app.flows.signed_state import StateSigner
from app.flows.verification import POLL_SECONDS
from app.oidc import ProviderUnavailable, RelyingParty
from app.storage.encryption import Unreadable
from app.storage.store import Store


class PageKind(StrEnum):
    """Why a browser gets a page of ours and not a redirect."""

    BAD_LINK = "bad_link"
    EXPIRED = "expired"
    FINISHED = "finished"
    FOREIGN_BROWSER = "foreign_browser"
    IN_PROGRESS = "in_progress"
    OTHER_TAB = "other_tab"
    PROVIDER_DOWN = "provider_down"
    UNAVAILABLE = "unavailable"
    UNREADABLE = "unreadable"


class PageNeeded(Exception):
    """The browser is told something, and nothing is recorded. `reference` is what an operator looks for."""

    def __init__(self, kind: PageKind, reference: str | None = None) -> None:
        super().__init__(kind)
        self.kind = kind
        self.reference = reference


@dataclass(frozen=True, slots=True)
class Launch:
    """Where a launched browser goes. `cookie` binds it, when it was not bound before."""

    location: str
    cookie: str | None = None


@dataclass(frozen=True, slots=True)
class Return:
    """Where a browser goes that came back, and whose attempt this was."""

    location: str
    attempt_id: str


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a person came from and in which language, as far as it is known."""

    address: str | None = None
    locale: str | None = None


class HostedFlow:
    """The browser's two requests over one store and one provider. Cookies are looked up by the attempt's id."""

    def __init__(
        self,
        *,
        store: Store,
        provider: RelyingParty,
        exchange: Exchange,
        signer: StateSigner,
        session_tokens: SessionTokens,
        clock: Clock,
    ) -> None:
        self._store = store
        self._provider = provider
        self._exchange = exchange
        self._signer = signer
        self._session_tokens = session_tokens
        self._clock = clock

    async def launch(self, attempt_id: str, *, cookies: Mapping[str, str], caller_state: str | None) -> Launch:
        """Bind the browser to the attempt and send it to the provider. The first browser wins. Raises PageNeeded.

        `cookies` are the binding cookies by attempt id.
        """
        attempt = await self._store.attempt(attempt_id)
        if attempt is None or attempt.flow is not Flow.HOSTED:
            raise PageNeeded(PageKind.BAD_LINK)
        bound = _belongs(attempt, cookies)
        if attempt.browser_digest and not bound:
            raise _foreign(attempt, cookies)
        attempt = lifetimes.at(attempt, self._clock())
        if attempt.status is not Status.PENDING:
            return Launch(await self._return_location(attempt))
        return await self._to_provider(attempt, caller_state, cookies, bound=bound)

    async def _to_provider(
        self, attempt: Attempt, caller_state: str | None, cookies: Mapping[str, str], *, bound: bool
    ) -> Launch:
        kept = await self._store.secrets(attempt)
        if kept is None:
            raise PageNeeded(PageKind.FINISHED, attempt.id)
        try:
            location = await self._provider.authorization_url(
                redirect_uri=kept.redirect_uri,
                state=self._signer.sign(attempt),
                nonce=kept.nonce,
                code_verifier=kept.code_verifier,
                login_hint=kept.login_hint,
            )
        except ProviderUnavailable:
            raise PageNeeded(PageKind.PROVIDER_DOWN, attempt.id) from None
        if bound:
            return Launch(location)
        cookie = secrets.token_urlsafe(32)
        kept = replace(kept, caller_state=kept.caller_state or caller_state)
        if not await self._store.bind_browser(attempt, _digest(cookie), kept):
            raise _foreign(attempt, cookies)
        return Launch(location, cookie)

    async def origin(self, attempt_id: str, cookies: Mapping[str, str], caller_state: str | None) -> Origin:
        """Where the person of an attempt came from: for a browser that belongs there the very address, with the caller's state.

        Any other browser learns the site alone: the state belongs to the browser that began. `caller_state` is a launch's own.
        """
        attempt = await self._store.attempt(attempt_id)
        if attempt is None:
            return Origin()
        try:
            kept = await self._store.secrets(attempt)
        except Unreadable:
            kept = None
        if kept is None or kept.return_to is None:
            return Origin()
        if attempt.browser_digest and not _belongs(attempt, cookies):
            return Origin(site_of(kept.return_to))
        return Origin(with_answer(kept.return_to, state=kept.caller_state or caller_state, session_token=None))

    async def receive(self, response: AuthorizationResponse, cookies: Mapping[str, str]) -> Return:
        """Exchange the code, keep the outcome unconfirmed, and say where the browser goes. Raises PageNeeded.

        `cookies` are the binding cookies by attempt id.
        """
        deadline = asyncio.get_running_loop().time() + CALLBACK_SECONDS
        attempt = await self._attempt_of(response, cookies)
        if attempt.status is Status.PENDING:
            try:
                outage = await self._exchange.check(response, attempt)
            except (StateInvalid, ResponseIssuerMismatch):
                raise PageNeeded(PageKind.BAD_LINK, attempt.id) from None
            consumed = await self._store.consume_attempt(attempt, fingerprint=None, finished_by=None, now=self._clock())
            if consumed:
                outcome = await self._exchange.outcome(consumed, response, outage, deadline)
                kept = consumed.secrets
                return Return(await self._keep(consumed.attempt, outcome, kept.return_to, kept.caller_state), attempt.id)
        return Return(await self._wait_for_return(attempt, deadline), attempt.id)

    async def _attempt_of(self, response: AuthorizationResponse, cookies: Mapping[str, str]) -> Attempt:
        attempt_id = self._signer.attempt_id(response.state) if response.state else None
        attempt = await self._store.attempt(attempt_id) if attempt_id else None
        if attempt is None or attempt.flow is not Flow.HOSTED:
            raise PageNeeded(PageKind.BAD_LINK)
        if not _belongs(attempt, cookies):
            raise _foreign(attempt, cookies)
        return attempt

    async def _keep(self, attempt: Attempt, outcome: Verdict | Failure, return_to: str | None, caller_state: str | None) -> str:
        now = self._clock()
        token = self._session_tokens.sign(attempt, caller_state, now)
        location = with_answer(return_to or "", state=caller_state, session_token=token)
        if not await self._store.keep_return(attempt, outcome, location, now):
            raise PageNeeded(PageKind.EXPIRED, attempt.id)
        return location

    async def _wait_for_return(self, attempt: Attempt, deadline: float) -> str:
        current: Attempt | None = attempt
        while current := await self._store.attempt(attempt.id):
            if current.status is not Status.EXCHANGING:
                return await self._return_location(current)
            if lifetimes.is_interrupted(current, self._clock()):
                return await self._give_up(current)
            if asyncio.get_running_loop().time() >= deadline:
                raise PageNeeded(PageKind.IN_PROGRESS, attempt.id)
            await asyncio.sleep(POLL_SECONDS)
        raise PageNeeded(PageKind.BAD_LINK)

    async def _give_up(self, attempt: Attempt) -> str:
        """Bring a browser back whose exchange died, so that the identity provider decides."""
        kept = await self._store.secrets(attempt)
        if kept is None:
            raise PageNeeded(PageKind.FINISHED, attempt.id)
        return await self._keep(attempt, Failure("callback_interrupted"), kept.return_to, kept.caller_state)

    async def _return_location(self, attempt: Attempt) -> str:
        """Where the browser that the attempt is bound to was sent back to: the same again for one that reloads."""
        location = await self._store.return_location(attempt)
        if location is None:
            kind = PageKind.EXPIRED if attempt.status is Status.EXPIRED else PageKind.FINISHED
            raise PageNeeded(kind, attempt.id)
        return location


def _digest(cookie: str) -> str:
    return hashlib.sha256(cookie.encode()).hexdigest()


def _foreign(attempt: Attempt, cookies: Mapping[str, str]) -> PageNeeded:
    """The page of a browser to which the attempt is not bound; one that began another attempt is no stranger."""
    began_another = bool(cookies.keys() - {attempt.id})
    return PageNeeded(PageKind.OTHER_TAB if began_another else PageKind.FOREIGN_BROWSER, attempt.id)


def _belongs(attempt: Attempt, cookies: Mapping[str, str]) -> bool:
    cookie = cookies.get(attempt.id)
    if attempt.browser_digest is None or cookie is None:
        return False
    return hmac.compare_digest(attempt.browser_digest, _digest(cookie))
