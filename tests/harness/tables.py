from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from tests.harness.service import Service

on_sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For a test of what is SQLite's own, and for a table of cases that do not reach the database."""
on_postgresql_only = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
"""For a test of what is PostgreSQL's own."""


class Tables:
    """A database, given by its URL or its service, read and changed behind the service's back with an engine of its
    own.
    """

    def __init__(self, of: Service | str) -> None:
        self.url = of if isinstance(of, str) else of.settings.database_url.get_secret_value()
        self.is_sqlite = self.url.startswith("sqlite")
        self._engine = create_async_engine(self.url, poolclass=NullPool)

    def moment(self, at: datetime) -> Any:
        """A moment as this database's driver takes it."""
        return at.isoformat(timespec="microseconds") if self.is_sqlite else at

    async def change(self, statement: str, **values: Any) -> int:
        async with self._engine.begin() as connection:
            return (await connection.execute(text(statement), values)).rowcount

    async def change_often(self, statement: str, every: Sequence[dict[str, Any]]) -> None:
        """Run the statement for each set of values, in one transaction."""
        async with self._engine.begin() as connection:
            await connection.execute(text(statement), every)

    async def rows(self, statement: str, **values: Any) -> list[dict[str, Any]]:
        async with self._engine.connect() as connection:
            return [dict(row) for row in (await connection.execute(text(statement), values)).mappings()]

    async def user(self, user_id: str) -> dict[str, Any] | None:
        found = await self.rows("SELECT * FROM users WHERE user_id = :user_id", user_id=user_id)
        return found[0] if found else None

    async def record(self, user_id: str) -> dict[str, Any] | None:
        """A user's row without its stamp, which changes with each attempt that begins."""
        found = await self.user(user_id)
        return {name: value for name, value in found.items() if name != "stamp"} if found else None

    async def attempts(self, user_id: str) -> list[dict[str, Any]]:
        """The user's attempts, oldest first."""
        return await self.rows(
            "SELECT * FROM verifications WHERE user_id = :user_id ORDER BY created_at", user_id=user_id
        )

    async def attempt_status(self, started: dict[str, Any]) -> str:
        """The stored status of an attempt, given the decision that started it."""
        found = await self.rows("SELECT status FROM verifications WHERE id = :id", id=started["verification"]["id"])
        return str(found[0]["status"])
