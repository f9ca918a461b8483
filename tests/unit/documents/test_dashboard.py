"""The dashboard reads what the service measures: each metric, label and value, held against the registry as the alerts
are.
"""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.harness.containers import read
from tests.harness.programs import program_or_skip
from tests.harness.waiting import PATIENCE
from tests.unit.documents.test_alerts import TARGET_LABELS, accepted_values, known_series, selectors

DASHBOARD = json.loads(read("deploy/grafana.json"))
PANELS: dict[str, dict[str, Any]] = {panel["title"]: panel for panel in DASHBOARD["panels"]}
VARIABLES = {variable["name"] for variable in DASHBOARD["templating"]["list"]}


def expressions(title: str) -> list[str]:
    return [target["expr"] for target in PANELS[title]["targets"]]


@pytest.mark.parametrize("title", PANELS)
def test_every_metric_label_and_value_of_a_panel_exists(title: str) -> None:
    series = known_series()
    for target in PANELS[title]["targets"]:
        read_by_panel = selectors(target)
        assert read_by_panel
        labels = set()
        for metric, matchers in read_by_panel:
            assert metric == "up" or metric in series, metric
            known = TARGET_LABELS | series.get(metric, set())
            labels |= known
            assert {label for label, _, _ in matchers} <= known
            assert ("job", "=", "idv") in matchers
            for label, operator, value in matchers:
                accepted = accepted_values(label)
                wanted = value.split("|") if operator in {"=~", "!~"} else [value]
                assert accepted is None or all(any(re.fullmatch(one, known) for known in accepted) for one in wanted)
        grouped = {label for group in re.findall(r"\bby \(([^)]*)\)", target["expr"]) for label in group.split(", ")}
        assert grouped <= labels
        shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        assert shown <= (grouped or TARGET_LABELS)


def test_every_metric_of_the_service_is_shown() -> None:
    shown = {metric for title in PANELS for target in PANELS[title]["targets"] for metric, _ in selectors(target)}
    families = {re.sub(r"_(bucket|count|sum)$", "", metric) for metric in known_series()}
    assert {re.sub(r"_(bucket|count|sum)$", "", metric) for metric in shown} == families | {"up"}


def test_every_panel_says_what_it_shows_and_has_a_place_of_its_own() -> None:
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]
    assert len(PANELS) == len(DASHBOARD["panels"]) == len(set(places))
    assert all(panel["description"] for panel in PANELS.values())
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD["panels"])))
    assert used - {"__rate_interval"} <= VARIABLES


def test_promtool_can_read_every_expression(tmp_path: Path) -> None:
    promtool = program_or_skip("promtool")
    filled = [text.replace("$__rate_interval", "5m") for title in PANELS for text in expressions(title)]
    rules = [{"record": f"idv:panel:{number}", "expr": expression} for number, expression in enumerate(filled)]
    (tmp_path / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    ran = subprocess.run(  # noqa: S603  a fixed command on a file of our own
        [promtool, "check", "rules", "panels.yml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
