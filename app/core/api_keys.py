"""API keys: how they are written down in the settings, and who holds the one that a request brought."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field

from app.core.domain import Caller, Role

MIN_KEY_LENGTH = 32
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_DIGEST_PREFIX = "sha256:"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key's holder and its SHA-256. A random key of 32 characters needs no slower hash."""

    holder: Caller
    digest: bytes = field(repr=False)


def new_key() -> str:
    """A new key of 256 random bits."""
    return secrets.token_urlsafe(32)


def hashed(key: str) -> str:
    """The key as the settings may hold it, so that who reads them cannot use it."""
    return _DIGEST_PREFIX + _digest(key).hex()


def check_name(name: str) -> None:
    """Refuse what a key may not be called. Raises ValueError."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            'a key\'s name has 1 to 64 letters, digits, ".", "_" or "-", and begins with a letter or a digit'
        )


def is_one_character(secret: str) -> bool:
    """Whether a secret is one character throughout, as placeholders are."""
    return len(set(secret)) == 1


def parse_api_keys(text: str, role: Role) -> list[ApiKey]:
    """Parse `name=key` or `name=sha256:<hex>`, comma-separated. Raises ValueError, without a key in its text."""
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    return [_parse(entry, number, role) for number, entry in enumerate(entries, 1)]


def _parse(entry: str, number: int, role: Role) -> ApiKey:
    # Entries are told apart by their number: where a name was forgotten, the key stands in its place.
    name, separator, key = entry.partition("=")
    if not separator or not _NAME.fullmatch(name):
        raise ValueError(
            f'entry {number} is not of the form name=key or name=sha256:<hex>; a name has letters, digits, ".", "_", '
            '"-"'
        )
    holder = Caller(name, role)
    if key.startswith(_DIGEST_PREFIX):
        digest = key.removeprefix(_DIGEST_PREFIX).lower()
        if not _DIGEST.fullmatch(digest):
            raise ValueError(f"entry {number} needs 64 hexadecimal digits after sha256:")
        return ApiKey(holder, bytes.fromhex(digest))
    if len(key) < MIN_KEY_LENGTH or not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError(
            f"entry {number} needs a key of {MIN_KEY_LENGTH} or more ASCII characters; idv api-key NAME makes one"
        )
    if is_one_character(key):
        raise ValueError(
            f"entry {number} is one and the same character throughout; idv api-key NAME makes a random key"
        )
    return ApiKey(holder, _digest(key))


def ambiguous_name(keys: Iterable[ApiKey]) -> str | None:
    """A name that two keys share, or one whose key another name has, too: an audit could not tell them apart."""
    names: set[str] = set()
    digests: set[bytes] = set()
    for key in keys:
        if key.holder.name in names or key.digest in digests:
            return key.holder.name
        names.add(key.holder.name)
        digests.add(key.digest)
    return None


def holder_of(key: str, keys: Iterable[ApiKey]) -> Caller | None:
    """Who holds `key`. Every known key is compared, in constant time, so that an answer's delay tells nothing."""
    digest = _digest(key)
    found = None
    for known in keys:
        if hmac.compare_digest(known.digest, digest):
            found = known.holder
    return found


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
