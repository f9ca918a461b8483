"""What happens beyond what the service can answer, what it weighs then, and how soon it is there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from statistics import median

from tests.bench import machine
from tests.bench.figures import percentile, yes_or_no
from tests.bench.load import Outcome, drive
from tests.bench.operations import OPERATIONS, Operation, enrol
from tests.bench.rounds import CALLERS
from tests.bench.servers import SQLITE, Bench, Service

MANY = 512
TIMES = 5
OVERLOADED_MS = 2000
CALLER_SECONDS = 10
"""How long callers wait for an answer."""
MEMORY_MB = 150
READY_SECONDS = {1: 0.8, 2: 2.5}
HELP_CPU_SECONDS = 0.4
HEADINGS = ("", "database", "measured", "goal", "met")
Line = tuple[str, str, str, str, str]


def under_overload(bench: Bench, seconds: float) -> Iterator[Line]:
    """More than the service can answer: each caller is answered in time, or told at once to come back.

    Any other answer ends the measurement. What one worker weighs afterwards is the last line of each database.
    """
    provider = bench.provider()
    for engine in bench.engines:
        service = bench.service(engine, provider)
        enrol(service)
        for operation in OPERATIONS:
            if operation.name in {"status", "start-new"}:
                yield from _overloaded(service, operation, seconds)
        weight = machine.memory_mb(service.server.pid)
        yield (
            f"memory of a worker after {MANY} callers",
            engine,
            f"{weight:.0f} MB",
            f"≤ {MEMORY_MB} MB",
            yes_or_no(weight <= MEMORY_MB),
        )


def _overloaded(service: Service, operation: Operation, seconds: float) -> Iterator[Line]:
    work = replace(operation.work(service, 0), may_refuse=True)
    saturating = drive(service.server.port, work, callers=CALLERS, seconds=seconds).rate
    twice = drive(service.server.port, work, callers=MANY, seconds=2 * seconds, rate=2 * saturating)
    yield (
        f"{operation.title}, at twice the load that saturates",
        service.engine,
        _told(twice),
        f"p99 of those answered ≤ {OVERLOADED_MS} ms",
        yes_or_no(twice.ms(99) <= OVERLOADED_MS),
    )
    crowd = drive(service.server.port, work, callers=MANY, seconds=2 * seconds)
    slowest = max(crowd.took + crowd.refused)
    yield (
        f"{operation.title}, {MANY} callers without a pause",
        service.engine,
        f"{_told(crowd)}; the slowest {slowest * 1000:.0f} ms",
        f"everybody ≤ {CALLER_SECONDS} s",
        yes_or_no(slowest <= CALLER_SECONDS),
    )


def _told(outcome: Outcome) -> str:
    answered = f"{len(outcome.took)} answered, p99 {outcome.ms(99):.0f} ms"
    if not outcome.refused:
        return answered
    return f"{answered}; {len(outcome.refused)} told to come back, p99 {percentile(outcome.refused, 99) * 1000:.0f} ms"


def at_the_start(bench: Bench) -> Iterator[Line]:
    """How soon `/readyz` answers, on one core, and what the shortest command takes."""
    url = bench.database(SQLITE)
    for workers, goal in READY_SECONDS.items():
        times = [_until_ready(bench, url, workers) for _ in range(TIMES)]
        took, cpu = (median(column) for column in zip(*times, strict=True))
        yield (
            f"`/readyz` after the start, {workers} worker(s)",
            SQLITE,
            f"{took:.2f} s, CPU {cpu:.2f} s",
            f"≤ {goal} s",
            yes_or_no(took <= goal),
        )
    cpu = median(bench.run("--help").cpu for _ in range(TIMES))
    goal_text = f"≤ {HELP_CPU_SECONDS} s"
    yield "`idv --help`, CPU", "–", f"{cpu:.2f} s", goal_text, yes_or_no(cpu <= HELP_CPU_SECONDS)


def _until_ready(bench: Bench, url: str, workers: int) -> tuple[float, float]:
    """How long it takes, and what it takes of the processor, in seconds."""
    began = time.perf_counter()
    with bench.serving({"DATABASE_URL": url}, workers=workers) as server:
        return time.perf_counter() - began, machine.cpu_seconds(server.pid)
