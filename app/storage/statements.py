"""Statements as a driver takes them: made by SQLAlchemy once, and run without it.

Why: docs/decisions/0032-statements-run-on-the-drivers-connection.md.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Any

from sqlalchemy import Dialect, Executable, String, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import TypeEngine

Parameters = Mapping[str, Any]
Row = Any
"""The values of one row, by the names of its columns."""

_Convert = Callable[[Any], Any]


def insert_into(table: Table, dialect: Dialect) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that can say what becomes of a row that is there already: each kind of database has its own."""
    return sqlite.insert(table) if dialect.name == "sqlite" else postgresql.insert(table)


def text_check(table: Table) -> Callable[[Row], bool]:
    """What says of a row of the table whether each column of texts holds one or nothing: SQLite's takes anything."""
    texts = attrgetter(*(column.name for column in table.c if isinstance(column.type, String)))
    allowed = frozenset({str, type(None)})
    return lambda row: allowed.issuperset(map(type, texts(row)))


class Statement:
    """A statement of SQLAlchemy's that is run often: its text is made once for each kind of database.

    `columns` are those that an UPDATE sets by parameters of the same names. One that `is_short` finds a row or a few by
    an index, whatever the tables hold.
    """

    def __init__(self, clause: Executable, *, columns: Sequence[str] | None = None, is_short: bool = False) -> None:
        self.is_short = is_short
        self._clause = clause
        self._columns = columns
        self._made: dict[str, Compiled] = {}

    def on(self, dialect: Dialect) -> Compiled:
        """The statement for this kind of database."""
        if dialect.name not in self._made:
            self._made[dialect.name] = Compiled.of(self._clause, dialect, self._columns)
        return self._made[dialect.name]


@dataclass(frozen=True, slots=True)
class Compiled:
    """A statement's text, how its parameters are sent, and how its rows are read."""

    text: str
    parameters: tuple[tuple[str, bool, Any, _Convert | None], ...]
    conversions: tuple[tuple[int, _Convert], ...]
    row: Callable[..., Any]

    @classmethod
    def of(cls, clause: Any, dialect: Dialect, columns: Sequence[str] | None = None) -> Compiled:
        """Make the text of a statement. Nothing that is not sent as a parameter has come from outside."""
        made = clause.compile(dialect=dialect, column_keys=columns, compile_kwargs={"render_postcompile": True})
        shown = () if not hasattr(clause, "exported_columns") else tuple(clause.exported_columns)
        readers = [_reader(column.type, dialect) for column in shown]
        return cls(
            text=str(made),
            parameters=tuple(_parameter(name, made, dialect) for name in made.positiontup or ()),
            conversions=tuple((number, reader) for number, reader in enumerate(readers) if reader),
            row=_row_of(tuple(column.key for column in shown))._make if shown else tuple,
        )

    def values(self, given: Parameters) -> list[Any]:
        """The parameters in their order. Raises KeyError where one is missing."""
        values = []
        for name, is_given, made_with, send in self.parameters:
            value = given[name] if is_given else made_with
            values.append(send(value) if send and value is not None else value)
        return values

    def rows(self, found: Sequence[Any]) -> list[Row]:
        """The rows that the driver has found."""
        if not self.conversions:
            return [self.row(each) for each in found]
        rows = []
        for each in found:
            values = list(each)
            for number, read in self.conversions:
                values[number] = read(values[number])
            rows.append(self.row(values))
        return rows


@lru_cache(maxsize=64)
def _row_of(names: tuple[str, ...]) -> Any:
    return namedtuple("_Row", names)


def _parameter(name: str, made: Any, dialect: Dialect) -> tuple[str, bool, Any, _Convert | None]:
    """A parameter's name, whether it is given each time, the value it was made with else, and how it is sent."""
    bind = made.binds.get(name)
    if bind is None:  # one of the texts of an IN
        return name, False, str(made.params[name]), None
    return name, bind.required, made.params[name], bind.type.dialect_impl(dialect).bind_processor(dialect)


def _reader(type_: TypeEngine[Any], dialect: Dialect) -> _Convert | None:
    return type_.dialect_impl(dialect).result_processor(dialect, None)
