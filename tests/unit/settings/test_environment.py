"""Variables that libraries read by themselves are checked like settings, and none of them shows what it holds."""

import certifi
import httpx
import pytest

from tests.unit.settings.given import Load, lines

REFUSED = {
    "ALL_PROXY": ["socks5://u:MARKER@proxy:1080", "socks5h://proxy:1080"],
    "HTTPS_PROXY": [
        "ftp://u:MARKER@proxy",
        "http://u:MARKER@proxy:port",
        "http://u:p#MARKER@proxy:1",
        "http://",
        "http://pro xy:1",
        *("http://u:MARKER@a..b:1", "http://xn--:1", f"http://{'a' * 64}:1"),
    ],
    "https_proxy": ["proxy:port"],
    "NO_PROXY": ["localhost,[::1]", "fd00::/8", "[::1]:80", "a b", "ñ.example", "a:b", "http://a b"],
    "SSL_CERT_FILE": ["/nowhere/MARKER.pem", "/etc/passwd", "/etc"],
    "SSL_CERT_DIR": ["/nowhere/MARKER"],
    "WEB_CONCURRENCY": ["three", "0", "-1", "1.5", "9" * 5000],
}
ACCEPTED = {
    "ALL_PROXY": ["http://proxy:3128", "https://u:p%23w@proxy:3128", "proxy:3128", "http://[fd00::1]:3128", ""],
    "no_proxy": ["localhost,127.0.0.1,::1,.svc,*.example.com,10.0.0.0/8,collector:4317,fe80::1", "*", " a , b,"],
    "SSL_CERT_FILE": [certifi.where()],
    "SSL_CERT_DIR": ["/etc", "/etc:/usr"],
    "WEB_CONCURRENCY": ["1", "3"],
}
COLLECTOR = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}
TRACING = [
    ({**COLLECTOR, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL"),
    ({**COLLECTOR, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"}, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"),
    ({**COLLECTOR, "OTEL_TRACES_EXPORTER": "jaeger"}, "OTEL_TRACES_EXPORTER"),
    ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
    ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "collector"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
    ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://["}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
    ({**COLLECTOR, "OTEL_BSP_MAX_QUEUE_SIZE": "-1"}, "OTEL_BSP_MAX_QUEUE_SIZE"),
    ({**COLLECTOR, "OTEL_BSP_SCHEDULE_DELAY": "soon"}, "OTEL_BSP_SCHEDULE_DELAY"),
    ({**COLLECTOR, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4096"}, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"),
    ({**COLLECTOR, "OTEL_BSP_MAX_QUEUE_SIZE": "100"}, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"),
    ({**COLLECTOR, "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "many"}, "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"),
    ({**COLLECTOR, "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "-1"}, "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"),
]


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in REFUSED.items() for value in values])
def test_what_a_library_could_not_work_with_is_one_line(load: Load, name: str, value: str) -> None:
    [line] = lines(load, **{name: value})
    assert line.startswith(f"{name}: ")
    assert "MARKER" not in line


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in ACCEPTED.items() for value in values])
async def test_what_is_accepted_is_accepted_by_the_library(load: Load, name: str, value: str) -> None:
    assert load(**{name: value})
    async with httpx.AsyncClient():
        pass


@pytest.mark.parametrize(("given", "name"), TRACING)
def test_traces_are_sent_over_http_or_the_start_stops(load: Load, given: dict[str, str], name: str) -> None:
    [line] = lines(load, **given)
    assert line.startswith(f"{name}: ")


@pytest.mark.parametrize("given", [given for given, _ in TRACING])
def test_where_no_traces_are_made_their_variables_do_not_matter(load: Load, given: dict[str, str]) -> None:
    assert load(**given, OTEL_SDK_DISABLED="true")
    assert load(**{**COLLECTOR, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_TRACES_EXPORTER": "otlp"})
    assert load(**COLLECTOR, OTEL_BSP_MAX_QUEUE_SIZE="4096", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="4096")
    assert load(**COLLECTOR, OTEL_SPAN_EVENT_COUNT_LIMIT="0", OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT="")
