"""Starts everything on loopback, measures it, and prints tables in Markdown.

`ROUNDS=5 SECONDS=4 make bench` takes longer, `ONLY=status,callback make bench` measures a part, and
`USERS=1000000 ONLY=moving make bench` moves a million users.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.bench import machine
from tests.bench.figures import table
from tests.bench.limits import HEADINGS, Line, at_the_start, under_overload
from tests.bench.moving import moved
from tests.bench.operations import OPERATIONS
from tests.bench.rounds import cells, measure
from tests.bench.servers import CORES, Bench, bench

ROUNDS = int(os.environ.get("ROUNDS", "3"))
SECONDS = float(os.environ.get("SECONDS", "2"))
USERS = int(os.environ.get("USERS", "100000"))
PARTS = (*(operation.name for operation in OPERATIONS), "overload", "start-up", "moving")


def chosen(only: str) -> Sequence[str]:
    """The parts that a comma-separated list names; all of them where it is empty. Raises SystemExit."""
    names = [name.strip() for name in only.split(",") if name.strip()]
    if unknown := set(names) - set(PARTS):
        raise SystemExit(f"ONLY names {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return names or PARTS


def main() -> None:
    """Measure what ONLY names."""
    parts = chosen(os.environ.get("ONLY", ""))
    print(introduction())
    with bench() as started:
        operations = [operation for operation in OPERATIONS if operation.name in parts]
        if operations:
            print(measure(started, list(cells(started, operations)), ROUNDS, SECONDS), end="\n\n", flush=True)
        lines = list(_limits(started, parts))
        if lines:
            print(table([HEADINGS, *lines]))


def _limits(started: Bench, parts: Sequence[str]) -> Iterator[Line]:
    if "overload" in parts:
        yield from under_overload(started, SECONDS)
    if "start-up" in parts:
        yield from at_the_start(started)
    if "moving" in parts:
        yield from moved(started, USERS)


def introduction() -> str:
    """When and where it is measured, in a line. Raises SystemExit where it cannot be."""
    if not Path("/proc/self/stat").exists():
        raise SystemExit("what a process takes of the processor is read from /proc: this needs Linux")
    pinned = "The server under test has one core, all that it needs the other."
    shared = "What is measured shares its core with all that it needs: compare with nothing but the same machine."
    return f"{datetime.now(UTC):%Y-%m-%d}, {machine.described()}. {pinned if CORES else shared}\n"


if __name__ == "__main__":
    main()
