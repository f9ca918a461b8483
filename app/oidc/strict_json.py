"""JSON as RFC 8259 means it: what two parsers could read differently is refused."""

from __future__ import annotations

import json
import math
from functools import reduce
from typing import Any, NoReturn

# Whoever writes a value again may stand so much deeper in the interpreter's stack, which ends a text's nesting.
_ROOM = range(100)


def parse_object(text: bytes) -> dict[str, Any]:
    """The JSON object in `text`.

    Raises ValueError for anything else, and for duplicate names, non-finite numbers, lone surrogates and hopeless
    nesting: a claim that one reader sees and another does not is a way around a check (RFC 8259 sections 4, 6, 8.2 and
    9).
    """
    try:
        value = json.loads(
            text.decode(),
            object_pairs_hook=object_without_duplicates,
            parse_float=_finite,
            parse_constant=_refuse_constant,
        )
        json.dumps(reduce(_within_a_list, _ROOM, value), ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError from None
    if not isinstance(value, dict):
        raise ValueError
    return value


def object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of these members. Raises ValueError where a name comes twice: two readers would read two values."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _within_a_list(value: Any, _: int) -> list[Any]:
    return [value]


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError
