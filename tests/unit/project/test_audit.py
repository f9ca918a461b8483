import json
from typing import Any

import pytest

from tests.audit import UNREACHABLE, judge

AUDITED: dict[str, Any] = {"name": "httpx", "version": "0.28.1", "vulns": []}
UNKNOWN: dict[str, Any] = {"name": "made-up", "skip_reason": "not found"}
VULNERABLE: dict[str, Any] = {
    "name": "jinja2",
    "version": "3.0",
    "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["3.1"], "description": "long"}],
}


def report(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


@pytest.mark.parametrize("in_ci", [False, True])
def test_an_advisory_fails_the_audit_everywhere_and_is_named(*, in_ci: bool) -> None:
    verdict = judge(report(AUDITED, VULNERABLE), "", in_ci=in_ci)
    assert verdict.failed
    assert "jinja2 3.0: PYSEC-1, CVE-1, fixed in 3.1" in verdict.text


@pytest.mark.parametrize("in_ci", [False, True])
def test_an_answer_about_every_package_passes(*, in_ci: bool) -> None:
    verdict = judge(report(AUDITED, AUDITED), "", in_ci=in_ci)
    assert not verdict.failed
    assert verdict.text == "Dependency audit: 2 packages audited, 0 advisories."


@pytest.mark.parametrize("in_ci", [False, True])
def test_a_package_without_an_answer_is_named_and_fails_in_ci(*, in_ci: bool) -> None:
    verdict = judge(report(AUDITED, UNKNOWN), "", in_ci=in_ci)
    assert verdict.failed is in_ci
    assert "1 packages could NOT be audited:\n  made-up: not found" in verdict.text


@pytest.mark.parametrize(
    ("said", "errors"),
    [
        (report(UNKNOWN, UNKNOWN), "No known vulnerabilities found"),
        ("", "Traceback\nrequests.exceptions.ConnectionError: HTTPSConnectionPool: Max retries exceeded"),
        ("", "Traceback\nrequests.exceptions.ProxyError: Unable to connect to proxy"),
        ("", "Traceback\nrequests.exceptions.SSLError: certificate verify failed"),
        ("", "Traceback\nrequests.exceptions.ReadTimeout: timed out"),
        ("", "ERROR:pip_audit._cli:Could not connect to PyPI's vulnerability feed"),
    ],
    ids=["it knows no package", "no connection", "no proxy", "no trust", "no answer in time", "as the tool says it"],
)
@pytest.mark.parametrize("in_ci", [False, True])
def test_a_service_that_cannot_be_reached_is_said_in_as_many_words(said: str, errors: str, *, in_ci: bool) -> None:
    verdict = judge(said, errors, in_ci=in_ci)
    assert not verdict.failed
    assert verdict.text.startswith(UNREACHABLE)
    assert "audited, " not in verdict.text


@pytest.mark.parametrize(
    "said", ["", "no JSON", "[]", "{}", report()], ids=["nothing", "text", "list", "no list", "no package"]
)
def test_a_tool_that_fails_otherwise_fails_the_audit(said: str) -> None:
    verdict = judge(said, "ServiceError: 500, and Timeout is a word in a package's name", in_ci=False)
    assert verdict.failed
