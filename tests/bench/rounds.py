"""Interleaved rounds: in each, the raw answer and every operation on every database, one after the other."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median

from tests.bench import machine
from tests.bench.figures import HEADINGS, Goal, Sample, row, table
from tests.bench.load import Outcome, Work, WrongAnswer, drive, request
from tests.bench.operations import Operation, enrol
from tests.bench.raw import BODY
from tests.bench.servers import Bench, Server, Service, move_postgres_aside
from tests.system.processes import IDP_KEY

CALLERS = 16
FIRST = 50
FIRST_SECONDS = 0.5
RAW = Work(requests=itertools.repeat(request("GET", "/", IDP_KEY)), expected=BODY)


@dataclass(slots=True)
class Cell:
    """One operation on one service, what its rounds have brought, and how many a second it is likely to answer."""

    operation: Operation
    service: Service
    samples: list[Sample] = field(default_factory=list)
    likely_rate: float = FIRST / FIRST_SECONDS


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came of a load, and what the server has taken of its core for it, in seconds."""

    outcome: Outcome
    cpu: float

    @property
    def cpu_ms(self) -> float:
        """Milliseconds of a processor for each request."""
        return self.cpu * 1000 / len(self.outcome.took)

    @property
    def busy(self) -> float:
        """The part of a core that the server had."""
        return self.cpu / self.outcome.seconds


def measure(bench: Bench, cells: Sequence[Cell], rounds: int, seconds: float) -> str:
    """The table of these cells, beside the raw answer."""
    raw = bench.raw()
    for cell in cells:
        with _named(cell):
            # The first load only tells how large the one has to be that warms up.
            _at_saturation(cell, FIRST_SECONDS)
            _at_saturation(cell, cell.operation.warm_up_seconds)
    for _ in range(rounds):
        move_postgres_aside()
        yardstick = load(raw, RAW, seconds)
        for cell in cells:
            with _named(cell):
                cell.samples.append(_sample(cell, yardstick, seconds))
    lines = [_row(cell) for cell in cells]
    return f"{table([HEADINGS, *lines])}\n\n{_raw_answers(cells[0].samples, seconds)}"


@contextmanager
def _named(cell: Cell) -> Iterator[None]:
    """Say which operation was answered wrongly, and end the run."""
    try:
        yield
    except WrongAnswer as wrong:
        raise SystemExit(f"{cell.operation.title}, {cell.service.engine}: {wrong}") from None


def _row(cell: Cell) -> list[str]:
    engine = cell.service.engine
    return row(cell.operation.title, engine, cell.samples, cell.operation.goals.get(engine, Goal()))


def _raw_answers(samples: Sequence[Sample], seconds: float) -> str:
    rate, cpu_ms = (median(getattr(sample, name) for sample in samples) for name in ("raw_rate", "raw_cpu_ms"))
    return (
        f"Medians of {len(samples)} rounds of {seconds:g} s, {CALLERS} callers. The raw answer: {rate:.0f} requests/s, "
        f"{cpu_ms:.3f} ms of CPU each."
    )


def cells(bench: Bench, operations: Sequence[Operation]) -> Iterator[Cell]:
    """Every operation with a service: one on each database for each kind of provider."""
    services: dict[tuple[str, bool], Service] = {}
    for tls in sorted({operation.tls for operation in operations}):
        provider = bench.provider(tls=tls)
        for engine in bench.engines:
            services[engine, tls] = service = bench.service(engine, provider, OKTA_HOOK="true")
            enrol(service)
    for operation in operations:
        for engine in bench.engines:
            yield Cell(operation, services[engine, operation.tls])


def _sample(cell: Cell, raw: Loaded, seconds: float) -> Sample:
    full = _at_saturation(cell, seconds)
    half = _at_half_load(cell, seconds)
    return Sample(
        rate=full.outcome.rate,
        raw_rate=raw.outcome.rate,
        cpu_ms=full.cpu_ms,
        raw_cpu_ms=raw.cpu_ms,
        busy=full.busy,
        p50_ms=full.outcome.ms(50),
        p99_ms=full.outcome.ms(99),
        half_p50_ms=half.ms(50),
        half_p99_ms=half.ms(99),
    )


def _at_saturation(cell: Cell, seconds: float) -> Loaded:
    work = cell.operation.work(cell.service, int(cell.likely_rate * seconds))
    full = load(cell.service.server, work, seconds)
    cell.likely_rate = full.outcome.rate
    return full


def _at_half_load(cell: Cell, seconds: float) -> Outcome:
    rate = cell.likely_rate / 2
    work = cell.operation.work(cell.service, int(rate * seconds) + 1)
    return drive(cell.service.server.port, work, callers=CALLERS, seconds=seconds, rate=rate)


def load(server: Server, work: Work, seconds: float, callers: int = CALLERS) -> Loaded:
    """As much as the server can answer to so many callers."""
    before = machine.cpu_seconds(server.pid)
    outcome = drive(server.port, work, callers=callers, seconds=seconds)
    return Loaded(outcome, machine.cpu_seconds(server.pid) - before)
