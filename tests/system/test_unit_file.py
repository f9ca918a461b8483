"""deploy/systemd/idv-gateway.service, read by the real systemd-analyze."""

import re
import subprocess
from pathlib import Path

import pytest

from app.settings import Settings
from tests.harness.containers import composition, read
from tests.harness.programs import program_or_skip
from tests.harness.waiting import PATIENCE
from tests.system.processes import IDV

UNIT = read("deploy/systemd/idv-gateway.service")
MOST_EXPOSED = 15  # of 100: 1.5 in systemd's own words


def analyze(*arguments: str) -> "subprocess.CompletedProcess[str]":
    systemd = program_or_skip("systemd-analyze")
    return subprocess.run([systemd, *arguments], capture_output=True, text=True, check=False, timeout=PATIENCE)  # noqa: S603  fixed


@pytest.fixture
def unit(tmp_path: Path) -> str:
    """The unit, with the program where it is here."""
    file = tmp_path / "idv-gateway.service"
    file.write_text(UNIT.replace("/opt/idv-gateway/bin/idv", str(IDV)))
    return str(file)


def test_systemd_finds_no_fault(unit: str) -> None:
    verified = analyze("verify", "--man=no", unit)
    assert (verified.returncode, verified.stderr) == (0, "")


def test_systemd_finds_it_hardened(unit: str) -> None:
    judged = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSED}", "--no-pager", unit)
    assert judged.returncode == 0, judged.stdout


def test_each_secret_is_a_credential_that_the_settings_read() -> None:
    loaded = dict(re.findall(r"^LoadCredential=(\w+):(\S+)$", UNIT, re.MULTILINE))
    named = dict(re.findall(r"^Environment=(\w+)_FILE=%d/(\w+)$", UNIT, re.MULTILINE))
    assert loaded == {
        name: f"/etc/idv-gateway/secrets/{name}" for name in composition()["secrets"] if name != "database_password"
    }
    assert named == {name.upper(): name for name in loaded}
    assert set(loaded) <= set(Settings.model_fields)
