"""Which migration the database is at, and which one the code needs."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from sqlalchemy import text

from app.core.errors import DatabaseUnavailable
from app.storage.database import Database
from app.storage.faults import Cause, diagnose

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
_VERSION = text("SELECT version_num FROM alembic_version")


@cache
def newest_revision() -> str:
    """The revision that this code needs. Alembic, which takes its time to load, is not needed for it."""
    scripts = (script.read_text(encoding="utf-8") for script in (MIGRATIONS / "versions").glob("*.py"))
    revisions: list[str] = re.findall(r'^revision = "(\d{10})"$', "\n".join(scripts), re.MULTILINE)
    return max(revisions)


def is_migrated(current: str | None) -> bool:
    """Whether a database at this revision can be used by this code.

    Revisions are numbered by their date. One with a higher number was made by a newer version; a migration always
    leaves the tables usable for the version before, so that processes of both can serve while one takes the other's
    place.
    """
    return current is not None and re.fullmatch(r"\d{10}", current) is not None and current >= newest_revision()


async def current_revision(database: Database) -> str | None:
    """The revision that the database is at; None for an empty one. Raises DatabaseUnavailable."""
    try:
        rows = await database.read(_VERSION)
    except DatabaseUnavailable as fault:
        if diagnose(fault) is Cause.NOT_MIGRATED:
            return None
        raise
    return str(rows[0][0]) if rows else None
