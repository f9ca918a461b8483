"""From the environment, `.env` and files of secrets to the settings: every mistake is one line, and all are told at once."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from dotenv.parser import Binding, parse_stream
from pydantic import ValidationError

from app.settings.environment import mistakes_in
from app.settings.model import SECRETS, DatabaseSettings, Settings

_Kind = TypeVar("_Kind", bound=DatabaseSettings)
_DOTENV = Path(".env")
_FILE = "_file"
_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
# What else docker-compose.yml, the database's driver and the libraries read from the same file.
_OTHERS = frozenset(
    {
        *("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"),
        *("NO_COLOR", "SANDBOX_CLIENT_SECRET", "TZ", "WEB_CONCURRENCY"),
    }
)
_PREFIXES_OF_OTHERS = ("COMPOSE_", "DOCKER_", "IDV_", "OTEL_", "PG", "POSTGRES_")


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


def _load(kind: type[_Kind], lines: list[str]) -> _Kind:
    dotenv = _read_dotenv(_DOTENV, lines)
    values = {**_values(kind, dotenv, lines), **_values(kind, os.environ, lines)}
    told = {line.partition(":")[0].lower().removesuffix(_FILE) for line in lines}
    try:
        settings = kind.model_validate(values)
    except ValidationError as error:
        wrong = (problem for problem in error.errors() if problem["loc"][0] not in told)
        raise SettingsInvalid([*lines, *map(_line, wrong)]) from None
    if lines:
        raise SettingsInvalid(lines)
    return settings


def resembling(names: Iterable[str]) -> dict[str, str]:
    """The names that look like a misspelt setting, each with the setting that was probably meant."""
    found = {}
    for name in sorted(set(names)):
        if not _is_known(name) and (meant := _meant(name)):
            found[name] = meant
    return found


def _read_dotenv(file: Path, lines: list[str]) -> dict[str, str]:
    """The file to the letter: nothing is put in place of `$NAME` or `${NAME}`."""
    try:
        with file.open(encoding="utf-8-sig") as stream:
            entries = [entry for entry in parse_stream(stream) if entry.error or entry.key]
    except FileNotFoundError:
        return {}
    except OSError as error:
        lines.append(f"{file}: cannot be read ({error.strerror})")
        return {}
    except UnicodeDecodeError:
        lines.append(f"{file}: is not a UTF-8 text")
        return {}
    lines += [line for line in (_mistake(file, entry) for entry in entries) if line]
    return {entry.key: entry.value for entry in entries if entry.key and entry.value}


def _mistake(file: Path, entry: Binding) -> str | None:
    # A line that is no entry may be part of a secret: nothing of it is shown.
    at = f"{file}: line {_line_number(entry)}"
    if entry.error or entry.key is None or entry.value is None:
        return f"{at} is not of the form NAME=value"
    if _is_known(entry.key):
        return None
    if meant := _meant(entry.key):
        return f"{entry.key}: is the name of no setting; {meant} was probably meant"
    if _NAME.fullmatch(entry.key):
        return f"{entry.key}: is the name of no setting; take it out of {file}"
    return f"{at} begins with the name of no setting"


def _line_number(entry: Binding) -> int:
    """Where the entry itself begins: the empty lines before it belong to it, too."""
    text = entry.original.string
    return entry.original.line + text[: len(text) - len(text.lstrip())].count("\n")


def _is_known(name: str) -> bool:
    lower, upper = name.lower(), name.upper()
    if lower in Settings.model_fields or lower.removesuffix(_FILE) in SECRETS:
        return True
    # Whoever thinks that settings have a prefix is told that they have none.
    without_prefix = lower.removeprefix("idv_") in Settings.model_fields
    return upper in _OTHERS or (upper.startswith(_PREFIXES_OF_OTHERS) and not without_prefix)


def _meant(name: str) -> str | None:
    names = [*Settings.model_fields, *(secret + _FILE for secret in SECRETS)]
    lower = name.lower()
    if lower.removeprefix("idv_") in names:
        return lower.removeprefix("idv_").upper()
    close = get_close_matches(lower, names, n=1, cutoff=0.8)
    return close[0].upper() if close else None


def _values(kind: type[DatabaseSettings], source: Mapping[str, str], lines: list[str]) -> dict[str, str]:
    """What one source says of each setting, with the secrets that it keeps in files. An empty value says nothing."""
    given = {name.lower(): value for name, value in source.items() if value}
    values = {name: given[name] for name in kind.model_fields if name in given}
    for name in kind.model_fields.keys() & set(SECRETS):
        if path := given.get(name + _FILE):
            if name in values:
                lines.append(f"{name.upper()}: is given, and in {name.upper()}_FILE, too; take one of them out")
            elif (value := _read_secret(name, Path(path), lines)) is not None:
                values[name] = value
    return values


def _read_secret(name: str, path: Path, lines: list[str]) -> str | None:
    try:
        value = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        lines.append(f"{name.upper()}_FILE: the file cannot be read ({error.strerror})")
        return None
    except ValueError:
        lines.append(f"{name.upper()}_FILE: the file is not a UTF-8 text")
        return None
    if not value:
        lines.append(f"{name.upper()}_FILE: the file is empty")
        return None
    return value


def _line(problem: Any) -> str:
    message = "is required" if problem["type"] == "missing" else str(problem["msg"]).removeprefix("Value error, ")
    return f"{str(problem['loc'][0]).upper()}: {message}"
