"""Looking things up: attempts as they stand now, and what administrators did."""

from __future__ import annotations

from app.core import lifetimes
from app.core.domain import Attempt, Clock
from app.core.errors import VerificationNotFound
from app.storage.audit import AuditFilter, AuditLog, AuditPage
from app.storage.listing import AttemptFilter
from app.storage.store import Page, Store


class Audit:
    """Answers support's questions from one store."""

    def __init__(self, store: Store, log: AuditLog, clock: Clock) -> None:
        self._store = store
        self._log = log
        self._clock = clock

    async def attempt(self, attempt_id: str) -> Attempt:
        """An attempt as it stands now. Raises VerificationNotFound."""
        attempt = await self._store.attempt(attempt_id)
        if attempt is None:
            raise VerificationNotFound
        return lifetimes.as_of(attempt, self._clock())

    async def attempts(self, wanted: AttemptFilter) -> Page:
        """A page of attempts as they stand now, newest first."""
        now = self._clock()
        page = await self._store.attempts(wanted, now)
        return Page([lifetimes.as_of(attempt, now) for attempt in page.attempts], page.next)

    async def entries(self, wanted: AuditFilter) -> AuditPage:
        """A page of what administrators did, newest first."""
        return await self._log.entries(wanted)
