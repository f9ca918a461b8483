"""What is known about a user: the status, and what an administrator may do with it."""

from __future__ import annotations

import secrets

from app.core import claims, policy
from app.core.domain import Actor, AuditAction, AuditEntry, Clock, Reason, Rules, UserRecord, UserStatus
from app.storage.store import Store


class Users:
    """Tells users' statuses by one set of rules, and does what administrators order."""

    def __init__(self, store: Store, rules: Rules, clock: Clock) -> None:
        self._store = store
        self._rules = rules
        self._clock = clock

    async def status(self, user_id: str) -> UserStatus:
        """Whether the user's verification stands now."""
        return self._status_of(user_id, await self._store.user(user_id))

    async def reset(self, user_id: str, *, forget_identity: bool, by: Actor) -> UserStatus:
        """Make the next login verify again, and withdraw what was begun or answered before."""

        def change(record: UserRecord) -> UserRecord:
            return policy.after_reset(record, forget_identity=forget_identity)

        action = AuditAction.RESET_IDENTITY if forget_identity else AuditAction.RESET
        record = await self._store.reset_user(user_id, change, self._entry(action, user_id, by))
        return self._status_of(user_id, record)

    async def erase(self, user_id: str, *, by: Actor) -> None:
        """Forget the user and every attempt."""
        await self._store.erase_user(user_id, self._entry(AuditAction.ERASE, user_id, by))

    async def export(self, user_id: str, *, by: Actor) -> UserStatus:
        """The user's status, for a document of all that is on file.

        It is entered in the audit that somebody asked for it.
        """
        await self._store.note(user_id, self._entry(AuditAction.EXPORT, user_id, by))
        return await self.status(user_id)

    def _status_of(self, user_id: str, record: UserRecord | None) -> UserStatus:
        reason = policy.standing(record, self._clock(), self._rules)
        stands = reason is Reason.RECENTLY_VERIFIED and record is not None
        return UserStatus(
            user_id=user_id,
            reason=reason,
            reverify_at=policy.reverify_at(record, self._rules) if record and stands else None,
            claims=claims.token_claims(record, reason, self._rules),
            app_metadata=claims.app_metadata(record),
        )

    def _entry(self, action: AuditAction, user_id: str, by: Actor) -> AuditEntry:
        return AuditEntry(
            id=f"aud_{secrets.token_hex(16)}",
            at=self._clock(),
            action=action,
            by=by.name,
            user_id=user_id,
            request_id=by.request_id,
        )
