"""What one check of `idv check` comes to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. `remedy` is None where all is well."""

    subject: str
    result: str
    remedy: str | None = None
