"""OpenTelemetry traces, where the standard `OTEL_…` variables ask for them. No attribute ever holds anything of a person.

The ready-made instrumentations are not used: they put addresses on spans, and ours hold users' ids and codes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import NoOpTracer, Span, SpanKind, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_NANOSECONDS = 1_000_000_000
_PROPAGATOR = TraceContextTextMapPropagator()


def is_asked_for(environment: Mapping[str, str]) -> bool:
    """Whether the environment names where traces go (OpenTelemetry's general and OTLP exporter configuration)."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or environment.get("OTEL_TRACES_EXPORTER") == "none":
        return False
    return any(environment.get(f"OTEL_EXPORTER_OTLP_{name}") for name in ("ENDPOINT", "TRACES_ENDPOINT"))


class Tracing:
    """Makes the spans of requests and of the calls to the provider that they cause. Without a provider it makes none."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._provider = provider
        self._tracer: Tracer = provider.get_tracer("idv-gateway") if provider else NoOpTracer()

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Tracing:
        """Traces to where the environment says, over OTLP in HTTP; where it says nothing, none."""
        if not is_asked_for(environment):
            return cls()
        provider = TracerProvider(resource=Resource({"service.name": "idv-gateway"}).merge(OTELResourceDetector().detect()))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        return cls(provider)

    @contextmanager
    def request(self, method: str, headers: Mapping[str, str]) -> Iterator[Span]:
        """The span of one request, part of its caller's trace where the request names one (W3C Trace Context)."""
        with self._tracer.start_as_current_span(
            method,
            context=_PROPAGATOR.extract(headers),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": method},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            yield span

    def provider_call(self, endpoint: str, status: int | None, seconds: float) -> None:
        """A call to the provider that has just ended, as a span within its request's."""
        ended = time.time_ns()
        started = ended - int(seconds * _NANOSECONDS)
        span = self._tracer.start_span(endpoint, kind=SpanKind.CLIENT, start_time=started)
        if status is None:
            span.set_status(StatusCode.ERROR)
        else:
            span.set_attribute("http.response.status_code", status)
        span.end(ended)

    def close(self) -> None:
        """Send what is left. It may block for as long as the exporter's time-out."""
        if self._provider:
            self._provider.shutdown()


def describe_response(span: Span, method: str, route: str | None, status: int) -> None:
    """Name a request's span by its route's template, and say how it was answered."""
    if route:
        span.update_name(f"{method} {route}")
        span.set_attribute("http.route", route)
    span.set_attribute("http.response.status_code", status)
    if status >= 500:
        span.set_status(StatusCode.ERROR)


def current_trace_id() -> str | None:
    """The trace that is being recorded now, as 32 hexadecimal digits."""
    context = trace.get_current_span().get_span_context()
    return trace.format_trace_id(context.trace_id) if context.is_valid else None
