"""Short questions to SQLite, answered without leaving the event loop.

Why: docs/decisions/0034-short-questions-to-sqlite-on-the-event-loop.md.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from app.storage.sqlite import may_be_written


class Reader:
    """A connection to a file that only reads, and never waits.

    Where it cannot answer at once it says nothing, and the driver's thread is asked, which waits and tells of faults.
    """

    def __init__(self, file: str) -> None:
        self._file = file
        self._connection: sqlite3.Connection | None = None

    def rows(self, text: str, values: Sequence[Any]) -> list[Any] | None:
        """What a statement has found; None where that cannot be said at once."""
        # A file that may not be written any more is told of as such.
        if not may_be_written(self._file):
            self.close()
            return None
        try:
            return self.connected().execute(text, values).fetchall()
        except sqlite3.Error:
            self.close()
            return None

    def connected(self) -> sqlite3.Connection:
        """The connection, opened where it is not. Raises sqlite3.Error, also where there is no file yet."""
        if self._connection is None:
            address = f"file:{quote(self._file)}?mode=rw"
            self._connection = sqlite3.connect(address, timeout=0, isolation_level=None, uri=True)
            self._connection.execute("PRAGMA query_only = ON")
        return self._connection

    def close(self) -> None:
        """Close the connection; the next question opens one."""
        connection, self._connection = self._connection, None
        if connection:
            connection.close()
