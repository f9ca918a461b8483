"""What is printed, and put into docs/performance.md where `INTO` names that file."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from tests.bench import machine
from tests.bench.servers import CORES

ROUNDS = int(os.environ.get("ROUNDS", "3"))
SECONDS = float(os.environ.get("SECONDS", "2"))
INTO = os.environ.get("INTO")


def tell(name: str, text: str, *, whole: bool = True) -> None:
    """Print a block, and put it in place of the last one of its name in the document; a part of one is only printed."""
    block = f"{_introduction()}\n\n{text}"
    print(block, end="\n\n", flush=True)
    if INTO and whole:
        document = Path(INTO)
        document.write_text(replaced(document.read_text(encoding="utf-8"), name, block), encoding="utf-8")


def replaced(document: str, name: str, block: str) -> str:
    """The document with this block between the marks of its name. Raises ValueError where it has none."""
    begin, end = f"<!-- {name} begin -->\n", f"<!-- {name} end -->"
    before, found, rest = document.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"the document has no place for {name}")
    return f"{before}{begin}{block}\n{end}{after}"


def needs_linux() -> None:
    """Raise SystemExit where nobody says what a process takes of the processor."""
    if not Path("/proc/self/stat").exists():
        raise SystemExit("what a process takes of the processor is read from /proc: this needs Linux")


def _introduction() -> str:
    pinned = "The server under test had one core, all that it needs the other."
    shared = "What was measured shared its core with all that it needs: compare with nothing but the same machine."
    return f"Measured on {datetime.now(UTC):%Y-%m-%d}: {machine.described()}. {pinned if CORES else shared}"
