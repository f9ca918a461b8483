"""What every way of finishing shares: whose attempt it is, recording the outcome, and answering again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from app.core import decisions, lifetimes
from app.core.domain import (
    Attempt,
    Clock,
    Decision,
    Failure,
    FailureCode,
    Flow,
    Rules,
    Ruling,
    Status,
    UserRecord,
    Verdict,
)
from app.core.errors import (
    CallbackInProgress,
    VerificationAlreadyFinished,
    VerificationMismatch,
    VerificationNotFound,
)
from app.flows.recording import insist
from app.oidc import Deadline
from app.storage.store import Store

POLL_SECONDS = 0.1


class Answers:
    """Records outcomes in one store by one set of rules, and gives the same answer to whoever asks again."""

    def __init__(self, store: Store, rules: Rules, clock: Clock) -> None:
        self._store = store
        self._rules = rules
        self._clock = clock

    async def attempt_of(self, user_id: str, verification_id: str, flow: Flow | None) -> Attempt:
        """The attempt that the caller's own session is about, of either flow where none is given.

        Raises VerificationNotFound and VerificationMismatch.

        The one place where it is checked: an answer can only be about the user and the transaction that the caller has
        in hand.
        """
        attempt = await self._store.attempt(verification_id)
        if attempt is None:
            raise VerificationNotFound
        if attempt.user_id != user_id or (flow and attempt.flow is not flow):
            raise VerificationMismatch
        return attempt

    async def record(
        self,
        attempt: Attempt,
        outcome: Verdict | Failure,
        deadline: Deadline,
        *,
        fingerprint: str | None = None,
        finished_by: str | None = None,
    ) -> Decision:
        """Decide on the outcome and record it, before `deadline` if the database lets us.

        The answer is that of another request, if one was faster.
        """
        now = self._clock()
        interrupted = lifetimes.is_interrupted(attempt, now)
        settled = Failure(FailureCode.CALLBACK_INTERRUPTED) if interrupted else outcome

        def decide(record: UserRecord | None) -> Ruling:
            return decisions.rule(settled, attempt, record, now, self._rules)

        finishing = {"callback_fingerprint": fingerprint, "finished_by": finished_by} if fingerprint else {}

        def write(until: float) -> Awaitable[Decision | None]:
            return self._store.record_outcome(attempt, decide, now, finishing, until=until)

        decision = await insist(write, deadline)
        return decision or await self._answer_again(await self.reload(attempt))

    async def repeat(self, attempt: Attempt, fingerprint: str, deadline: Deadline) -> Decision:
        """The answer to a callback that came before, waited for while it is being worked out.

        Raises CallbackInProgress and VerificationAlreadyFinished.
        """
        same = attempt.callback_fingerprint == fingerprint
        while attempt.status is Status.EXCHANGING and not lifetimes.is_interrupted(attempt, self._clock()):
            if not same or deadline.has_passed():
                raise CallbackInProgress
            await asyncio.sleep(POLL_SECONDS)
            attempt = await self.reload(attempt)
        if not same:
            raise VerificationAlreadyFinished
        if attempt.status is Status.EXCHANGING:
            return await self.record(attempt, Failure(FailureCode.CALLBACK_INTERRUPTED), deadline)
        return await self._answer_again(attempt)

    async def reload(self, attempt: Attempt) -> Attempt:
        """The attempt as it is on file now. Raises VerificationNotFound where it was erased."""
        now = await self._store.attempt(attempt.id)
        if now is None:
            raise VerificationNotFound
        return now

    async def _answer_again(self, attempt: Attempt) -> Decision:
        answer = await self._store.answer(attempt) if lifetimes.is_repeatable(attempt, self._clock()) else None
        if answer is None:
            raise VerificationAlreadyFinished
        return answer
