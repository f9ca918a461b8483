"""What of a provider's words is fit to be kept as evidence: ids, scores and personal data within bounds."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from app.core.domain import Json

PII_CLAIMS = ("name", "given_name", "family_name", "birthdate", "email", "phone_number", "address")
MAX_USERINFO_BYTES = 16 * 1024
MAX_PII_BYTES = 4 * 1024
MAX_TEXT_LENGTH = 255
# What writes our answers gives up at 255 levels, and a record that cannot be shown could not be mended either.
MAX_LEVELS = 32
_ESCAPED_BYTES = 6  # what an ASCII character may take in JSON: \u0000


def usable_id(value: Json) -> str | None:
    """The value, where it can be an interview's or a person's id."""
    if isinstance(value, str) and 0 < len(value) <= MAX_TEXT_LENGTH and value.isprintable():
        return value
    return None


def is_usable_score(value: Json) -> bool:
    """Whether a provider would send such a score, or none."""
    if isinstance(value, str):
        return len(value) <= MAX_TEXT_LENGTH and fits(value, MAX_PII_BYTES)
    return value is None or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))


def status_text(value: Json) -> str | None:
    """An overall status as a text; None where there is none.

    What is no text is written as JSON, which no setting accepts.
    """
    if value is None or isinstance(value, str):
        return value if value is None else value[:MAX_TEXT_LENGTH]
    return json.dumps(value)[:MAX_TEXT_LENGTH] if fits(value, MAX_USERINFO_BYTES) else "[...]"


def personal_data(told: Mapping[str, Json]) -> dict[str, Json]:
    """Those of the seven claims that were told, and fit into a token."""
    return {name: told[name] for name in PII_CLAIMS if _is_usable_pii(told.get(name))}


def kept_userinfo(userinfo: Mapping[str, Json]) -> Mapping[str, Json] | None:
    """Userinfo as it is kept; None where it is over 16 KB of JSON, or nested more than 32 levels deep."""
    return userinfo if fits(userinfo, MAX_USERINFO_BYTES) else None


def _is_usable_pii(value: Json) -> bool:
    # The claim goes into tokens, and these into HTTP headers: a provider's megabyte would lock the person out
    # everywhere.
    return value not in (None, "") and fits(value, MAX_PII_BYTES)


def fits(value: Json, size: int) -> bool:
    """Whether the value can be written as JSON (RFC 8259) of so many bytes, and of no more than 32 levels."""
    if isinstance(value, str) and value.isascii() and 2 + _ESCAPED_BYTES * len(value) <= size:
        return True
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return len(text.encode()) <= size and _is_within(value, MAX_LEVELS)
    except (ValueError, RecursionError):
        return False


def _is_within(value: Json, levels: int) -> bool:
    """Whether objects and lists are nested no deeper than so many levels."""
    if not isinstance(value, dict | list):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_is_within(each, levels - 1) for each in inner)
