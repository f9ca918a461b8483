"""What an operator's machinery sees of processes that really run: metrics of all workers together, and traces."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from signal import SIGTERM
from threading import Thread

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client.parser import text_string_to_metric_families

from app.sandbox import Sandbox
from tests.harness.loopback import NO_TLS
from tests.harness.tables import on_sqlite_only
from tests.harness.waiting import PATIENCE
from tests.system.callers import Caller
from tests.system.processes import ADMIN_KEY, Workplace, eventually, serving

pytestmark = [on_sqlite_only, pytest.mark.usefixtures("alone")]

TRACE = "0af7651916cd43dd8448eb211c80319c"


def measured(url: str, name: str) -> dict[str, float]:
    """The samples of a metric, by their labels."""
    text = httpx.get(
        f"{url}/metrics", headers={"Authorization": f"Bearer {ADMIN_KEY}"}, timeout=PATIENCE, verify=NO_TLS
    ).text
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return {" ".join(sample.labels.values()): sample.value for sample in samples if sample.name == name}


def test_each_worker_answers_for_all_and_a_dead_ones_counts_stay(work: Workplace, connected: dict[str, str]) -> None:
    with serving(work, "--workers", "2", **connected) as (service, url):
        before = measured(url, "idv_http_request_seconds_count").get("GET /healthz 200", 0)
        for _ in range(40):
            httpx.get(f"{url}/healthz", timeout=PATIENCE, verify=NO_TLS)
        assert {measured(url, "idv_http_request_seconds_count")["GET /healthz 200"] for _ in range(10)} == {before + 40}
        service.kill_workers()
        service.wait_until(lambda: len(service.workers()) == 2, "new workers")
        eventually(lambda: bool(measured(url, "idv_http_requests_in_flight")), "an answer")
        assert measured(url, "idv_http_request_seconds_count")["GET /healthz 200"] >= before + 40
        assert service.end(SIGTERM) == 0
    assert not list(work.temporary.iterdir())


def test_what_a_killed_worker_had_in_hand_is_forgotten(
    work: Workplace, connected: dict[str, str], provider: Sandbox
) -> None:
    with serving(work, "--workers", "2", **connected) as (service, url), provider.hold("token") as gate:
        login = Caller(url).visited("auth0|ana")
        waiting = Thread(target=_expect_no_answer, args=(Caller(url), login))
        waiting.start()
        gate.wait_for_arrivals(1, PATIENCE)
        assert sum(measured(url, "idv_http_requests_in_flight").values()) >= 2
        service.kill_workers()
        waiting.join()
        service.wait_until(lambda: len(service.workers()) == 2, "new workers")
        eventually(lambda: sum(measured(url, "idv_http_requests_in_flight").values()) == 1, "the new ones' own count")


def test_a_worker_that_has_only_begun_to_count_spoils_nobodys_count(work: Workplace, connected: dict[str, str]) -> None:
    with serving(work, "--workers", "2", **connected) as (_, url):
        [folder] = work.temporary.iterdir()
        for kind in ("counter", "histogram", "gauge_livesum"):
            (folder / f"{kind}_{os.getpid()}.db").touch()
        assert sum(measured(url, "idv_http_requests_in_flight").values()) == 1


def _expect_no_answer(caller: Caller, login: object) -> None:
    with pytest.raises(httpx.TransportError):
        caller.finish(login)  # type: ignore[arg-type]


class Collector:
    """A collector for traces over OTLP in HTTP; keeps what it is sent."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    @property
    def spans(self) -> list[Span]:
        requests = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        resources = [resource for request in requests for resource in request.resource_spans]
        return [span for resource in resources for scope in resource.scope_spans for span in scope.spans]

    @contextmanager
    def running(self) -> Iterator[str]:
        bodies = self.bodies

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            Thread(target=server.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{server.server_address[1]}"
            server.shutdown()


def attributes(span: Span) -> dict[str, object]:
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}


def log_in(url: str) -> tuple[str, ...]:
    """One login, whose callback is part of a trace; returns what no trace may hold."""
    caller = Caller(url)
    login = caller.visited("auth0|ana")
    headers = {"Authorization": f"Bearer {ADMIN_KEY}", "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
    assert (
        httpx.post(f"{url}/v1/callback", json=login.callback, headers=headers, timeout=PATIENCE, verify=NO_TLS).json()[
            "reason"
        ]
        == "verified"
    )
    assert caller.status("auth0%7Cana").status_code == 200
    return "auth0|ana", "auth0%7Cana", login.code, login.callback["state"], ADMIN_KEY


def test_a_request_and_the_calls_that_it_causes_are_one_trace(work: Workplace, connected: dict[str, str]) -> None:
    collector = Collector()
    with collector.running() as endpoint:
        asked = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=test"}
        with serving(work, **connected, **asked) as (service, url):
            private = log_in(url)
            # The last spans are sent before the process ends.
            assert service.end(SIGTERM) == 0
            assert not service.errors
            output = service.output

    spans = [span for span in collector.spans if span.trace_id.hex() == TRACE]
    [request] = [span for span in spans if span.kind == Span.SPAN_KIND_SERVER]
    assert (request.name, request.parent_span_id.hex()) == ("POST /v1/callback", "b7ad6b7169203331")
    assert attributes(request) == {
        "http.request.method": "POST",
        "http.route": "/v1/callback",
        "http.response.status_code": 200,
    }
    calls = [span for span in spans if span.kind == Span.SPAN_KIND_CLIENT]
    assert {span.name for span in calls} == {"token endpoint", "keys", "userinfo endpoint"}
    assert {span.parent_span_id for span in calls} == {request.span_id}
    assert all(span.start_time_unix_nano < span.end_time_unix_nano for span in calls)
    assert any(span.name == "GET /v1/users/{user_id}" for span in collector.spans)
    everything = b"".join(collector.bodies)
    assert b"deployment.environment" in everything
    assert b"idv-gateway" in everything
    assert not [value for value in private if value.encode() in everything]
    assert re.search(rf'"trace_id": ?"{TRACE}"', output)


@pytest.mark.parametrize(
    "switch", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}], ids=["disabled", "none"]
)
def test_no_trace_is_made_where_the_variables_say_so(
    work: Workplace, connected: dict[str, str], switch: dict[str, str]
) -> None:
    collector = Collector()
    with (
        collector.running() as endpoint,
        serving(work, **connected, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, **switch) as (service, url),
    ):
        log_in(url)
        assert service.end(SIGTERM) == 0
    assert not collector.bodies


def test_a_collector_that_is_away_holds_nothing_up_and_writes_no_secrets(
    work: Workplace, connected: dict[str, str]
) -> None:
    asked = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Marked-4711",
    }
    with serving(work, **connected, **asked) as (service, url):
        private = log_in(url)
        assert service.end(SIGTERM) == 0
        assert not [value for value in (*private, "Marked-4711") if value in service.output + service.errors]
