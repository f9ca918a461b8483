"""Spans over OTLP. Imported where the environment asks for traces, and nowhere else: it takes a quarter of a second."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, format_trace_id
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.datastructures import Headers

from app.telemetry.tracing import Answered, Tracing

_NANOSECONDS = 1_000_000_000
_PROPAGATOR = TraceContextTextMapPropagator()


class Spans(Tracing):
    """Makes the spans of requests and of the calls to the provider that they cause."""

    def __init__(self) -> None:
        resource = Resource({"service.name": "idv-gateway"}).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("idv-gateway")

    @contextmanager
    def request(self, method: str, scope: Mapping[str, Any]) -> Iterator[Answered]:
        """The span of one request; its trace's id is on each line that is logged within."""
        with self._tracer.start_as_current_span(
            method,
            context=_PROPAGATOR.extract(Headers(raw=scope["headers"])),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": method},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            structlog.contextvars.bind_contextvars(trace_id=format_trace_id(span.get_span_context().trace_id))
            yield lambda route, status: _describe(span, method, route, status)

    def provider_call(self, endpoint: str, status: int | None, seconds: float) -> None:
        """A call that has just ended, as a span within its request's."""
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
        self._provider.shutdown()


def _describe(span: Span, method: str, route: str | None, status: int) -> None:
    """Name a request's span by its route's template, and say how it was answered."""
    if route:
        span.update_name(f"{method} {route}")
        span.set_attribute("http.route", route)
    span.set_attribute("http.response.status_code", status)
    if status >= 500:
        span.set_status(StatusCode.ERROR)
