"""What was skipped is said at the end, by its reasons; where nothing may be (`REQUIRE_ALL=1`), it has failed: hooks of
pytest.
"""

import os
from collections import Counter
from collections.abc import Generator

import pytest

ALL_REQUIRED = os.environ.get("REQUIRE_ALL") == "1"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _judge(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _judge(report)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for reason, times in sorted(Counter(map(_reason, terminalreporter.stats.get("skipped", []))).items()):
        terminalreporter.write_line(f"Skipped, {times} times: {reason}", yellow=True)


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    said = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return said.removeprefix("Skipped: ")


def _judge(report: pytest.TestReport | pytest.CollectReport) -> None:
    if ALL_REQUIRED and report.skipped and not hasattr(report, "wasxfail"):
        reason = _reason(report)
        report.outcome = "failed"
        report.longrepr = f"REQUIRE_ALL=1, and this was not run: {reason}"
