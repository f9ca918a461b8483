"""How far long work has come: a line that moves in a terminal, and a line every so often in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

EVERY_SECONDS = 10.0

Progress = Callable[[int], None]


@contextmanager
def progress(
    work: str, *, stream: TextIO = sys.stderr, monotonic: Callable[[], float] = time.monotonic
) -> Iterator[Progress]:
    """Show how much of some work is done while the block runs: it calls what it is given with the number so far."""
    with _moving(work) if stream.isatty() else _written(work, stream, monotonic) as show:
        yield show


@contextmanager
def _moving(work: str) -> Iterator[Progress]:
    from rich import progress as bars
    from rich.console import Console

    columns = (bars.SpinnerColumn(), bars.TextColumn("{task.description}: {task.completed}"), bars.TimeElapsedColumn())
    with bars.Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(work, total=None)
        yield lambda done: shown.update(task, completed=done)


@contextmanager
def _written(work: str, stream: TextIO, monotonic: Callable[[], float]) -> Iterator[Progress]:
    told_at = monotonic()

    def show(done: int) -> None:
        nonlocal told_at
        if monotonic() - told_at >= EVERY_SECONDS:
            told_at = monotonic()
            stream.write(f"{work}: {done} so far\n")
            stream.flush()

    yield show
