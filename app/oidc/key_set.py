"""An issuer's keys, and whether they signed a token."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from app.oidc import id_token, jwks
from app.oidc.cache import Cached


class KeySet:
    """The keys that `load` fetches, kept as `Cached` keeps a document; `monotonic` gives seconds."""

    def __init__(
        self,
        load: Callable[[], Awaitable[tuple[jwks.Jwk, ...]]],
        algorithms: frozenset[str],
        monotonic: Callable[[], float],
        on_refetch: Callable[[], None] | None = None,
    ) -> None:
        self._keys = Cached(load, monotonic, on_refetch)
        self._algorithms = algorithms

    async def verify(self, token: str) -> id_token.Signed:
        """What the token says, once one key of the set has signed it. Raises IdTokenInvalid and ProviderUnavailable."""
        id_token.read_header(token, self._algorithms)
        try:
            return id_token.verify_signature(token, await self._keys.get(), self._algorithms)
        except jwks.NoKeyFits:
            # The issuer may have rotated its keys since they were fetched (OpenID Connect Core 1.0 section 10.1.1).
            return id_token.verify_signature(token, await self._keys.refetch(), self._algorithms)

    async def refresh(self) -> None:
        """Fetch the keys before anybody waits for them. Raises ProviderUnavailable."""
        await self._keys.refetch()
