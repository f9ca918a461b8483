import re
import subprocess
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from app.core.domain import Action, Reason
from app.core.failures import CATALOGUE
from app.telemetry.metrics import Metrics
from tests.harness.containers import REPOSITORY, read
from tests.harness.openapi import document_of
from tests.harness.programs import program_or_skip

DEPLOY = REPOSITORY / "deploy"
[GROUP] = yaml.safe_load(read("deploy/alerts.yml"))["groups"]
RULES: dict[str, dict[str, Any]] = {rule["alert"]: rule for rule in GROUP["rules"]}
TESTS = yaml.safe_load(read("deploy/alerts_test.yml"))["tests"]
SELECTOR = re.compile(r"\b(?P<metric>up|idv_\w+)(?P<matchers>\{[^}]*\})?")
MATCHER = re.compile(r"(?P<label>\w+)\s*(?P<operator>=~|!~|!=|=)\s*\"(?P<value>[^\"]*)\"")

# What Prometheus itself adds to each target and its series.
TARGET_LABELS = {"job", "instance"}


def routes() -> set[str]:
    return set(document_of()["paths"])


def known_series() -> dict[str, set[str]]:
    """The series that one request, one decision and one call leave behind, each with its labels."""
    metrics = Metrics()
    metrics.request("POST", "/v1/callback", 200, 0.1)
    metrics.decision("continue", "verified")
    metrics.callback("relay", "verified")
    metrics.provider_call("token", 200, 0.1)
    samples = [
        sample for family in text_string_to_metric_families(metrics.render().decode()) for sample in family.samples
    ]
    return {sample.name: set(sample.labels) for sample in samples}


def selectors(rule: dict[str, Any]) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """What a rule reads: each metric, with its matchers."""
    found = []
    for match in SELECTOR.finditer(rule["expr"]):
        matchers = [(m["label"], m["operator"], m["value"]) for m in MATCHER.finditer(match["matchers"] or "")]
        found.append((match["metric"], matchers))
    return found


def accepted_values(label: str) -> set[str] | None:
    """Every value that a label can have, where they are a closed list."""
    match label:
        case "reason":
            return {*Reason, *CATALOGUE}
        case "action":
            return set(Action)
        case "route":
            return routes()
        case "job":
            return {"idv"}
        case _:
            return None


@pytest.mark.parametrize("alert", RULES)
def test_every_metric_and_label_of_a_rule_exists(alert: str) -> None:
    series = known_series()
    read_by_rule = selectors(RULES[alert])
    assert read_by_rule
    for metric, matchers in read_by_rule:
        assert metric == "up" or metric in series, metric
        labels = TARGET_LABELS if metric == "up" else series[metric] | TARGET_LABELS
        assert {label for label, _, _ in matchers} <= labels
    grouped = {
        label.strip() for labels in re.findall(r"\bby \(([^)]*)\)", RULES[alert]["expr"]) for label in labels.split(",")
    }
    assert grouped <= TARGET_LABELS.union(*(series.get(metric, set()) for metric, _ in read_by_rule))


@pytest.mark.parametrize("alert", RULES)
def test_every_value_that_a_rule_looks_for_can_come(alert: str) -> None:
    for _, matchers in selectors(RULES[alert]):
        for label, operator, value in matchers:
            accepted = accepted_values(label)
            if accepted is None:
                continue
            wanted = value.split("|") if operator in {"=~", "!~"} else [value]
            for one in wanted:
                assert any(re.fullmatch(one, known) or one == known for known in accepted), one


@pytest.mark.parametrize("alert", RULES)
def test_every_rule_says_how_bad_it_is_what_happens_and_where_to_read_on(alert: str) -> None:
    rule = RULES[alert]
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert (
        rule["annotations"]["runbook_url"] == f"{{{{ $externalLabels.idv_documents }}}}/operations.md#{alert.lower()}"
    )


def test_every_rule_has_a_test_in_which_it_fires_alone() -> None:
    fires_alone = {
        re.findall(r'alertname="(\w+)"', expected[0]["labels"])[0]
        for test in TESTS
        for check in test.get("promql_expr_test", [])
        if len(expected := check["exp_samples"]) == 1
    }
    assert fires_alone == set(RULES)


@pytest.mark.parametrize(
    "arguments", [("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")], ids=" ".join
)
def test_promtool_finds_no_fault(arguments: tuple[str, ...]) -> None:
    ran = subprocess.run(  # noqa: S603  a fixed command on our own files
        [program_or_skip("promtool"), *arguments], cwd=DEPLOY, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
