import os
import subprocess
import sys
from pathlib import Path

from tests.harness.containers import REPOSITORY

SKIPPED = {
    "test": "def test_it(): pytest.skip('no program')",
    "fixture": "@pytest.fixture\ndef program(): pytest.skip('no program')\ndef test_it(program): pass",
    "mark": "@pytest.mark.skipif(True, reason='no program')\ndef test_it(): pass",
    "module": "pytest.skip('no program', allow_module_level=True)",
}
OTHERS = "def test_passes(): pass\n@pytest.mark.xfail\ndef test_fails_as_expected(): assert False"


def run(folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    for name, test in {**SKIPPED, "others": OTHERS}.items():
        (folder / f"test_{name}.py").write_text(f"import pytest\n{test}\n")
    options = ("-q", "-p", "tests.harness.skips", "-p", "no:cacheprovider", "--continue-on-collection-errors")
    return subprocess.run(  # noqa: S603  our own test runner
        [sys.executable, "-m", "pytest", *options, "--rootdir", folder, folder],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(REPOSITORY),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_is_skipped_is_a_failure_where_nothing_may_be(tmp_path: Path) -> None:
    ran = run(tmp_path, REQUIRE_ALL="1")
    assert ran.returncode == 1
    assert ran.stdout.partition("short test summary")[0].count(
        "REQUIRE_ALL=1, and this was not run: no program"
    ) == len(SKIPPED)
    assert "1 failed, 1 passed, 1 xfailed, 3 errors" in ran.stdout


def test_what_is_skipped_elsewhere_is_said_at_the_end(tmp_path: Path) -> None:
    ran = run(tmp_path)
    assert ran.returncode == 0
    assert f"Skipped, {len(SKIPPED)} times: no program" in ran.stdout
