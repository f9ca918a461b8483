"""Encryption at rest: JSON sealed with Fernet, and bound to the row that it belongs to.

Fernet is AES-128-CBC and HMAC-SHA-256.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from app.core.domain import Json

# SQLite takes any value into any column: what is no token may be a text of other letters, or a number.
_UNREADABLE = (InvalidToken, TypeError, ValueError)


class Unreadable(Exception):
    """The sealed value was made with an unknown key, was changed, or belongs to another row."""


class Cipher:
    """Seals with the first of `keys` (Fernet keys, newest first) and opens with any of them."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._fernets = [Fernet(key) for key in keys]
        self._newest = self._fernets[0]
        self._fernet = MultiFernet(self._fernets)

    @property
    def keys(self) -> int:
        """How many keys there are."""
        return len(self._fernets)

    def seal(self, owner: str, value: Json) -> bytes:
        """The ciphertext of `value`, which only the row named `owner` can open."""
        return self._fernet.encrypt(json.dumps([owner, value], separators=(",", ":")).encode("ascii"))

    def open(self, owner: str, sealed: bytes) -> Json:
        """The value that was sealed for `owner`. Raises Unreadable."""
        try:
            named, value = json.loads(self._fernet.decrypt(sealed))
        except _UNREADABLE:
            raise Unreadable from None
        # Somebody who can write to the database must not be able to move one user's evidence into another user's row.
        if named != owner:
            raise Unreadable
        return value

    def opened_by(self, sealed: bytes) -> int | None:
        """The number of the key that opens the value, 0 for the newest; None where none does."""
        for number, fernet in enumerate(self._fernets):
            try:
                fernet.decrypt(sealed)
            except _UNREADABLE:
                continue
            return number
        return None

    def reseal(self, sealed: bytes) -> bytes | None:
        """The same value sealed with the newest key; None when it is already. Raises Unreadable."""
        try:
            self._newest.decrypt(sealed)
        except _UNREADABLE:
            pass
        else:
            return None
        try:
            return self._fernet.rotate(sealed)
        except _UNREADABLE:
            raise Unreadable from None
