"""Starts everything on loopback, measures it, and prints tables in Markdown.

`ROUNDS=5 SECONDS=4 make bench` takes longer, `ONLY=status,callback make bench` measures a part, and
`USERS=1000000 ONLY=moving make bench` moves a million users. `INTO=docs/performance.md make bench` also puts the tables
there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from tests.bench.figures import table
from tests.bench.limits import HEADINGS, Line, at_the_start, under_overload
from tests.bench.moving import moved
from tests.bench.operations import OPERATIONS
from tests.bench.report import ROUNDS, SECONDS, needs_linux, tell
from tests.bench.rounds import cells, measure
from tests.bench.servers import Bench, bench

USERS = int(os.environ.get("USERS", "100000"))
LIMITS = ("overload", "start-up", "moving")
PARTS = (*(operation.name for operation in OPERATIONS), *LIMITS)


def main() -> None:
    """Measure what ONLY names."""
    needs_linux()
    parts = chosen(os.environ.get("ONLY", ""))
    operations = [operation for operation in OPERATIONS if operation.name in parts]
    if operations:
        with bench() as started:
            measured = measure(started, list(cells(started, operations)), ROUNDS, SECONDS)
        tell("operations", measured, whole=len(operations) == len(OPERATIONS))
    with bench() as started:
        lines = list(_limits(started, parts))
    if lines:
        tell("limits", table([HEADINGS, *lines]), whole=set(LIMITS) <= set(parts))


def chosen(only: str) -> Sequence[str]:
    """The parts that a comma-separated list names; all of them where it is empty. Raises SystemExit."""
    names = [name.strip() for name in only.split(",") if name.strip()]
    if unknown := set(names) - set(PARTS):
        raise SystemExit(f"ONLY names {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return names or PARTS


def _limits(started: Bench, parts: Sequence[str]) -> Iterator[Line]:
    if "overload" in parts:
        yield from under_overload(started, SECONDS)
    if "start-up" in parts:
        yield from at_the_start(started)
    if "moving" in parts:
        yield from moved(started, USERS)


if __name__ == "__main__":
    main()
