"""The requests of a login that Acme has no part in.

Whoever runs browser, gateway and sandbox beside it can tell Acme of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from app.acme.journal import Journal, Step

MOST_STEPS: Final = 2000
_TRACES: Final = frozenset({"state", "code", "access_token"})


@dataclass(frozen=True)
class _Heard:
    step: Step
    traces: frozenset[str]


class Wire:
    """The latest steps that others saw. Which login they belong to follows from the random values that they carry."""

    def __init__(self) -> None:
        self._heard: deque[_Heard] = deque(maxlen=MOST_STEPS)

    def note(self, step: Step, traces: frozenset[str]) -> None:
        """Remember a step that has ended, by its values before they were shortened."""
        self._heard.append(_Heard(step, traces))

    def steps(self, journal: Journal) -> list[Step]:
        """The steps of a journal, and those that were heard and belong to the same login.

        What the gateway fetches for every login has no such value: it belongs to the login that waited for it.
        """
        ours, known = list(journal.steps), journal.traces
        for heard in sorted(self._heard, key=lambda heard: heard.step.began):
            if heard.traces & known:
                known |= heard.traces
                ours.append(heard.step)
            elif not heard.traces and any(step.began < heard.step.began < step.ended for step in ours):
                ours.append(heard.step)
        return ours


def traces(sent: Mapping[str, Any]) -> frozenset[str]:
    """The values of a request or an answer that occur in no other login; those of a redirect stand in its address."""
    return frozenset(_traces(sent))


def traces_of_address(address: str) -> frozenset[str]:
    """The same of an address's query."""
    return traces(dict(parse_qsl(urlsplit(address).query)))


def _traces(sent: Mapping[str, Any]) -> Iterator[str]:
    for name, value in sent.items():
        if name in _TRACES and isinstance(value, str) and value:
            yield value
        elif name == "Location":
            yield from traces_of_address(value)
