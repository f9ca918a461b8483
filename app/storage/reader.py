"""Short questions to SQLite, answered without leaving the event loop.

Why: docs/decisions/0034-short-questions-to-sqlite-on-the-event-loop.md.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote


class Reader:
    """A connection to a file that only reads, and never waits.

    Where it cannot answer at once it says nothing, and the driver's thread is asked, which waits and tells of faults.
    """

    def __init__(self, file: str) -> None:
        self._file = file
        self._connection: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None

    def rows(self, text: str, values: Sequence[Any]) -> list[Any] | None:
        """What a statement has found; None where that cannot be said at once."""
        try:
            return self.connected().execute(text, values).fetchall()
        except (sqlite3.Error, OSError):
            self.close()
            return None

    def close(self) -> None:
        """Close the connection; the next question opens one."""
        connection, self._connection = self._connection, None
        if connection:
            connection.close()

    def connected(self) -> sqlite3.Connection:
        """The connection, opened where it is not. Raises OSError and sqlite3.Error."""
        # A file that was replaced, or may not be written any more, is left as the others leave it.
        status = os.stat(self._file)
        inode = status.st_dev, status.st_ino
        if self._inode != inode or not os.access(self._file, os.W_OK):
            self.close()
        if self._connection is None:
            self._connection = self._opened()
            self._inode = inode
        return self._connection

    def _opened(self) -> sqlite3.Connection:
        if not os.access(self._file, os.W_OK):
            raise PermissionError
        connection = sqlite3.connect(f"file:{quote(self._file)}?mode=rw", timeout=0, isolation_level=None, uri=True)
        connection.execute("PRAGMA query_only = ON")
        return connection
