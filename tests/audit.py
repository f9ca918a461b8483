"""Asks the advisory service (through pip-audit) about each package of the lock file, and says about which it got no
answer.

Run it with `make audit`. In CI (`CI=true`) a package without an answer is a failure, unless the service cannot be
reached at all.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
LOCK = REPOSITORY / "requirements.lock.txt"
PIP_AUDIT = Path(sys.executable).with_name("pip-audit")
# It is about signing with "ecdsa", which python-jose pulls in and never calls: it signs with "cryptography".
IGNORED = ("CVE-2024-23342",)
LIMIT_SECONDS = 10 * 60
_NO_CONNECTION = re.compile(
    r"^requests\.exceptions\.(?:Connection|Proxy|SSL)Error|^requests\.exceptions\.\w*Timeout"
    r"|Could not connect to PyPI|PyPI is not redirecting properly",
    re.MULTILINE,
)
UNREACHABLE = "Dependency audit: NOTHING WAS AUDITED, the advisory service cannot be reached"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to say, and whether the audit has failed."""

    text: str
    failed: bool


def judge(report: str, errors: str, *, in_ci: bool) -> Verdict:
    """What pip-audit's report means: JSON, or nothing, where it gave up and wrote why into `errors`."""
    try:
        packages: list[dict[str, Any]] = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        if _NO_CONNECTION.search(errors):
            return Verdict(f"{UNREACHABLE}.", failed=False)
        return Verdict(f"Dependency audit: pip-audit failed.\n{errors}", failed=True)
    unanswered = [f"  {package['name']}: {package['skip_reason']}" for package in packages if "skip_reason" in package]
    vulnerable = [_advisory(package, found) for package in packages for found in package.get("vulns", [])]
    if not packages:
        return Verdict("Dependency audit: the lock file names no package.", failed=True)
    if len(unanswered) == len(packages):
        return Verdict(f"{UNREACHABLE}: it has no answer about any of {len(packages)} packages.", failed=False)
    lines = [
        f"Dependency audit: {len(packages) - len(unanswered)} packages audited, {len(vulnerable)} advisories.",
        *vulnerable,
    ]
    if unanswered:
        lines += [f"{len(unanswered)} packages could NOT be audited:", *unanswered]
    return Verdict("\n".join(lines), failed=bool(vulnerable) or (in_ci and bool(unanswered)))


def _advisory(package: dict[str, Any], found: dict[str, Any]) -> str:
    names = ", ".join([found["id"], *found.get("aliases", [])])
    fixed_in = ", ".join(found.get("fix_versions", [])) or "no version yet"
    return f"  {package['name']} {package['version']}: {names}, fixed in {fixed_in}"


def main() -> None:
    """Ask about the whole lock file; the exit code is 1 when the audit has failed."""
    ignored = [option for advisory in IGNORED for option in ("--ignore-vuln", advisory)]
    command = [
        str(PIP_AUDIT),
        "--disable-pip",
        "--progress-spinner",
        "off",
        "--format",
        "json",
        *ignored,
        "-r",
        str(LOCK),
    ]
    ran = subprocess.run(  # noqa: S603  a tool of our own environment
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
    )
    verdict = judge(ran.stdout, ran.stderr, in_ci=os.environ.get("CI") == "true")
    print(verdict.text)
    raise SystemExit(verdict.failed)


if __name__ == "__main__":
    main()
