"""What is wrong with a request's fields, in this API's own words: never a library's text, never the value."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

FieldErrors = list[dict[str, str]]

NOT_JSON = "is not valid JSON"
NO_OBJECT = "must be a JSON object, sent as application/json"
MISSING = "is missing"
NO_CONTROLS = r"^[^\u0000-\u001f\u007f-\u009f]*$"
# BCP 47, and the underscore that Java and some identity providers write for the hyphen.
LANGUAGE_TAG = r"^[A-Za-z0-9]+([-_][A-Za-z0-9]+)*$"
_MISMATCHES = {
    NO_CONTROLS: "may not contain control characters",
    LANGUAGE_TAG: "must be a language tag such as pt-BR",
}
_FIELD_NAME = re.compile(r"[A-Za-z0-9_]{1,64}")
# By the library's type of error; what it knows of the limits goes into the braces.
_WORDS = {
    "missing": MISSING,
    "string_type": "must be a string",
    "string_unicode": "must be a string of Unicode characters",
    "string_too_long": "may have at most {max_length} characters",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "greater_than_equal": "must be {ge} or more",
    "less_than_equal": "must be {le} or less",
    "enum": "must be {expected}",
    "literal_error": "must be {expected}",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "datetime_type": "must be a time in ISO 8601 with its offset, such as 2026-04-07T17:28:25.150Z",
    "datetime_parsing": "must be a time in ISO 8601 with its offset, such as 2026-04-07T17:28:25.150Z",
    "datetime_from_date_parsing": "must be a time in ISO 8601 with its offset, such as 2026-04-07T17:28:25.150Z",
    "timezone_aware": "must be a time in ISO 8601 with its offset, such as 2026-04-07T17:28:25.150Z",
}


def field_errors(error: ValidationError, place: Sequence[str], known: Iterable[str] = ()) -> FieldErrors:
    """Each field at `place` that is wrong, and why; `known` are the names that the place has."""
    return [
        {"field": _path([*place, *each["loc"]]), "message": _message(each, place, list(known))}
        for each in error.errors()
    ]


def _message(error: Any, place: Sequence[str], known: list[str]) -> str:
    kind, details = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown(str(error["loc"][-1]), known)
    if kind in {"model_type", "model_attributes_type"} and not error["loc"] and place == ("body",):
        return NO_OBJECT
    if kind == "string_too_short":
        return (
            "must not be empty"
            if details["min_length"] == 1
            else f"must have at least {details['min_length']} characters"
        )
    if kind == "value_error":
        return str(details["error"])
    if "url" not in error:  # a message of ours: the library's own errors say where they are documented
        return str(error["msg"])
    words = _MISMATCHES.get(details.get("pattern")) or _WORDS.get(kind, "is not valid")
    return words.format(**details)


def _unknown(name: str, known: list[str]) -> str:
    """The caller's own text is compared, never repeated."""
    if alike := get_close_matches(name, known, n=1):
        return f"unknown field: did you mean {alike[0]}?"
    return f"unknown field: known are {', '.join(known)}"


def _path(location: Sequence[str | int]) -> str:
    """Where the field is.

    The name of an unknown field is the caller's own text, and repeated only where it looks like a name.
    """
    return ".".join(part if _FIELD_NAME.fullmatch(part) else "?" for part in map(str, location))
