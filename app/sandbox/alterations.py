"""How claims are changed on their way out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

Claims = Mapping[str, object]
Alteration = Callable[[Claims], Claims]


def unaltered(claims: Claims) -> Claims:
    """The claims as they are."""
    return claims


def changed(**changes: object) -> Alteration:
    """Make an alteration that sets these claims."""
    return lambda claims: {**claims, **changes}


def without(*names: str) -> Alteration:
    """Make an alteration that leaves these claims out."""
    return lambda claims: {name: value for name, value in claims.items() if name not in names}
