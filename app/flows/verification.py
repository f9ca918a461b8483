"""The use-cases of a caller with an API key: start, finish, tell a user's status, reset, erase, look at attempts."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta

from app.core import claims, decisions, lifetimes, policy
from app.core.domain import (
    Action,
    Addresses,
    Attempt,
    Clock,
    Decision,
    Failure,
    Flow,
    Purpose,
    Reason,
    RequestSecrets,
    Rules,
    Ruling,
    Status,
    UserRecord,
    UserStatus,
    Verdict,
)
from app.core.errors import (
    CallbackInProgress,
    RequestInvalid,
    SessionTokenInvalid,
    VerificationAlreadyFinished,
    VerificationMismatch,
    VerificationNotFound,
)
from app.flows.addresses import is_allowed
from app.flows.exchange import CALLBACK_SECONDS, AuthorizationResponse, Exchange, failure_of
from app.flows.session_token import SessionTokens
from app.flows.signed_state import StateSigner
from app.oidc import ProviderUnavailable, RelyingParty, new_code_verifier
from app.storage.store import AttemptFilter, Page, Store

POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class StartRequest:
    """What a caller asks for. `email` is the `login_hint` of a person's first verification."""

    user_id: str
    email: str | None = field(default=None, repr=False)
    purpose: Purpose = Purpose.LOGIN
    flow: Flow | None = None
    force: bool = False
    omit_state: bool = False
    return_to: str | None = None
    state: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Callback:
    """What the caller hands in, and whom its own session is about: a response (relay) or a session token (hosted)."""

    user_id: str
    verification_id: str | None = None
    response: AuthorizationResponse = field(default_factory=AuthorizationResponse)
    session_token: str | None = field(default=None, repr=False)

    def fingerprint(self) -> str:
        """The same for the same parameters, and useless for anything else."""
        parameters = {**asdict(self.response), "session_token": self.session_token}
        return hashlib.sha256(json.dumps(parameters, sort_keys=True).encode("ascii")).hexdigest()


class Verifications:
    """The use-cases over one store and one provider."""

    def __init__(
        self,
        *,
        store: Store,
        provider: RelyingParty,
        exchange: Exchange,
        signer: StateSigner,
        session_tokens: SessionTokens,
        rules: Rules,
        addresses: Addresses,
        lifetime: timedelta,
        clock: Clock,
    ) -> None:
        self._store = store
        self._provider = provider
        self._exchange = exchange
        self._signer = signer
        self._session_tokens = session_tokens
        self._rules = rules
        self._addresses = addresses
        self._lifetime = lifetime
        self._clock = clock

    async def start(self, request: StartRequest, started_by: str) -> Decision:
        """Whether the user must be verified now and, if so, where to send the browser. Raises RequestInvalid."""
        flow = request.flow or (Flow.RELAY if self._addresses.redirect_uris else Flow.HOSTED)
        self._check_flow(request, flow)
        record = await self._store.user(request.user_id)
        now = self._clock()
        reason = policy.reason_to_verify(record, now, self._rules, purpose=request.purpose, force=request.force)
        if reason is None:
            return decisions.standing(record, self._rules)
        failure = await self._obstacle(request, record, now)
        if failure:
            return decisions.failed(failure, request.purpose, record, self._rules)
        attempt = self._new_attempt(request, flow, started_by, now)
        login_hint = (record.identity_id if record else None) or request.email
        kept = self._new_secrets(request, flow, login_hint)
        try:
            url = await self._redirect_url(request, attempt, kept, login_hint)
        except ProviderUnavailable as error:
            return decisions.failed(failure_of(error), request.purpose, record, self._rules)
        await self._store.add_attempt(attempt, kept)
        metadata = claims.app_metadata(record)
        return Decision(Action.REDIRECT, reason, redirect_url=url, app_metadata=metadata, verification=attempt)

    async def finish(self, callback: Callback, finished_by: str) -> Decision:
        """The decision on a callback. The first of many decides, and the others get its answer.

        Raises, with nothing recorded: VerificationNotFound, VerificationMismatch, StateInvalid, ResponseIssuerMismatch,
        SessionTokenInvalid, CallbackInProgress and VerificationAlreadyFinished.
        """
        if callback.session_token is not None:
            return await self._confirm(callback, callback.session_token, finished_by)
        deadline = asyncio.get_running_loop().time() + CALLBACK_SECONDS
        attempt = await self._find(callback)
        if attempt.status is Status.PENDING:
            outage = await self._exchange.check(callback.response, attempt)
            consumed = await self._store.consume_attempt(
                attempt, fingerprint=callback.fingerprint(), finished_by=finished_by, now=self._clock()
            )
            if consumed:
                outcome = await self._exchange.outcome(consumed, callback.response, outage, deadline)
                return await self._record(consumed.attempt, outcome)
            attempt = await self._reload(attempt)
        return await self._repeat(attempt, callback, deadline)

    async def status(self, user_id: str) -> UserStatus:
        """Whether the user's verification stands now."""
        record = await self._store.user(user_id)
        reason = policy.standing(record, self._clock(), self._rules)
        stands = reason is Reason.RECENTLY_VERIFIED and record is not None
        return UserStatus(
            user_id=user_id,
            reason=reason,
            reverify_at=policy.reverify_at(record, self._rules) if record and stands else None,
            claims=claims.claims(record, reason, self._rules),
            app_metadata=claims.app_metadata(record),
        )

    async def reset(self, user_id: str, *, forget_identity: bool) -> UserStatus:
        """Make the next login verify again, and withdraw what was begun or answered before."""

        def change(record: UserRecord) -> UserRecord:
            return policy.after_reset(record, forget_identity=forget_identity)

        await self._store.reset_user(user_id, change, self._clock())
        return await self.status(user_id)

    async def erase(self, user_id: str) -> None:
        """Forget the user and every attempt."""
        await self._store.erase_user(user_id)

    async def attempt(self, attempt_id: str) -> Attempt:
        """An attempt as it stands now. Raises VerificationNotFound."""
        attempt = await self._store.attempt(attempt_id)
        if attempt is None:
            raise VerificationNotFound
        return lifetimes.at(attempt, self._clock())

    async def attempts(self, wanted: AttemptFilter) -> Page:
        """A page of attempts as they stand now, newest first."""
        now = self._clock()
        page = await self._store.attempts(wanted, now)
        return Page([lifetimes.at(attempt, now) for attempt in page.attempts], page.next)

    def _check_flow(self, request: StartRequest, flow: Flow) -> None:
        """That what is asked for fits the flow, and that the flow is configured. Raises RequestInvalid."""
        wrong: list[dict[str, str]] = []
        if flow is Flow.RELAY:
            if not self._addresses.redirect_uris:
                wrong.append({"field": "body.flow", "message": "relay needs REDIRECT_URI or AUTH0_DOMAIN to be set"})
            hosted_only = {"return_to": request.return_to, "state": request.state}
            wrong += [
                {"field": f"body.{name}", "message": "belongs to the hosted flow"} for name, given in hosted_only.items() if given
            ]
        else:
            if not self._addresses.return_urls:
                wrong.append({"field": "body.flow", "message": "hosted needs RETURN_URLS or AUTH0_DOMAIN to be set"})
            elif request.return_to and not is_allowed(request.return_to, self._addresses.return_urls):
                wrong.append({"field": "body.return_to", "message": "is not one of RETURN_URLS"})
            if request.omit_state:
                wrong.append({"field": "body.omit_state", "message": "belongs to the relay flow"})
        if wrong:
            raise RequestInvalid(wrong)

    async def _obstacle(self, request: StartRequest, record: UserRecord | None, now: datetime) -> Failure | None:
        if request.purpose is Purpose.STEP_UP and not (record and record.identity_id):
            return Failure("identity_not_established")
        since = now - timedelta(hours=self._rules.attempt_window_hours)
        failed = await self._store.failures_about_the_person(request.user_id, request.purpose, since, lifetimes.latest(now))
        until = policy.locked_until(failed, now, self._rules)
        return Failure("too_many_attempts", f"try again after {claims.timestamp(until)}") if until else None

    def _new_attempt(self, request: StartRequest, flow: Flow, started_by: str, now: datetime) -> Attempt:
        return Attempt(
            id=f"idv_{secrets.token_hex(16)}",
            user_id=request.user_id,
            flow=flow,
            purpose=request.purpose,
            status=Status.PENDING,
            started_by=started_by,
            created_at=now,
            expires_at=now + self._lifetime,
        )

    def _new_secrets(self, request: StartRequest, flow: Flow, login_hint: str | None) -> RequestSecrets:
        """What is kept of the request; of the relay flow's no login hint, since its redirect is made at once."""
        nonce, verifier = secrets.token_urlsafe(32), new_code_verifier()
        if flow is Flow.RELAY:
            return RequestSecrets(nonce, verifier, self._addresses.redirect_uris[0])
        return RequestSecrets(
            nonce,
            verifier,
            self._addresses.callback_url,
            login_hint=login_hint,
            return_to=request.return_to or self._addresses.return_urls[0],
            caller_state=request.state,
        )

    async def _redirect_url(self, request: StartRequest, attempt: Attempt, kept: RequestSecrets, login_hint: str | None) -> str:
        if attempt.flow is Flow.HOSTED:
            # Asked here, too, so that a login is not sent on a way that leads nowhere.
            await self._provider.metadata()
            return self._addresses.launch_url(attempt)
        state = None if request.omit_state else self._signer.sign(attempt)
        return await self._provider.authorization_url(
            redirect_uri=kept.redirect_uri,
            state=state,
            nonce=kept.nonce,
            code_verifier=kept.code_verifier,
            login_hint=login_hint,
        )

    async def _find(self, callback: Callback) -> Attempt:
        if callback.verification_id is None:
            return await self._find_without_id(callback)
        attempt = await self._store.attempt(callback.verification_id)
        if attempt is None:
            raise VerificationNotFound
        if attempt.user_id != callback.user_id or attempt.flow is not Flow.RELAY:
            raise VerificationMismatch
        return attempt

    async def _find_without_id(self, callback: Callback) -> Attempt:
        """The user's newest pending relay login, unless this response was sent before: then the attempt that it was sent to.

        Without a code or a state the same words may come back for another attempt, so there a pending one is preferred.
        """
        reached = await self._store.relay_login_with_callback(callback.user_id, callback.fingerprint())
        if reached and (callback.response.code or callback.response.state):
            return reached
        attempt = await self._store.newest_pending_relay_login(callback.user_id, lifetimes.latest(self._clock())) or reached
        if attempt is None:
            raise VerificationNotFound
        return attempt

    async def _confirm(self, callback: Callback, session_token: str, finished_by: str) -> Decision:
        """The hosted flow's end: the caller's session is about the user of the token, and what was returned counts."""
        session = self._session_tokens.read(session_token)
        if session is None:
            raise SessionTokenInvalid
        if session.user_id != callback.user_id or callback.verification_id not in {None, session.verification_id}:
            raise VerificationMismatch
        attempt = await self._store.attempt(session.verification_id)
        if attempt is None:
            raise VerificationNotFound
        if attempt.status is not Status.RETURNED:
            return await self._repeat(attempt, callback, asyncio.get_running_loop().time())
        if lifetimes.has_expired(attempt, self._clock()):
            raise SessionTokenInvalid
        outcome = await self._store.unconfirmed_outcome(attempt)
        return await self._record(attempt, outcome, fingerprint=callback.fingerprint(), finished_by=finished_by)

    async def _record(
        self,
        attempt: Attempt,
        outcome: Verdict | Failure,
        *,
        fingerprint: str | None = None,
        finished_by: str | None = None,
    ) -> Decision:
        now = self._clock()
        settled = Failure("callback_interrupted") if lifetimes.is_interrupted(attempt, now) else outcome

        def decide(record: UserRecord | None) -> Ruling:
            return decisions.rule(settled, attempt.purpose, record, now, self._rules)

        finishing = {"callback_fingerprint": fingerprint, "finished_by": finished_by} if fingerprint else {}
        decision = await self._store.record_outcome(attempt, decide, now, finishing)
        return decision or await self._answer_again(await self._reload(attempt))

    async def _repeat(self, attempt: Attempt, callback: Callback, deadline: float) -> Decision:
        """The answer to a callback that came before, waited for while it is being worked out."""
        same = attempt.callback_fingerprint == callback.fingerprint()
        while attempt.status is Status.EXCHANGING and not lifetimes.is_interrupted(attempt, self._clock()):
            if not same or asyncio.get_running_loop().time() >= deadline:
                raise CallbackInProgress
            await asyncio.sleep(POLL_SECONDS)
            attempt = await self._reload(attempt)
        if not same:
            raise VerificationAlreadyFinished
        if attempt.status is Status.EXCHANGING:
            return await self._record(attempt, Failure("callback_interrupted"))
        return await self._answer_again(attempt)

    async def _answer_again(self, attempt: Attempt) -> Decision:
        answer = await self._store.answer(attempt) if lifetimes.is_repeatable(attempt, self._clock()) else None
        if answer is None:
            raise VerificationAlreadyFinished
        return answer

    async def _reload(self, attempt: Attempt) -> Attempt:
        now = await self._store.attempt(attempt.id)
        if now is None:
            raise VerificationNotFound
        return now
