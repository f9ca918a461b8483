from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from app.operator.env_file import render
from app.settings import Settings, load_settings

REPOSITORY = Path(__file__).parents[3]
VALUES = {
    "INCODE_CLIENT_ID": "the client",
    "INCODE_CLIENT_SECRET": "the client secret",
    "REDIRECT_SECRET": "a-secret-of-more-than-thirty-two-characters",
    "ENCRYPTION_KEYS": Fernet.generate_key().decode(),
    "API_KEYS": "acme=a-key-of-more-than-thirty-two-characters",
    "REDIRECT_URI": "https://login.example/continue",
}


def load(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> Settings:
    monkeypatch.chdir(folder)
    for name in set(os.environ):
        if name.lower() in Settings.model_fields:
            monkeypatch.delenv(name)
    (folder / ".env").write_text(text, encoding="utf-8")
    return load_settings()


def test_the_example_is_what_is_rendered() -> None:
    assert (REPOSITORY / ".env.example").read_text(encoding="utf-8") == render()


def test_every_setting_is_there_once_with_its_meaning() -> None:
    entries = re.findall(r"^# (.+)\n(?:# )?([A-Z0-9_]+)=(.*)$", render(), re.MULTILINE)
    assert [name.lower() for _, name, _ in entries] == list(Settings.model_fields)
    assert all(meaning and meaning != "None" for meaning, _, _ in entries)


def test_nothing_is_set_that_is_not_required() -> None:
    required = {name.upper() for name, field in Settings.model_fields.items() if field.is_required()}
    assert set(re.findall(r"^([A-Z0-9_]+)=", render(), re.MULTILINE)) == required
    assert required < set(VALUES)


def test_the_file_with_the_required_values_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(tmp_path, monkeypatch, render(VALUES))
    assert settings.incode_client_id == "the client"
    assert settings.redirect_secrets == [VALUES["REDIRECT_SECRET"]]
    assert settings.fernet_keys == [VALUES["ENCRYPTION_KEYS"]]
    assert [key.holder.name for key in settings.keys] == ["acme"]


def test_the_defaults_that_the_file_shows_are_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commented = render(VALUES)
    uncommented = re.sub(r"^# ([A-Z0-9_]+=)", r"\1", commented, flags=re.MULTILINE)
    assert uncommented != commented
    assert load(tmp_path, monkeypatch, uncommented) == load(tmp_path, monkeypatch, commented)


def test_a_value_replaces_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = render({**VALUES, "REVERIFICATION_HOURS": "5", "SCOPES": "openid profile"})
    settings = load(tmp_path, monkeypatch, text)
    assert (settings.reverification_hours, settings.scopes) == (5, "openid profile")
    assert "# REVERIFICATION_HOURS" not in text
