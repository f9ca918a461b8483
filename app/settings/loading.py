"""The settings of a deployment: every mistake in them is one line, and all are told at once."""

from __future__ import annotations

import os
from typing import Any, TypeVar

from pydantic import ValidationError

from app.settings.environment import mistakes_in
from app.settings.model import DatabaseSettings, Settings
from app.settings.names import FILE_SUFFIX

_Kind = TypeVar("_Kind", bound=DatabaseSettings)


class SettingsInvalid(Exception):
    """Settings that are missing or wrong. `lines` has one for each, naming the setting and never a secret's value."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("; ".join(lines))
        self.lines = lines


def load_settings() -> Settings:
    """The settings of the environment and, where that says nothing, of `.env`. Raises SettingsInvalid."""
    return _load(Settings, mistakes_in(os.environ))


def load_database_settings() -> DatabaseSettings:
    """What a migration needs of them; the others may be missing. Raises SettingsInvalid."""
    return _load(DatabaseSettings, [])


def _load(kind: type[_Kind], of_the_environment: list[str]) -> _Kind:
    try:
        settings = kind()
    except ValidationError as error:
        raise SettingsInvalid([*of_the_environment, *_lines(error)]) from None
    if of_the_environment:
        raise SettingsInvalid(of_the_environment)
    return settings


def _lines(error: ValidationError) -> list[str]:
    """A line for each mistake. What a source could not use comes first, and is not missing as well."""
    problems = error.errors()
    found = [str(problem["loc"][0]) for problem in problems if problem["type"] == "extra_forbidden"]
    told = {line.partition(":")[0].lower().removesuffix(FILE_SUFFIX) for line in found}
    return found + [_line(problem) for problem in problems if _is_about_a_setting(problem, told)]


def _is_about_a_setting(problem: Any, told: set[str]) -> bool:
    return problem["type"] != "extra_forbidden" and problem["loc"][0] not in told


def _line(problem: Any) -> str:
    message = "is required" if problem["type"] == "missing" else str(problem["msg"]).removeprefix("Value error, ")
    return f"{str(problem['loc'][0]).upper()}: {message}"
