"""Finishing a relay verification: the caller hands in what the provider's redirect brought to its own address."""

from __future__ import annotations

from dataclasses import dataclass

from app.core import lifetimes
from app.core.domain import Attempt, Clock, Decision, Flow
from app.core.errors import VerificationMismatch
from app.flows.answers import Answers
from app.flows.exchange import CALLBACK_SECONDS, AuthorizationResponse, Exchange
from app.oidc import Deadline
from app.storage.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayCallback:
    """What the browser brought to the caller, and whom and which attempt the caller's own session is about."""

    user_id: str
    verification_id: str
    response: AuthorizationResponse


class RelayFlow:
    """Exchanges what a caller hands in, once, and records what it amounts to.

    With nothing, it ends a hosted attempt, too.
    """

    def __init__(self, *, store: Store, exchange: Exchange, answers: Answers, clock: Clock) -> None:
        self._store = store
        self._exchange = exchange
        self._answers = answers
        self._clock = clock

    async def finish(self, callback: RelayCallback, finished_by: str) -> Decision:
        """The decision on a callback. The first of many decides, and the others get its answer.

        Raises, with nothing recorded: VerificationNotFound, VerificationMismatch, StateInvalid, ResponseIssuerMismatch,
        CallbackInProgress and VerificationAlreadyFinished.
        """
        deadline = Deadline.after(CALLBACK_SECONDS)
        fingerprint = callback.response.fingerprint()
        attempt = await self._attempt_of(callback)
        if lifetimes.is_open(attempt):
            checked = await self._exchange.check(callback.response, attempt)
            async with self._exchange.conversation(checked) as conversation:
                consumed = await self._store.consume_attempt(
                    attempt, fingerprint=fingerprint, finished_by=finished_by, now=self._clock()
                )
                outcome = await self._exchange.outcome(consumed, checked, conversation, deadline) if consumed else None
            if consumed and outcome:
                return await self._answers.record(consumed.attempt, outcome, deadline)
            attempt = await self._answers.reload(attempt)
        return await self._answers.repeat(attempt, fingerprint, deadline)

    async def _attempt_of(self, callback: RelayCallback) -> Attempt:
        """The relay attempt, or a hosted one whose person has never come back to us.

        Such a person came back to the caller all the same.
        """
        empty = callback.response.is_empty()
        attempt = await self._answers.attempt_of(
            callback.user_id, callback.verification_id, None if empty else Flow.RELAY
        )
        # Who came back to us was given a token: only with it can the outcome be confirmed.
        if attempt.flow is Flow.HOSTED and attempt.returned_at is not None:
            raise VerificationMismatch
        return attempt
