"""Whether the database can be used by this code, and if not, why."""

from __future__ import annotations

import os
from dataclasses import dataclass

from sqlalchemy import Table, text

from app.core.errors import DatabaseUnavailable
from app.storage.database import Database
from app.storage.faults import Cause, diagnose
from app.storage.revisions import current_revision, is_migrated
from app.storage.tables import METADATA, audit, keyring, leases

_RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE")
# Nothing is ever taken out of these, so that whoever serves may be kept from it.
_WITHOUT_DELETE = (audit, keyring, leases)
_HAS_RIGHT = text("SELECT has_table_privilege(:name, :right)")
_IS_READ_ONLY = text("SELECT current_setting('transaction_read_only')")


@dataclass(frozen=True, slots=True)
class Health:
    """What a look at the database has found.

    `cause` is why it cannot be used, None where it can; `revision` the migration that it is at, where it tells.
    """

    cause: Cause | None
    revision: str | None = None

    @property
    def is_reachable(self) -> bool:
        """Whether it can be read and written, migrated or not."""
        return self.cause in {None, Cause.NOT_MIGRATED}


async def look_at(database: Database) -> Health:
    """The database's health. A SQLite file that is not there yet is not made by looking."""
    if database.file is not None and (missing := _missing_file(database.file)):
        return Health(missing)
    try:
        revision = await current_revision(database)
        if database.file is None and (await database.read(_IS_READ_ONLY))[0][0] == "on":
            return Health(Cause.READ_ONLY, revision)
    except DatabaseUnavailable as fault:
        return Health(diagnose(fault))
    return Health(None if is_migrated(revision) else Cause.NOT_MIGRATED, revision)


async def missing_rights(database: Database) -> dict[str, list[str]]:
    """Which rights on which tables PostgreSQL does not give the service's user. The database must be migrated.

    Raises DatabaseUnavailable.
    """
    if database.file is not None:
        return {}
    missing: dict[str, list[str]] = {}
    for table in METADATA.sorted_tables:
        for right in _needed(table):
            if not (await database.read(_HAS_RIGHT, {"name": table.name, "right": right}))[0][0]:
                missing.setdefault(table.name, []).append(right)
    return missing


def _needed(table: Table) -> tuple[str, ...]:
    return _RIGHTS[:-1] if table in _WITHOUT_DELETE else _RIGHTS


def _missing_file(file: str) -> Cause | None:
    if os.path.exists(file):
        return None
    folder = os.path.dirname(os.path.abspath(file))
    return Cause.NOT_MIGRATED if os.access(folder, os.W_OK | os.X_OK) else Cause.FILE_NOT_WRITABLE
