import os
from pathlib import Path

import pytest

from app.settings import Settings, load_settings
from tests.unit.settings.given import REQUIRED, Load


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Load:
    """The settings of an environment that holds the required values, the given ones, and nothing else."""
    monkeypatch.chdir(tmp_path)
    for name in set(os.environ):
        monkeypatch.delenv(name)

    def loaded(required: dict[str, str] = REQUIRED, **given: str | None) -> Settings:
        for name, value in {**required, **given}.items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        return load_settings()

    return loaded
