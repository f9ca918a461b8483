"""Prometheus metrics, each declared once. No label ever holds anything of a person."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest

CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """The metrics of one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Histogram(
            "idv_http_request_seconds",
            "Requests by method, route template and status, with their duration in seconds.",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._decisions = Counter(
            "idv_decisions", "Decisions by action and reason.", ["action", "reason"], registry=self._registry
        )
        self._provider_calls = Histogram(
            "idv_provider_call_seconds",
            "Calls to the provider by endpoint and HTTP status («failed» without one), with their duration in seconds.",
            ["endpoint", "status"],
            registry=self._registry,
        )

    def request(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self._requests.labels(method, route or "unknown", status).observe(seconds)

    def decision(self, action: str, reason: str) -> None:
        """Count a decision."""
        self._decisions.labels(action, reason).inc()

    def provider_call(self, endpoint: str, status: int | None, seconds: float) -> None:
        """Count a call to the provider; `status` is None where no answer came."""
        self._provider_calls.labels(endpoint, status or "failed").observe(seconds)

    def render(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self._registry)
