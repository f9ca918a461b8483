"""Processors and memory, as Linux tells of them."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def cores() -> tuple[int, int] | None:
    """The core of what is measured, and the core of all that it needs; None where they must share."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    allowed = sorted(os.sched_getaffinity(0))
    return (allowed[0], allowed[1]) if len(allowed) > 1 else None


@contextmanager
def on_cores(*cores: int | None) -> Iterator[None]:
    """Processes that are started in this block stay on these cores; without any they are left where they are."""
    chosen = set(cores) - {None}
    if not chosen:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cast(set[int], chosen))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def family(pid: int) -> list[int]:
    """A process and all that it has started."""
    found = [pid]
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [each for child in children.read_text().split() for each in family(int(child))]
    return found


def cpu_seconds(pid: int) -> float:
    """What a process and all that it has started have taken of the processors."""
    return sum(_ticks(each) for each in family(pid)) / TICKS


def _ticks(pid: int) -> int:
    # proc(5): utime and stime are the 14th and 15th members, and the second may hold spaces.
    members = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(members[11]) + int(members[12])


def memory_mb(pid: int) -> float:
    """The resident memory of one process, in megabytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 1e6


def described() -> str:
    """The machine, for whoever compares figures."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    return f"{os.cpu_count()} cores ({model}), Python {platform.python_version()}"
