"""What `idv check` finds of the database.

It tells whether it can be used, by which version it was migrated, and what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.operator.finding import Finding
from app.storage.database import Database
from app.storage.health import Health, look_at, missing_rights
from app.storage.revisions import newest_revision


async def check_database(database: Database) -> Finding:
    """Whether the database can be used, and is migrated.

    A SQLite file that is not there yet is no fault: it will be made.
    """
    health = await look_at(database)
    if health.cause is None and (missing := await missing_rights(database)):
        return _rights(missing)
    if health.is_reachable:
        return _migrations(health, on_file=database.file is not None)
    assert health.cause is not None  # noqa: S101  what is not reachable has a cause
    return Finding("database", health.cause.words, health.cause.remedy)


def _rights(missing: Mapping[str, Sequence[str]]) -> Finding:
    lacks = "; ".join(f"{', '.join(rights)} on {table}" for table, rights in missing.items())
    grants = "; ".join(
        f"GRANT {', '.join(rights)} ON {table} TO the user of DATABASE_URL" for table, rights in missing.items()
    )
    return Finding("database", f"does not give this user {lacks}", f"As the owner of the tables: {grants}.")


def _migrations(health: Health, *, on_file: bool) -> Finding:
    if health.cause is None:
        if health.revision == newest_revision():
            return Finding("database", "is reachable and migrated")
        return Finding(
            "database", f"is reachable, and at {health.revision}, which a newer version than this one has made"
        )
    at = f"is at {health.revision or 'no revision'}, not at {newest_revision()}"
    return (
        Finding("database", f"{at}; `idv serve` will migrate it")
        if on_file
        else Finding("database", at, "Run: idv migrate")
    )
