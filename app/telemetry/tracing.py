"""OpenTelemetry traces, where the standard `OTEL_…` variables ask for them.

No attribute ever holds anything of a person. The ready-made instrumentations are not used: they put addresses on spans,
and ours hold users' ids and codes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

Answered = Callable[[str | None, int], None]
"""Told of a request's route, by its template, and of the status that it was answered with."""


def is_asked_for(environment: Mapping[str, str]) -> bool:
    """Whether the environment names where traces go (OpenTelemetry's general and OTLP exporter configuration)."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or environment.get("OTEL_TRACES_EXPORTER") == "none":
        return False
    return any(environment.get(f"OTEL_EXPORTER_OTLP_{name}") for name in ("ENDPOINT", "TRACES_ENDPOINT"))


def _say_nothing(_route: str | None, _status: int) -> None:
    pass


_NO_SPAN: AbstractContextManager[Answered] = nullcontext(_say_nothing)


class Tracing:
    """Where nobody asks for traces: it makes none, and costs nothing."""

    @staticmethod
    def of(environment: Mapping[str, str]) -> Tracing:
        """Traces to where the environment says, over OTLP in HTTP; where it says nothing, none."""
        if not is_asked_for(environment):
            return Tracing()
        from app.telemetry.spans import Spans  # noqa: PLC0415  it costs a quarter of a second at the start

        return Spans()

    def request(self, _method: str, _scope: Mapping[str, Any]) -> AbstractContextManager[Answered]:
        """The span of one request, part of its caller's trace where the request names one (W3C Trace Context)."""
        return _NO_SPAN

    def provider_call(self, endpoint: str, status: int | None, seconds: float) -> None:
        """A call to the provider that has just ended; `status` is None where no answer came."""

    def close(self) -> None:
        """Send what is left."""
