"""Alembic's environment.

It works on the connection that `app.storage.migrate` hands it, or on DATABASE_URL for its own command line.
"""

import asyncio

from alembic import context
from sqlalchemy.engine import Connection

from app.settings import load_database_settings
from app.storage.database import Database
from app.storage.migrate import take_turn
from app.storage.tables import METADATA


def run_on(connection: Connection) -> None:
    """Run what the command asked for, in one transaction."""
    take_turn(connection)
    context.configure(connection=connection, target_metadata=METADATA, render_as_batch=True, compare_type=True)
    with context.begin_transaction():
        context.run_migrations()


async def connect_and_run() -> None:
    """Open the configured database for Alembic's own command line."""
    database = Database(load_database_settings().database_url.get_secret_value(), unhurried=True)
    async with database.bulk() as connection:
        await connection.run_sync(run_on)
    await database.close()


given = context.config.attributes.get("connection")
if given is None:
    asyncio.run(connect_and_run())
else:
    run_on(given)
