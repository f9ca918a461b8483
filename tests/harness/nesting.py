import json
from typing import Any

DEEP = "DEEP"


def nested(levels: int, *, name: str | None = None) -> Any:
    """A value within so many lists, or within objects that call it by a name."""
    value: Any = 1
    for _ in range(levels):
        value = [value] if name is None else {name: value}
    return value


def written(body: Any, levels: int) -> bytes:
    """The body as JSON, with so many lists in place of DEEP: more than can be written from a value."""
    return json.dumps(body).replace(json.dumps(DEEP), "[" * levels + "]" * levels).encode()
