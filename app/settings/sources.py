"""Where pydantic-settings finds the settings: the environment and `.env`, each with the files that `NAME_FILE` names.

What a source cannot use, it hands on as a member that is called by what is wrong with it. No model has such a member,
so that pydantic refuses it together with whatever else is wrong, and all mistakes are told at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dotenv.parser import Binding, parse_stream
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from app.settings.names import FILE_SUFFIX, Names

_DOTENV = Path(".env")
_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,63}")


class _Unusable(Exception):
    """A value that cannot be had; its text is a line for the operator."""


class EnvironmentSource(PydanticBaseSettingsSource):
    """The environment's variables. An empty value says nothing."""

    _place = "the environment"

    def __init__(self, settings_cls: type[BaseSettings], names: Names) -> None:
        super().__init__(settings_cls)
        self._names = names
        self._mistakes: list[str] = []
        self._given: dict[str, str] = {}
        for name, value in self._read():
            if not value:
                continue
            if name.lower() in self._given and names.is_setting(name):
                self._mistakes.append(f"{name.upper()}: is given twice in {self._place}; take one of them out")
            self._given[name.lower()] = value

    def __call__(self) -> dict[str, Any]:
        """What is given, by the settings' names, and what is wrong with it."""
        values: dict[str, Any] = dict.fromkeys(self._mistakes)
        for name, field in self.settings_cls.model_fields.items():
            try:
                value, key, _ = self.get_field_value(field, name)
            except _Unusable as unusable:
                values[str(unusable)] = None
            else:
                values |= {} if value is None else {key: value}
        return values

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[str | None, str, bool]:
        """The text of a setting, or of the file that holds a secret. None is for one of which nothing is said."""
        value = self._given.get(field_name)
        path = self._given.get(field_name + FILE_SUFFIX) if field_name in self._names.secrets else None
        if path is None:
            return value, field_name, False
        if value is not None:
            upper = field_name.upper()
            raise _Unusable(f"{upper}: is given, and in {upper}_FILE, too; take one of them out")
        return _read_secret(field_name, Path(path)), field_name, False

    def _read(self) -> Iterable[tuple[str, str | None]]:
        return os.environ.items()


class DotenvSource(EnvironmentSource):
    """The file `.env` of the working directory, to the letter: nothing is put in place of `$NAME` or `${NAME}`."""

    _place = str(_DOTENV)

    def _read(self) -> Iterable[tuple[str, str | None]]:
        try:
            with _DOTENV.open(encoding="utf-8-sig") as stream:
                entries = [entry for entry in parse_stream(stream) if entry.error or entry.key]
        except FileNotFoundError:
            return []
        except OSError as error:
            self._mistakes.append(f"{_DOTENV}: cannot be read ({error.strerror})")
            return []
        except UnicodeDecodeError:
            self._mistakes.append(f"{_DOTENV}: is not a UTF-8 text")
            return []
        self._mistakes += [line for line in map(self._mistake, entries) if line]
        return [(entry.key, entry.value) for entry in entries if entry.key]

    def _mistake(self, entry: Binding) -> str | None:
        # A line that is no entry may be part of a secret: nothing of it is shown.
        at = f"{_DOTENV}: line {_line_number(entry)}"
        if entry.error or entry.key is None or entry.value is None:
            return f"{at} is not of the form NAME=value"
        if self._names.is_known(entry.key):
            return None
        if meant := self._names.meant_by(entry.key):
            return f"{entry.key}: is the name of no setting; {meant} was probably meant"
        if _NAME.fullmatch(entry.key):
            return f"{entry.key}: is the name of no setting; take it out of {_DOTENV}"
        return f"{at} begins with the name of no setting"


def _line_number(entry: Binding) -> int:
    """Where the entry itself begins: the empty lines before it belong to it, too."""
    text = entry.original.string
    return entry.original.line + text[: len(text) - len(text.lstrip())].count("\n")


def _read_secret(name: str, path: Path) -> str:
    try:
        value = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise _Unusable(f"{name.upper()}_FILE: the file cannot be read ({error.strerror})") from None
    except ValueError:
        raise _Unusable(f"{name.upper()}_FILE: the file is not a UTF-8 text") from None
    if not value:
        raise _Unusable(f"{name.upper()}_FILE: the file is empty")
    return value
