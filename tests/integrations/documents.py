"""The HTTP that the pages of docs/integrations show, held against what was really said.

A page shows an exchange as a block of `http`: method and path, the request's JSON, the status, the answer's JSON. "…"
stands for any text. A request is shown whole; of an answer, members may be left out.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.harness.containers import REPOSITORY

PAGES = REPOSITORY / "docs" / "integrations"
MOST_LINES = 59
_BLOCK = re.compile(r"```http\n(\w+) (\S+)\n(.*?)^(\d{3})\n(.*?)```", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Exchange:
    """One request and its answer; without a body, `request` is None."""

    method: str
    path: str
    request: Any
    status: int
    answer: Any


def page(name: str) -> str:
    """The text of a page, which is short enough to be read."""
    text = (PAGES / name).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES, f"{name} has {len(text.splitlines())} lines"
    return text


def heard(recording: Path) -> list[Exchange]:
    """What a test has noted down: a JSON object a line, with the members of `Exchange`."""
    return [Exchange(**json.loads(line)) for line in recording.read_text(encoding="utf-8").splitlines()]


def check_exchanges(text: str, really: list[Exchange]) -> None:
    """Each exchange that the text shows took place, and the text shows some."""
    shown = [
        Exchange(method, path, json.loads(request) if request.strip() else None, int(status), json.loads(answer))
        for method, path, request, status, answer in _BLOCK.findall(text)
    ]
    assert shown
    assert len(shown) == text.count("```http")
    for exchange in shown:
        assert any(_is(exchange, other) for other in really), exchange


def _is(shown: Exchange, real: Exchange) -> bool:
    return (
        (shown.method, shown.status) == (real.method, real.status)
        and _fits(shown.path, real.path)
        and (shown.request is None or (real.request is not None and set(shown.request) == set(real.request)))
        and _fits(shown.request, real.request)
        and _fits(shown.answer, real.answer)
    )


def _fits(shown: Any, real: Any) -> bool:
    if isinstance(shown, dict):
        return isinstance(real, dict) and all(
            name in real and _fits(value, real[name]) for name, value in shown.items()
        )
    if isinstance(shown, list):
        return isinstance(real, list) and len(shown) == len(real) and all(map(_fits, shown, real))
    if isinstance(shown, str) and "…" in shown:
        return isinstance(real, str) and bool(re.fullmatch(".+".join(map(re.escape, shown.split("…"))), real))
    return type(shown) is type(real) and bool(shown == real)
