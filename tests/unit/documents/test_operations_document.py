"""docs/operations.md tells of each metric and of each alert, and of no other."""

import re

import yaml
from prometheus_client.parser import text_string_to_metric_families

from app.telemetry.metrics import Metrics
from tests.harness.containers import REPOSITORY

TEXT = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")


def exercised() -> dict[str, set[str]]:
    """Each metric with its labels, once everything was counted."""
    metrics = Metrics()
    metrics.request("GET", "/healthz", 200, 0.1)
    metrics.decision("continue", "verified")
    metrics.callback("relay", "verified")
    metrics.provider_call("keys", None, 0.1)
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        family.name + ("_total" if family.type == "counter" else ""): set(family.samples[0].labels) - {"le"}
        for family in families
    }


def test_each_metric_is_named_with_its_labels() -> None:
    rows = re.findall(r"^\| `(idv_\w+)` \| (\w+) \| ([^|]*)\|$", TEXT, re.MULTILINE)
    named = {name: set(re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)", "", labels))) for name, _, labels in rows}
    assert named == exercised()


def test_each_alert_has_its_section() -> None:
    rules = yaml.safe_load((REPOSITORY / "deploy" / "alerts.yml").read_text(encoding="utf-8"))["groups"][0]["rules"]
    assert re.findall(r"^### (\w+)$", TEXT, re.MULTILINE) == [rule["alert"] for rule in rules]
