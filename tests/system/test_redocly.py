"""The OpenAPI document is linted by Redocly, with the rules of redocly.yaml."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from app.main import create_app
from tests.harness.programs import program_or_skip
from tests.harness.service import settings_for
from tests.system.processes import REPOSITORY

PINNED = "@redocly/cli@2.77.0"
QUIETLY = {
    "REDOCLY_TELEMETRY": "off",
    "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true",
    "npm_config_fetch_retries": "1",
    "npm_config_prefer_offline": "true",
}
SECONDS = 120


def redocly(*arguments: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # noqa: S603  a version that is pinned
        [program_or_skip("npx"), "--yes", PINNED, *arguments],
        cwd=folder,
        env={**os.environ, **QUIETLY},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def test_redocly_finds_nothing_wrong_with_the_openapi_document(tmp_path: Path) -> None:
    app = create_app(settings_for("http://127.0.0.1:9", "sqlite+aiosqlite:///./idv.db"))
    document = tmp_path / "openapi.json"
    document.write_text(json.dumps(app.openapi()), encoding="utf-8")
    try:
        linted = redocly("lint", str(document), "--config", str(REPOSITORY / "redocly.yaml"), folder=tmp_path)
        is_there = linted.returncode == 0 or redocly("--version", folder=tmp_path).returncode == 0
    except subprocess.TimeoutExpired:
        is_there = False
    if not is_there:
        pytest.skip(f"{PINNED} cannot be fetched or does not run here")
    assert linted.returncode == 0, linted.stdout + linted.stderr
