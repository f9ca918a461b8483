"""From what was measured to a table of medians, and whether they are as they should be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median


def percentile(values: Iterable[float], percent: float) -> float:
    """The smallest value that so many in a hundred do not exceed. Raises ValueError where there is none."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("nothing was measured")
    return ordered[max(0, -int(-len(ordered) * percent // 100) - 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One round of one operation, beside the raw answer of the same round.

    `busy` is the part of a core that the server had while as much was asked as it could answer.
    """

    rate: float
    raw_rate: float
    cpu_ms: float
    raw_cpu_ms: float
    busy: float
    p50_ms: float
    p99_ms: float
    half_p50_ms: float
    half_p99_ms: float

    @property
    def ratio(self) -> float:
        """Its requests a second to those of the raw answer."""
        return self.rate / self.raw_rate

    @property
    def ratio_by_cpu(self) -> float:
        """The same by what each takes of the processor, which others on the machine disturb less."""
        return self.raw_cpu_ms / self.cpu_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What the medians must reach; None is no goal."""

    ratio: float | None = None
    cpu_ms: float | None = None
    half_p99_ms: float | None = None

    def __str__(self) -> str:
        parts = [
            f"ratio ≥ {self.ratio}" if self.ratio is not None else "",
            f"CPU ≤ {self.cpu_ms} ms" if self.cpu_ms is not None else "",
            f"p99 at half load ≤ {self.half_p99_ms} ms" if self.half_p99_ms is not None else "",
        ]
        return ", ".join(filter(None, parts)) or "–"

    def met_by(self, samples: Sequence[Sample]) -> bool:
        """Whether the medians of all rounds reach it."""
        return (
            (self.ratio is None or median(sample.ratio for sample in samples) >= self.ratio)
            and (self.cpu_ms is None or median(sample.cpu_ms for sample in samples) <= self.cpu_ms)
            and (self.half_p99_ms is None or median(each.half_p99_ms for each in samples) <= self.half_p99_ms)
        )


HEADINGS = (
    "", "database", "requests/s", "ratio to raw", "spread", "ratio by CPU", "CPU ms", "core",
    "p50 / p99 ms, all", "p50 / p99 ms, half", "goal", "met",
)  # fmt: skip


def row(operation: str, engine: str, samples: Sequence[Sample], goal: Goal) -> list[str]:
    """The medians of all rounds, under HEADINGS."""
    ratios = [sample.ratio for sample in samples]
    middle = {name: median(getattr(sample, name) for sample in samples) for name in Sample.__slots__}
    return [
        operation,
        engine,
        f"{middle['rate']:.0f}",
        f"{median(ratios):.3f}",
        f"{min(ratios):.3f}–{max(ratios):.3f}",
        f"{median(sample.ratio_by_cpu for sample in samples):.3f}",
        f"{middle['cpu_ms']:.2f}",
        f"{middle['busy']:.0%}",
        f"{middle['p50_ms']:.1f} / {middle['p99_ms']:.1f}",
        f"{middle['half_p50_ms']:.1f} / {middle['half_p99_ms']:.1f}",
        str(goal),
        yes_or_no(goal.met_by(samples)) if goal != Goal() else "–",
    ]


def yes_or_no(met: bool) -> str:
    """Whether a goal is met, as the tables say it."""
    return "yes" if met else "**no**"


def table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns stand below each other; the first row holds the headings."""
    widths = [max(len(line[column]) for line in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in rows
    ]
    ruler = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], ruler, *lines[1:]])
