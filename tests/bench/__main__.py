"""Starts everything on loopback, measures it, and prints tables in Markdown.

`ROUNDS=5 SECONDS=4 make bench` takes longer, `ONLY=status,callback make bench` measures a part.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.bench import machine
from tests.bench.operations import OPERATIONS
from tests.bench.rounds import measure
from tests.bench.servers import CORES, bench

ROUNDS = int(os.environ.get("ROUNDS", "3"))
SECONDS = float(os.environ.get("SECONDS", "2"))
PARTS = tuple(operation.name for operation in OPERATIONS)


def chosen(only: str) -> Sequence[str]:
    """The parts that a comma-separated list names; all of them where it is empty. Raises SystemExit."""
    names = [name.strip() for name in only.split(",") if name.strip()]
    if unknown := set(names) - set(PARTS):
        raise SystemExit(f"ONLY names {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return names or PARTS


def main() -> None:
    """Measure what ONLY names."""
    if not Path("/proc/self/stat").exists():
        raise SystemExit("what a process takes of the processor is read from /proc: this needs Linux")
    parts = chosen(os.environ.get("ONLY", ""))
    print(f"{datetime.now(UTC):%Y-%m-%d}, {machine.described()}.", _pinning())
    with bench() as started:
        operations = [operation for operation in OPERATIONS if operation.name in parts]
        if operations:
            print(measure(started, operations, ROUNDS, SECONDS), flush=True)


def _pinning() -> str:
    if CORES is None:
        return "What is measured shares its core with all that it needs: compare with nothing but the same machine."
    return "The server under test has one core, all that it needs the other."


if __name__ == "__main__":
    main()
