"""From the provider's authorization response to an outcome: checked, exchanged once, read."""

from __future__ import annotations

from dataclasses import dataclass, field

from app.core import failures, lifetimes
from app.core.domain import Attempt, ConsumedAttempt, Failure, Verdict
from app.core.errors import ResponseIssuerMismatch, StateInvalid
from app.flows.signed_state import StateSigner
from app.flows.verdict import read_verdict
from app.oidc import AuthorizationGrant, IssuerMismatch, ProtocolError, ProviderUnavailable, RelyingParty

# Callers give up after 10 s. The provider's share of a callback ends here, and leaves time to record what is known.
CALLBACK_SECONDS = 7.0


@dataclass(frozen=True, slots=True)
class AuthorizationResponse:
    """What the browser brought from the provider (RFC 6749 section 4.1.2, RFC 9207 section 2)."""

    code: str | None = field(default=None, repr=False)
    state: str | None = field(default=None, repr=False)
    iss: str | None = None
    error: str | None = None
    error_description: str | None = field(default=None, repr=False)


class Exchange:
    """The provider's side of a callback. `keep_tokens` says whether a verdict holds the provider's tokens."""

    def __init__(self, provider: RelyingParty, signer: StateSigner, *, keep_tokens: bool) -> None:
        self._provider = provider
        self._signer = signer
        self._keep_tokens = keep_tokens

    async def check(self, response: AuthorizationResponse, attempt: Attempt) -> Failure | None:
        """That the response answers this attempt's request. Raises StateInvalid and ResponseIssuerMismatch.

        Returns why it could not be known, when the provider is away.
        """
        if response.state is not None and not self._signer.names(response.state, attempt):
            raise StateInvalid
        if response.code is None and response.error is None:
            return None
        try:
            await self._provider.check_response_issuer(response.iss)
        except IssuerMismatch:
            raise ResponseIssuerMismatch from None
        except ProviderUnavailable as error:
            return failure_of(error)
        return None

    async def outcome(
        self,
        consumed: ConsumedAttempt,
        response: AuthorizationResponse,
        outage: Failure | None,
        deadline: float,
    ) -> Verdict | Failure:
        """What the response amounts to, before `deadline` (seconds of the event loop's clock)."""
        if lifetimes.came_too_late(consumed.attempt, consumed.consumed_at):
            return Failure("verification_expired")
        # An error beside a code wins: a response that says both is not one to trust a code of.
        if response.error is not None:
            return failures.authorization_failure(response.error, response.error_description)
        if response.code is None:
            return Failure("no_code_returned")
        if outage:
            return outage
        return await self._exchange(consumed, response.code, deadline)

    async def _exchange(self, consumed: ConsumedAttempt, code: str, deadline: float) -> Verdict | Failure:
        kept = consumed.secrets
        grant = AuthorizationGrant(code=code, code_verifier=kept.code_verifier, nonce=kept.nonce, redirect_uri=kept.redirect_uri)
        try:
            async with self._provider.conversation() as conversation:
                authentication = await conversation.authenticate(grant, deadline=deadline)
            return read_verdict(authentication, keep_tokens=self._keep_tokens)
        except ProtocolError as error:
            return failure_of(error)


def failure_of(error: ProtocolError) -> Failure:
    """A protocol error as a failure."""
    return Failure(error.code, error.description)
