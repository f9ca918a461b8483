"""Our authorization requests: what is kept of one, and where it sends the browser."""

from __future__ import annotations

import secrets

from app.core.domain import Attempt, HostedSecrets, RelaySecrets, RequestSecrets
from app.flows.signed_state import StateSigner
from app.oidc import RelyingParty, new_code_verifier


def relay_secrets(redirect_uri: str) -> RelaySecrets:
    """Fresh secrets of a relay request. No login hint is kept, since its redirect is made at once."""
    return RelaySecrets(nonce=secrets.token_urlsafe(32), code_verifier=new_code_verifier(), redirect_uri=redirect_uri)


def hosted_secrets(redirect_uri: str, login_hint: str | None) -> HostedSecrets:
    """Fresh secrets of a hosted request."""
    return HostedSecrets(
        nonce=secrets.token_urlsafe(32),
        code_verifier=new_code_verifier(),
        redirect_uri=redirect_uri,
        login_hint=login_hint,
    )


class AuthorizationRequests:
    """Makes the requests of one relying party; `signer` signs their state."""

    def __init__(self, provider: RelyingParty, signer: StateSigner) -> None:
        self._provider = provider
        self._signer = signer

    async def prepare(self) -> None:
        """Learn where requests go.

        Raises ProviderUnavailable; without it no login is sent on a way that leads nowhere.
        """
        await self._provider.metadata()

    async def url(self, attempt: Attempt, kept: RequestSecrets, login_hint: str | None) -> str:
        """Where to send the browser (OpenID Connect Core 1.0 section 3.1.2.1). Raises ProviderUnavailable."""
        return await self._provider.authorization_url(
            redirect_uri=kept.redirect_uri,
            state=None if attempt.omit_state else self._signer.sign(attempt),
            nonce=kept.nonce,
            code_verifier=kept.code_verifier,
            login_hint=login_hint,
        )
