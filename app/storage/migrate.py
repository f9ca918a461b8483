"""Migrations: how the database gets to the revision that the code needs."""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy.engine import Connection

from app.storage.database import Database
from app.storage.revisions import MIGRATIONS, is_migrated

TURN = 2_026_112_301


def alembic_config() -> Config:
    """Alembic's configuration, which needs no file."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


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
