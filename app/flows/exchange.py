"""From the provider's authorization response to an outcome: checked, exchanged once, read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from app.core import failures, lifetimes
from app.core.domain import Attempt, ConsumedAttempt, Failure, FailureCode, Flow, RequestSecrets, Verdict
from app.core.errors import ResponseIssuerMismatch, StateInvalid
from app.flows.signed_state import StateSigner
from app.flows.verdict import read_verdict
from app.oidc import (
    AuthorizationGrant,
    Conversation,
    Deadline,
    IssuerMismatch,
    ProtocolError,
    ProviderUnavailable,
    RelyingParty,
)

# Callers give up after 10 s. The provider's share of a callback ends here, and leaves time to record what is known.
CALLBACK_SECONDS = 7.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationResponse:
    """What the browser brought from the provider (RFC 6749 section 4.1.2, RFC 9207 section 2).

    `holds_all`: the caller has handed in all that came, and not what it knows to be the provider's.
    """

    code: str | None = field(default=None, repr=False)
    state: str | None = field(default=None, repr=False)
    iss: str | None = None
    error: str | None = None
    error_description: str | None = field(default=None, repr=False)
    holds_all: bool = False

    def is_empty(self) -> bool:
        """Whether nothing came at all."""
        return not any((self.code, self.state, self.iss, self.error, self.error_description))

    def fingerprint(self) -> str:
        """The same for the same parameters, and useless for anything else."""
        parameters = (self.code, self.state, self.iss, self.error, self.error_description)
        return hashlib.sha256(json.dumps(parameters).encode("ascii")).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedResponse:
    """A response that belongs to the attempt's request: the only thing that the exchange accepts.

    `answer` is the code to exchange, or why there is none.
    """

    attempt_id: str
    answer: str | Failure = field(repr=False)


class Exchange:
    """The provider's side of a callback. `keep_tokens` says whether a verdict holds the provider's tokens."""

    def __init__(self, provider: RelyingParty, signer: StateSigner, *, keep_tokens: bool) -> None:
        self._provider = provider
        self._signer = signer
        self._keep_tokens = keep_tokens

    async def check(self, response: AuthorizationResponse, attempt: Attempt) -> CheckedResponse:
        """The response, once it is known to answer this attempt's request.

        Raises StateInvalid and ResponseIssuerMismatch.
        """
        self._check_state(response, attempt)
        return CheckedResponse(attempt_id=attempt.id, answer=await self._answer_in(response))

    def _check_state(self, response: AuthorizationResponse, attempt: Attempt) -> None:
        state = response.state
        # What our own address received has named the attempt by its state: this is its caller, who received nothing.
        if attempt.flow is Flow.HOSTED and response.is_empty():
            return
        # Where ours was left out, a state among all that came is the caller's own.
        if attempt.omit_state and (state is None or response.holds_all):
            return
        # A response without the state of the request is anybody's: a forged failure would take a verification away.
        if state is None or attempt.omit_state or not self._signer.names(state, attempt):
            raise StateInvalid

    async def _answer_in(self, response: AuthorizationResponse) -> str | Failure:
        answer: str | Failure
        # An error beside a code wins: a response that says both is not one to trust a code of.
        if response.error is not None:
            answer = failures.authorization_failure(response.error, response.error_description)
        elif response.code is not None:
            answer = response.code
        else:
            answer = Failure(FailureCode.NO_CODE_RETURNED)
            if response.iss is None:  # nothing came that could be another's
                return answer
        # An outage wins over an error, too: while nobody knows whether `iss` was promised, anybody may have written it.
        return await self._check_issuer(response.iss) or answer

    async def _check_issuer(self, iss: str | None) -> Failure | None:
        """Why it cannot be known whose response this is. Raises ResponseIssuerMismatch where it is another's."""
        try:
            await self._provider.check_response_issuer(iss)
        except IssuerMismatch:
            raise ResponseIssuerMismatch from None
        except ProviderUnavailable as error:
            return failure_of(error)
        return None

    @asynccontextmanager
    async def conversation(self, checked: CheckedResponse) -> AsyncIterator[Conversation]:
        """A connection of this callback's own, where there is a code to exchange.

        It is opened while the database is asked.
        """
        async with self._provider.conversation(at_once=not isinstance(checked.answer, Failure)) as conversation:
            yield conversation

    async def outcome(
        self, consumed: ConsumedAttempt, checked: CheckedResponse, conversation: Conversation, deadline: Deadline
    ) -> Verdict | Failure:
        """What the checked response amounts to, before `deadline`."""
        if checked.attempt_id != consumed.attempt.id:
            raise ValueError("the response was checked for another attempt")
        if lifetimes.came_too_late(consumed.attempt, consumed.consumed_at):
            return Failure(FailureCode.VERIFICATION_EXPIRED)
        if isinstance(consumed.secrets, Failure):
            return consumed.secrets
        if isinstance(checked.answer, Failure):
            return checked.answer
        return await self._exchange(consumed.secrets, checked.answer, conversation, deadline)

    async def _exchange(
        self, kept: RequestSecrets, code: str, conversation: Conversation, deadline: Deadline
    ) -> Verdict | Failure:
        grant = AuthorizationGrant(
            code=code, code_verifier=kept.code_verifier, nonce=kept.nonce, redirect_uri=kept.redirect_uri
        )
        try:
            authentication = await conversation.authenticate(grant, deadline=deadline)
            return read_verdict(authentication, keep_tokens=self._keep_tokens)
        except ProtocolError as error:
            return failure_of(error)


def failure_of(error: ProtocolError) -> Failure:
    """A protocol error as a failure."""
    return Failure(FailureCode(error.code), error.description)
