"""Prometheus metrics, each declared once. No label ever holds anything of a person.

Many processes write to files in the folder that `PROMETHEUS_MULTIPROC_DIR` names, and each of them answers for all.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_LATEST
OTHER = "other"
FOLDER = "PROMETHEUS_MULTIPROC_DIR"

# A series for the birth of each series tells nobody anything, and costs as much as the others.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """The metrics of one process, or of all that share the `folder` which `PROMETHEUS_MULTIPROC_DIR` names.

    Each label's values come from a closed set, whatever is sent from outside: `words` are those of a reason and an
    outcome.
    """

    def __init__(self, folder: str | None = None, *, words: Iterable[str] = ()) -> None:
        self._folder = folder
        self._words = frozenset(words)
        self._registry = registry = CollectorRegistry()
        self._requests = Histogram(
            "idv_http_request_seconds",
            "Requests by method, route template and status, with their duration in seconds.",
            ["method", "route", "status"],
            registry=registry,
        )
        # To look one up by its labels takes longer than to count in it.
        self._series: dict[tuple[str, str, int], Histogram] = {}
        self._in_flight = Gauge(
            "idv_http_requests_in_flight",
            "Requests that are being answered.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._decisions = Counter(
            "idv_decisions", "Decisions by action and reason.", ["action", "reason"], registry=registry
        )
        self._callbacks = Counter(
            "idv_callbacks",
            "Callbacks by step (relay, return, confirmation) and outcome: a reason, a problem's code or a page's kind.",
            ["step", "outcome"],
            registry=registry,
        )
        self._provider_calls = Histogram(
            "idv_provider_call_seconds",
            "Calls to the provider by endpoint and class of HTTP status (`failed` without one), with their duration.",
            ["endpoint", "status"],
            registry=registry,
        )
        self._key_refetches = Counter(
            "idv_key_refetches",
            "Fetches of the provider's keys because of an ID token that none fitted.",
            registry=registry,
        )
        self._connections = Gauge(
            "idv_database_connections_in_use",
            "Connections of the database pool that are in use.",
            registry=registry,
            multiprocess_mode="livesum",
        )

    def in_flight(self, change: int) -> None:
        """Count a request that has come (1) or that was answered (-1)."""
        self._in_flight.inc(change)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        series = self._series.get((method, route, status))
        if series is None:
            series = self._series[method, route, status] = self._requests.labels(method, route, status)
        series.observe(seconds)

    def decision(self, action: str, reason: str) -> None:
        """Count a decision."""
        self._decisions.labels(action, self._word(reason)).inc()

    def callback(self, step: str, outcome: str) -> None:
        """Count a callback that was answered."""
        self._callbacks.labels(step, self._word(outcome)).inc()

    def _word(self, word: str) -> str:
        return word if word in self._words else OTHER

    def provider_call(self, endpoint: str, status: int | None, seconds: float) -> None:
        """Count a call to the provider; `status` is None where no answer came."""
        self._provider_calls.labels(endpoint, _status_class(status)).observe(seconds)

    def key_refetch(self) -> None:
        """Count a fetch of the keys that an ID token brought about."""
        self._key_refetches.inc()

    def connection(self, change: int) -> None:
        """Count a connection that was taken out of the pool (1) or put back (-1)."""
        self._connections.inc(change)

    def render(self) -> bytes:
        """All metrics in Prometheus's text format."""
        if self._folder is None:
            return generate_latest(self._registry)
        everybodys = CollectorRegistry()
        everybodys.register(_EverybodysMetrics(Path(self._folder)))
        return generate_latest(everybodys)


def _status_class(status: int | None) -> str:
    if status is None:
        return "failed"
    return f"{status // 100}xx" if 100 <= status <= 599 else OTHER


class _EverybodysMetrics(Collector):
    """What every process that shares the folder has counted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        _forget_gauges_of_the_dead(self._folder)
        begun = [str(file) for file in self._folder.glob("*.db") if _has_begun(file)]
        metrics: Iterable[Metric] = MultiProcessCollector.merge(begun)  # type: ignore[no-untyped-call]
        return metrics


def _has_begun(file: Path) -> bool:
    """Whether there is something in it.

    A process that starts makes its files empty, and the library cannot read such a one.
    """
    try:
        return file.stat().st_size > 0
    except FileNotFoundError:
        return False


def _forget_gauges_of_the_dead(folder: Path) -> None:
    """What a process that was killed had in hand is in nobody's hands any more."""
    for file in folder.glob("gauge_live*_*.db"):
        if not _is_alive(int(file.stem.rpartition("_")[2])):
            file.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
