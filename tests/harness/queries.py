from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy import event
from sqlalchemy.util import await_only

from app.storage.database import Database


class Queries:
    """Every statement that a service asks its database, as the driver tells of it, with its parameters where they are
    not written into it. `note` is called with each.
    """

    def __init__(self, database: Database, note: Callable[[str], None] = lambda _: None) -> None:
        self.asked: list[tuple[str, tuple[Any, ...]]] = []
        self._note = note
        self._is_sqlite = database.is_sqlite
        event.listen(database.engine.sync_engine, "checkout", self._watch)
        database.pool.leave_all()  # those that are open already tell nobody
        if database.reader:
            database.reader.connected().set_trace_callback(partial(self._add, parameters=()))

    @property
    def count(self) -> int:
        return len(self.asked)

    def _watch(self, connection: Any, *_: Any) -> None:
        driver = connection.driver_connection
        if self._is_sqlite:
            await_only(driver.set_trace_callback(partial(self._add, parameters=())))
        else:
            driver.add_query_logger(lambda logged: self._add(logged.query, tuple(logged.args or ())))

    def _add(self, statement: str, parameters: tuple[Any, ...]) -> None:
        self.asked.append((statement, parameters))
        self._note(statement)
