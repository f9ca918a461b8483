"""Tokens that an issuer signs for us beside a login: a client that calls us proves with one who it is (RFC 9068)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from app.oidc import http, id_token, jwks
from app.oidc.errors import Endpoint, ProviderUnavailable, Reason
from app.oidc.key_set import KeySet

# Shorter than a document stays fresh: a caller's token finds the keys at hand, and waits for nobody.
REFRESH_SECONDS = 240.0


class TokenVerifier:
    """Verifies signatures and times by the keys at one address. It does no I/O until asked.

    A token waits at most `patience` seconds for the keys; fetching them may take `request_seconds`. `now` gives seconds
    since 1970, `monotonic` seconds.
    """

    def __init__(
        self,
        jwks_uri: str,
        *,
        algorithms: frozenset[str],
        leeway_seconds: float,
        request_seconds: float,
        patience: float,
        now: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._jwks_uri = jwks_uri
        self._leeway = leeway_seconds
        self._patience = patience
        self._now = now
        self._http = http.Client(request_seconds=request_seconds)
        self._keys = KeySet(self._load, algorithms, monotonic)

    async def claims(self, token: str) -> Mapping[str, Any]:
        """What the token says, its times checked; who issued it and for whom is the caller's to check.

        Raises IdTokenInvalid, and ProviderUnavailable where there are no keys in time.
        """
        try:
            async with asyncio.timeout(self._patience):
                signed = await self._keys.verify(token)
        except TimeoutError:
            raise ProviderUnavailable(Endpoint.KEYS, Reason.LATE) from None
        id_token.check_times(signed.claims, self._leeway, self._now())
        return signed.claims

    async def keep_keys(self) -> None:
        """Fetch the keys now and every few minutes, until cancelled."""
        while True:
            with suppress(ProviderUnavailable):
                await self._keys.refresh()
            await asyncio.sleep(REFRESH_SECONDS)

    async def _load(self) -> tuple[jwks.Jwk, ...]:
        return jwks.parse(await self._http.get_json(self._jwks_uri, Endpoint.KEYS))
