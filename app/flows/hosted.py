"""The hosted flow: the browser is launched and comes back, and the identity provider confirms what it brought.

A browser that does not belong here gets a page.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from app.core import lifetimes
from app.core.domain import (
    Attempt,
    Clock,
    Decision,
    Failure,
    FailureCode,
    Flow,
    HostedSecrets,
    Status,
    Verdict,
    WayBack,
)
from app.core.errors import ResponseIssuerMismatch, SessionTokenInvalid, StateInvalid, VerificationMismatch
from app.flows.addresses import site_of, with_answer
from app.flows.answers import POLL_SECONDS, Answers
from app.flows.authorization import AuthorizationRequests
from app.flows.exchange import CALLBACK_SECONDS, AuthorizationResponse, Exchange
from app.flows.recording import insist
from app.flows.session_token import SessionTokens
from app.flows.signed_state import StateSigner
from app.oidc import Deadline, ProviderUnavailable
from app.storage.sealed import Returned
from app.storage.store import KeptAttempt, Store


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
        super().__init__()
        self.kind = kind
        self.reference = reference


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Where a launched browser goes. `cookie` binds it, when it was not bound before."""

    location: str
    cookie: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """Where a browser goes that came back, and whose attempt this was."""

    location: str = field(repr=False)
    attempt_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a person came from and in which language, as far as it is known."""

    address: str | None = field(default=None, repr=False)
    locale: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """The session token that the browser brought to the caller.

    `user_id` and `verification_id` are whom, and which attempt, the caller's own session is about.
    """

    user_id: str
    verification_id: str
    session_token: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionConfirmation:
    """The same of a caller that keeps no attempt's id.

    `caller_state` names its own transaction, and the start gave it.
    """

    user_id: str
    caller_state: str
    session_token: str = field(repr=False)


class HostedFlow:
    """The hosted flow over one store and one provider. Cookies are looked up by the attempt's id."""

    def __init__(
        self,
        *,
        store: Store,
        requests: AuthorizationRequests,
        exchange: Exchange,
        answers: Answers,
        signer: StateSigner,
        session_tokens: SessionTokens,
        clock: Clock,
    ) -> None:
        self._store = store
        self._requests = requests
        self._exchange = exchange
        self._answers = answers
        self._signer = signer
        self._session_tokens = session_tokens
        self._clock = clock

    async def launch(self, attempt_id: str, *, cookies: Mapping[str, str], caller_state: str | None) -> Launch | Return:
        """Bind the browser to the attempt and send it to the provider, or back where the attempt has ended.

        The first browser wins. Raises PageNeeded.
        """
        kept = await self._store.kept(attempt_id)
        if kept is None or kept.attempt.flow is not Flow.HOSTED:
            raise PageNeeded(PageKind.BAD_LINK)
        attempt = kept.attempt
        bound = _belongs(attempt, cookies)
        if attempt.browser_digest is not None and not bound:
            raise _foreign(attempt, cookies)
        if lifetimes.as_of(attempt, self._clock()).status is Status.PENDING:
            launch = await self._to_provider(kept, caller_state, bound=bound)
            return launch or await self.launch(attempt_id, cookies=cookies, caller_state=caller_state)
        # Nobody was here in time: the caller's state belongs to the browser that began, which may be another one.
        if not bound:
            raise self._ended(attempt)
        location = await self._wait_for_return(attempt, Deadline.after(CALLBACK_SECONDS))
        return Return(location=location, attempt_id=attempt.id)

    async def _to_provider(self, kept: KeptAttempt, caller_state: str | None, *, bound: bool) -> Launch | None:
        """The launch of a pending attempt; None where another browser, or the attempt's end, was first."""
        attempt, request, way_back = kept.attempt, kept.secrets, kept.way_back
        if not isinstance(request, HostedSecrets) or way_back is None:
            raise PageNeeded(PageKind.UNREADABLE, attempt.id)
        try:
            location = await self._requests.url(attempt, request, request.login_hint)
        except ProviderUnavailable:
            raise PageNeeded(PageKind.PROVIDER_DOWN, attempt.id) from None
        if bound:
            return Launch(location=location)
        cookie = secrets.token_urlsafe(32)
        way_back = replace(way_back, caller_state=way_back.caller_state or caller_state)
        is_first = await self._store.bind_browser(attempt, _digest(cookie), request, way_back)
        return Launch(location=location, cookie=cookie) if is_first else None

    async def origin(self, attempt_id: str, cookies: Mapping[str, str], caller_state: str | None) -> Origin:
        """Where the person of an attempt came from.

        A browser that belongs there learns the very address, with the caller's state; any other one learns the site
        alone, since the state belongs to the browser that began. `caller_state` is a launch's own.
        """
        kept = await self._store.kept(attempt_id)
        if kept is None or kept.way_back is None:
            return Origin(locale=kept.attempt.locale if kept else None)
        attempt, way_back = kept.attempt, kept.way_back
        if attempt.browser_digest is not None and not _belongs(attempt, cookies):
            return Origin(address=site_of(way_back.return_to), locale=attempt.locale)
        address = with_answer(way_back.return_to, state=way_back.caller_state or caller_state, session_token=None)
        return Origin(address=address, locale=attempt.locale)

    async def receive(self, response: AuthorizationResponse, cookies: Mapping[str, str]) -> Return:
        """Exchange the code, keep the outcome unconfirmed, and say where the browser goes. Raises PageNeeded.

        `cookies` are the binding cookies by attempt id.
        """
        deadline = Deadline.after(CALLBACK_SECONDS)
        attempt = await self._attempt_of(response, cookies)
        if lifetimes.is_open(attempt):
            try:
                checked = await self._exchange.check(response, attempt)
            except (StateInvalid, ResponseIssuerMismatch):
                raise PageNeeded(PageKind.BAD_LINK, attempt.id) from None
            async with self._exchange.conversation(checked) as conversation:
                consumed = await self._store.consume_attempt(
                    attempt, fingerprint=None, finished_by=None, now=self._clock()
                )
                outcome = await self._exchange.outcome(consumed, checked, conversation, deadline) if consumed else None
            if consumed and outcome:
                location = await self._keep(consumed.attempt, consumed.way_back, outcome, deadline)
                if location:
                    return Return(location=location, attempt_id=attempt.id)
        return Return(location=await self._wait_for_return(attempt, deadline), attempt_id=attempt.id)

    async def confirm(self, confirmation: Confirmation, finished_by: str) -> Decision:
        """The identity provider hands in the token: what was returned counts. It confirms once.

        Raises, with nothing recorded: VerificationNotFound, VerificationMismatch, SessionTokenInvalid,
        CallbackInProgress and VerificationAlreadyFinished.
        """
        attempt = await self._answers.attempt_of(confirmation.user_id, confirmation.verification_id, Flow.HOSTED)
        session = self._session_tokens.read(confirmation.session_token)
        if session is None:
            raise SessionTokenInvalid
        if (session.user_id, session.verification_id) != (attempt.user_id, attempt.id):
            raise VerificationMismatch
        fingerprint = _digest(confirmation.session_token)
        now = lifetimes.as_of(attempt, self._clock())
        if now.status is Status.RETURNED:
            outcome = await self._outcome_for(attempt, fingerprint)
            return await self._answers.record(
                attempt, outcome, Deadline.after(CALLBACK_SECONDS), fingerprint=fingerprint, finished_by=finished_by
            )
        if now.status is Status.PENDING or lifetimes.is_lapsed(now):
            raise SessionTokenInvalid
        return await self._answers.repeat(attempt, fingerprint, Deadline.after(0))

    async def confirm_transaction(self, confirmation: TransactionConfirmation, finished_by: str) -> Decision:
        """Confirm the attempt that the token names, where it was started in the caller's transaction.

        Raises what `confirm` raises.
        """
        session = self._session_tokens.read(confirmation.session_token)
        if session is None:
            raise SessionTokenInvalid
        # Another transaction's token would confirm what another browser has been through.
        if session.caller_state != confirmation.caller_state:
            raise VerificationMismatch
        named = Confirmation(
            user_id=confirmation.user_id,
            verification_id=session.verification_id,
            session_token=confirmation.session_token,
        )
        return await self.confirm(named, finished_by)

    async def _outcome_for(self, attempt: Attempt, token_digest: str) -> Verdict | Failure:
        """What the token's exchange has brought. Who knows REDIRECT_SECRET can sign a token, but has not issued it."""
        returned = await self._store.returned(attempt)
        if isinstance(returned, Failure):
            return returned
        if not hmac.compare_digest(returned.token_digest, token_digest):
            raise SessionTokenInvalid
        return returned.outcome

    async def _attempt_of(self, response: AuthorizationResponse, cookies: Mapping[str, str]) -> Attempt:
        attempt_id = self._signer.attempt_id(response.state) if response.state else None
        attempt = await self._store.attempt(attempt_id) if attempt_id else None
        if attempt is None or attempt.flow is not Flow.HOSTED:
            raise PageNeeded(PageKind.BAD_LINK)
        if not _belongs(attempt, cookies):
            raise _foreign(attempt, cookies)
        return attempt

    async def _keep(
        self, attempt: Attempt, way_back: WayBack | None, outcome: Verdict | Failure, deadline: Deadline
    ) -> str | None:
        """Keep the outcome, and say where the browser goes; None where the attempt is no longer as it was."""
        if way_back is None:
            raise PageNeeded(PageKind.UNREADABLE, attempt.id)
        now = self._clock()
        token = self._session_tokens.sign(attempt, way_back.caller_state, now)
        location = with_answer(way_back.return_to, state=way_back.caller_state, session_token=token)
        returned = Returned(outcome=outcome, token_digest=_digest(token))

        def write(until: float) -> Awaitable[bool]:
            return self._store.keep_return(attempt, returned, location, now, until=until)

        return location if await insist(write, deadline) else None

    async def _wait_for_return(self, attempt: Attempt, deadline: Deadline) -> str:
        while kept := await self._store.kept(attempt.id):
            current = kept.attempt
            if current.status is not Status.EXCHANGING:
                return await self._return_location(kept)
            # So that the identity provider decides on an exchange that died.
            interrupted = lifetimes.is_interrupted(current, self._clock())
            died = Failure(FailureCode.CALLBACK_INTERRUPTED)
            if interrupted and (location := await self._keep(current, kept.way_back, died, deadline)):
                return location
            if deadline.has_passed():
                raise PageNeeded(PageKind.IN_PROGRESS, attempt.id)
            await asyncio.sleep(POLL_SECONDS)
        raise PageNeeded(PageKind.BAD_LINK)

    async def _return_location(self, kept: KeptAttempt) -> str:
        """Where the browser that the attempt is bound to goes back to: the same again for one that reloads.

        There is no token in it where none was issued, or where a reset or time has withdrawn it.
        """
        location = await self._store.return_location(kept.attempt)
        if location is not None:
            return location
        if kept.way_back is None:
            raise self._ended(kept.attempt)
        return with_answer(kept.way_back.return_to, state=kept.way_back.caller_state, session_token=None)

    def _ended(self, attempt: Attempt) -> PageNeeded:
        """The page of an attempt that has ended, for a browser whose way back is not known."""
        expired = lifetimes.as_of(attempt, self._clock()).status is Status.EXPIRED
        return PageNeeded(PageKind.EXPIRED if expired else PageKind.FINISHED, attempt.id)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _foreign(attempt: Attempt, cookies: Mapping[str, str]) -> PageNeeded:
    """The page of a browser to which the attempt is not bound; one that began another attempt is no stranger."""
    began_another = bool(cookies.keys() - {attempt.id})
    return PageNeeded(PageKind.OTHER_TAB if began_another else PageKind.FOREIGN_BROWSER, attempt.id)


def _belongs(attempt: Attempt, cookies: Mapping[str, str]) -> bool:
    cookie = cookies.get(attempt.id)
    if attempt.browser_digest is None or cookie is None:
        return False
    return hmac.compare_digest(attempt.browser_digest, _digest(cookie))
