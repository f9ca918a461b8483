from app.telemetry.metrics import Metrics


def test_a_word_that_nobody_foresaw_is_counted_as_another() -> None:
    metrics = Metrics(words=["verified"])
    for reason in ("verified", "a" * 60_000, "b"):
        metrics.decision("continue", reason)
        metrics.callback("relay", reason)
    for status in (200, 999, 5, None):
        metrics.provider_call("keys", status, 0.1)
    samples = [line for line in metrics.render().decode().splitlines() if "_total{" in line or "_count{" in line]
    assert samples == [
        'idv_decisions_total{action="continue",reason="verified"} 1.0',
        'idv_decisions_total{action="continue",reason="other"} 2.0',
        'idv_callbacks_total{outcome="verified",step="relay"} 1.0',
        'idv_callbacks_total{outcome="other",step="relay"} 2.0',
        'idv_provider_call_seconds_count{endpoint="keys",status="2xx"} 1.0',
        'idv_provider_call_seconds_count{endpoint="keys",status="other"} 2.0',
        'idv_provider_call_seconds_count{endpoint="keys",status="failed"} 1.0',
    ]
