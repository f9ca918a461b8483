"""The `.env` file: every setting with its meaning and default, written from the settings themselves."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from app.settings import Settings

_WIDTH = 120
_HEADING = """\
# The settings of the IDV Gateway. Lines that begin with "#" show a default.
# A value is taken to the letter. Quotes protect blanks at its ends and " #", which begins a comment: 'a secret #1'
# Each secret, and DATABASE_URL, may stand in a file instead: INCODE_CLIENT_SECRET_FILE=/run/secrets/incode
"""
_FOR_COMPOSE = "\n# No settings, but for docker-compose.yml\n"

# The settings that docker-compose.yml takes from files, each named as the setting in lower case.
IN_FILES = ("INCODE_CLIENT_SECRET", "REDIRECT_SECRET", "ENCRYPTION_KEYS", "API_KEYS", "ADMIN_API_KEYS", "DATABASE_URL")

# The database that docker-compose.yml brings; it makes this role, which owns this one database.
COMPOSED_DATABASE = "postgresql+asyncpg://idv:{password}@database/idv"

# The sandbox provider of docker-compose.yml in place of Incode, and a page of the service itself to come back to.
SANDBOX = {
    "ALLOW_HTTP": "true",
    "INCODE_CLIENT_ID": "sandbox",
    "INCODE_SERVER_URL": "http://sandbox.localhost:9000",
    "SCOPES": "openid profile email",
    "RETURN_URLS": "http://127.0.0.1:8000/docs",
}


def render(values: Mapping[str, str] | None = None, *, without: Collection[str] = ()) -> str:
    """The file's text, with `values` filled in by the settings' names in capitals, and those of `without` left out."""
    given = values or {}
    return _HEADING + "".join(
        _entry(name.upper(), field, given.get(name.upper()))
        for name, field in Settings.model_fields.items()
        if name.upper() not in without
    )


def composition(file: Path, folder: Path, *, sandbox_secret: str | None) -> str:
    """The entries that docker-compose.yml reads for itself: where its files are, and what keeps the sandbox apart."""
    entries = {}
    if file.name != ".env":
        entries["IDV_ENV_FILE"] = file.name
    if folder.name != "secrets":
        entries["IDV_SECRETS"] = f"./{folder.name}"
    if sandbox_secret is not None:
        # A project of its own: its containers and its volume are not those of the real service in the same folder.
        entries |= {
            "COMPOSE_PROJECT_NAME": "idv-sandbox",
            "COMPOSE_PROFILES": "sandbox",
            "IDV_SANDBOX_SECRET": sandbox_secret,
        }
    return _FOR_COMPOSE + "".join(f"{name}={value}\n" for name, value in entries.items()) if entries else ""


def _entry(name: str, field: FieldInfo, value: str | None) -> str:
    fill_in = value is not None or field.is_required()
    line = f"{name}={value or ''}" if fill_in else f"# {name}={_written(field.default)}"
    meaning = textwrap.wrap(f"# {field.description}", _WIDTH, subsequent_indent="# ", break_on_hyphens=False)
    return "\n" + "\n".join([*meaning, line]) + "\n"


def _written(value: Any) -> str:
    match value:
        case None | ():
            return ""
        case SecretStr():
            return value.get_secret_value()
        case bool():
            return str(value).lower()
        case frozenset():
            return ",".join(sorted(value))
        case float():
            return f"{value:g}"
        case _:
            return str(value)
