"""Migrations: which one the database is at, which one the code needs, and how to get there."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.engine import Connection

from app.core.errors import DatabaseUnavailable
from app.storage.database import Database
from app.storage.faults import Cause, diagnose

TURN = 2_026_112_301
_VERSION = text("SELECT version_num FROM alembic_version")
_DIRECTORY = Path(__file__).resolve().parents[2] / "migrations"


def alembic_config() -> Config:
    """Alembic's configuration, which needs no file."""
    config = Config()
    config.set_main_option("script_location", str(_DIRECTORY).replace("%", "%%"))
    return config


@cache
def newest_revision() -> str:
    """The revision that this code needs."""
    return str(ScriptDirectory.from_config(alembic_config()).get_current_head())


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


def _revision_of(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


async def upgrade(database: Database) -> None:
    """Bring the database to the newest revision, all or nothing, or leave a newer one as it is.

    Raises DatabaseUnavailable.
    """
    async with database.bulk() as connection:
        await connection.run_sync(_upgrade)


def _upgrade(connection: Connection) -> None:
    if is_migrated(_revision_of(connection)):
        return
    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def take_turn(connection: Connection) -> None:
    """On PostgreSQL, let only one migration run at a time; SQLite lets only one write anyway."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({TURN})")
