"""The use-cases: start a verification, finish it, tell a user's status, reset, erase."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta

from app import claims, failures, policy
from app.domain import (
    Action,
    Attempt,
    Clock,
    ConsumedAttempt,
    Decision,
    Evidence,
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
from app.errors import (
    CallbackInProgress,
    RequestInvalid,
    ResponseIssuerMismatch,
    StateInvalid,
    VerificationAlreadyFinished,
    VerificationMismatch,
    VerificationNotFound,
)
from app.oidc import pkce
from app.oidc.client import AuthorizationGrant, RelyingParty
from app.oidc.errors import IssuerMismatch, ProtocolError, ProviderUnavailable
from app.state import StateSigner
from app.store import Store
from app.verdict import read_verdict

_POLL_SECONDS = 0.1
# Callers give up after 10 s. The provider's share of a callback ends here, and leaves time to record what is known.
_CALLBACK_SECONDS = 7.0


@dataclass(frozen=True, slots=True)
class StartRequest:
    """What a caller asks for. `email` is the `login_hint` of a person's first verification."""

    user_id: str
    email: str | None = field(default=None, repr=False)
    purpose: Purpose = Purpose.LOGIN
    force: bool = False
    omit_state: bool = False


@dataclass(frozen=True, slots=True)
class Callback:
    """What arrived at the caller's redirect URI, and whom the caller's own session is about."""

    user_id: str
    verification_id: str | None = None
    code: str | None = field(default=None, repr=False)
    state: str | None = field(default=None, repr=False)
    iss: str | None = None
    error: str | None = None
    error_description: str | None = field(default=None, repr=False)

    def fingerprint(self) -> str:
        """The same for the same parameters, and useless for anything else."""
        parameters = asdict(self)
        del parameters["user_id"], parameters["verification_id"]
        return hashlib.sha256(json.dumps(parameters, sort_keys=True).encode("ascii")).hexdigest()


class Verifications:
    """The use-cases over one store and one provider. `redirect_uri` is the caller's, or None where none is set."""

    def __init__(
        self,
        *,
        store: Store,
        provider: RelyingParty,
        signer: StateSigner,
        rules: Rules,
        redirect_uri: str | None,
        lifetime: timedelta,
        clock: Clock,
    ) -> None:
        self._store = store
        self._provider = provider
        self._signer = signer
        self._rules = rules
        self._redirect_uri = redirect_uri
        self._lifetime = lifetime
        self._clock = clock

    async def start(self, request: StartRequest, started_by: str) -> Decision:
        """Whether the user must be verified now and, if so, where to send the browser. Raises RequestInvalid."""
        if self._redirect_uri is None:
            raise RequestInvalid([{"field": "body.flow", "message": "relay needs REDIRECT_URI or AUTH0_DOMAIN to be set"}])
        record = await self._store.user(request.user_id)
        now = self._clock()
        reason = policy.reason_to_verify(record, now, self._rules, purpose=request.purpose, force=request.force)
        if reason is None:
            return self._standing(record)
        failure = await self._obstacle(request, record, now)
        if failure:
            return self._failed(failure, request.purpose, record)
        attempt = self._new_attempt(request, started_by, now)
        try:
            kept, url = await self._authorization_request(request, record, attempt, self._redirect_uri)
        except ProviderUnavailable as error:
            return self._failed(_failure_of(error), request.purpose, record)
        await self._store.add_attempt(attempt, kept)
        return Decision(
            Action.REDIRECT,
            reason,
            redirect_url=url,
            app_metadata=claims.app_metadata(record),
            verification=attempt,
        )

    async def finish(self, callback: Callback, finished_by: str) -> Decision:
        """The decision on a callback. The first of many decides, and the others get its answer.

        Raises VerificationNotFound, VerificationMismatch, StateInvalid, ResponseIssuerMismatch, CallbackInProgress and
        VerificationAlreadyFinished, with nothing recorded.
        """
        deadline = asyncio.get_running_loop().time() + _CALLBACK_SECONDS
        attempt = await self._find(callback)
        if attempt.status is Status.PENDING:
            outage = await self._check_response(callback, attempt)
            consumed = await self._store.consume_attempt(
                attempt, fingerprint=callback.fingerprint(), finished_by=finished_by, now=self._clock()
            )
            if consumed:
                outcome = await self._outcome(consumed, callback, outage, deadline)
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

    async def _obstacle(self, request: StartRequest, record: UserRecord | None, now: datetime) -> Failure | None:
        if request.purpose is Purpose.STEP_UP and not (record and record.identity_id):
            return Failure("identity_not_established")
        since = now - timedelta(hours=self._rules.attempt_window_hours)
        failed = await self._store.failures_about_the_person(request.user_id, request.purpose, since)
        until = policy.locked_until(failed, now, self._rules)
        return Failure("too_many_attempts", f"try again after {claims.timestamp(until)}") if until else None

    def _new_attempt(self, request: StartRequest, started_by: str, now: datetime) -> Attempt:
        return Attempt(
            id=f"idv_{secrets.token_hex(16)}",
            user_id=request.user_id,
            flow=Flow.RELAY,
            purpose=request.purpose,
            status=Status.PENDING,
            started_by=started_by,
            created_at=now,
            expires_at=now + self._lifetime,
        )

    async def _authorization_request(
        self, request: StartRequest, record: UserRecord | None, attempt: Attempt, redirect_uri: str
    ) -> tuple[RequestSecrets, str]:
        kept = RequestSecrets(secrets.token_urlsafe(32), pkce.new_code_verifier(), redirect_uri)
        url = await self._provider.authorization_url(
            redirect_uri=redirect_uri,
            state=None if request.omit_state else self._signer.sign(attempt),
            nonce=kept.nonce,
            code_verifier=kept.code_verifier,
            login_hint=(record.identity_id if record else None) or request.email,
        )
        return kept, url

    async def _find(self, callback: Callback) -> Attempt:
        if callback.verification_id is not None:
            attempt = await self._store.attempt(callback.verification_id)
            if attempt is None:
                raise VerificationNotFound
            if attempt.user_id != callback.user_id or attempt.flow is not Flow.RELAY:
                raise VerificationMismatch
            return attempt
        return await self._find_without_id(callback)

    async def _find_without_id(self, callback: Callback) -> Attempt:
        """The user's newest pending relay login, unless this code was sent before: then the attempt that it was sent to.

        Without a code the same words may come back for another attempt, so there a pending one is preferred.
        """
        reached = await self._store.relay_login_with_callback(callback.user_id, callback.fingerprint())
        if reached and callback.code:
            return reached
        attempt = await self._store.newest_pending_relay_login(callback.user_id) or reached
        if attempt is None:
            raise VerificationNotFound
        return attempt

    async def _check_response(self, callback: Callback, attempt: Attempt) -> ProviderUnavailable | None:
        """That the response answers this attempt's request. Returns why it could not be known, when the provider is away."""
        if callback.state is not None and not self._signer.names(callback.state, attempt):
            raise StateInvalid
        if callback.code is None and callback.error is None:
            return None
        try:
            await self._provider.check_response_issuer(callback.iss)
        except IssuerMismatch:
            raise ResponseIssuerMismatch from None
        except ProviderUnavailable as error:
            return error
        return None

    async def _outcome(
        self, consumed: ConsumedAttempt, callback: Callback, outage: ProviderUnavailable | None, deadline: float
    ) -> Verdict | Failure:
        if consumed.consumed_at >= consumed.attempt.expires_at:
            return Failure("verification_expired")
        # An error beside a code wins: a response that says both is not one to trust a code of.
        if callback.error is not None:
            return failures.authorization_failure(callback.error, callback.error_description)
        if callback.code is None:
            return Failure("no_code_returned")
        if outage:
            return _failure_of(outage)
        return await self._exchange(consumed, callback.code, deadline)

    async def _exchange(self, consumed: ConsumedAttempt, code: str, deadline: float) -> Verdict | Failure:
        kept = consumed.secrets
        grant = AuthorizationGrant(code, kept.code_verifier, kept.nonce, kept.redirect_uri)
        try:
            authentication = await self._provider.authenticate(grant, deadline=deadline)
            return read_verdict(authentication, keep_tokens=self._rules.store_tokens)
        except ProtocolError as error:
            return _failure_of(error)

    async def _record(self, attempt: Attempt, outcome: Verdict | Failure) -> Decision:
        now = self._clock()
        if policy.is_interrupted(attempt, now):
            outcome = Failure("callback_interrupted")

        def decide(record: UserRecord | None) -> Ruling:
            return self._rule(attempt.purpose, record, outcome, now)

        decision = await self._store.record_outcome(attempt, decide, now)
        return decision or await self._answer_again(await self._reload(attempt))

    def _rule(self, purpose: Purpose, record: UserRecord | None, outcome: Verdict | Failure, now: datetime) -> Ruling:
        evidence: Evidence | None = None
        if isinstance(outcome, Verdict):
            evidence = outcome.evidence
            judged = policy.judge(outcome, record, self._rules, purpose)
            if not isinstance(judged, Failure):
                verified = policy.after_success(record, judged, now)
                return self._verified(purpose, record, verified)
            outcome = judged
        after = record
        if purpose is Purpose.LOGIN:
            after = policy.after_failure(record, outcome, now, self._rules)
        return Ruling(
            status=Status.EXPIRED if outcome.code == "verification_expired" else Status.FAILED,
            decision=self._failed(outcome, purpose, after),
            record=after if purpose is Purpose.LOGIN else None,
            evidence=evidence,
            failure=outcome,
        )

    def _verified(self, purpose: Purpose, before: UserRecord | None, verified: UserRecord) -> Ruling:
        on_file = verified if purpose is Purpose.LOGIN else before
        decision = Decision(
            Action.CONTINUE,
            Reason.VERIFIED,
            claims=claims.claims(verified, Reason.VERIFIED, self._rules),
            app_metadata=claims.app_metadata(on_file),
        )
        return Ruling(
            status=Status.COMPLETED,
            decision=decision,
            record=verified if purpose is Purpose.LOGIN else None,
            evidence=verified.evidence,
        )

    def _standing(self, record: UserRecord | None) -> Decision:
        return Decision(
            Action.CONTINUE,
            Reason.RECENTLY_VERIFIED,
            claims=claims.claims(record, Reason.RECENTLY_VERIFIED, self._rules),
            app_metadata=claims.app_metadata(record),
        )

    def _failed(self, failure: Failure, purpose: Purpose, record: UserRecord | None) -> Decision:
        return Decision(
            policy.action_on_failure(purpose, self._rules),
            failure.code,
            app_metadata=claims.app_metadata(record),
            failure=failure,
        )

    async def _repeat(self, attempt: Attempt, callback: Callback, deadline: float) -> Decision:
        """The answer to a callback that came before, waited for while it is being worked out."""
        same = attempt.callback_fingerprint == callback.fingerprint()
        while attempt.status is Status.EXCHANGING and not policy.is_interrupted(attempt, self._clock()):
            if not same or asyncio.get_running_loop().time() >= deadline:
                raise CallbackInProgress
            await asyncio.sleep(_POLL_SECONDS)
            attempt = await self._reload(attempt)
        if not same:
            raise VerificationAlreadyFinished
        if attempt.status is Status.EXCHANGING:
            return await self._record(attempt, Failure("callback_interrupted"))
        return await self._answer_again(attempt)

    async def _answer_again(self, attempt: Attempt) -> Decision:
        answer = await self._store.answer(attempt) if policy.is_repeatable(attempt, self._clock()) else None
        if answer is None:
            raise VerificationAlreadyFinished
        return answer

    async def _reload(self, attempt: Attempt) -> Attempt:
        now = await self._store.attempt(attempt.id)
        if now is None:
            raise VerificationNotFound
        return now


def _failure_of(error: ProtocolError) -> Failure:
    return Failure(error.code, error.description)
