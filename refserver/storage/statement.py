"""Statements prepared once: SQLAlchemy's SQL, run on the driver's connection.

Executing a cached Core statement costs about 35 µs, the driver alone 6 µs; a log-in needs
several. So the stores write their statements in SQLAlchemy, for every kind of database,
and run them without its result and type machinery. Consequences: parameters and columns
are texts, bytes, numbers or None (a boolean comes back as 0 or 1, JSON is text), there are
no IN lists (use `connection.execute` for these), and errors are the driver's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.elements import CompilerElement


class Prepared:
    """A statement whose SQL is made at its first use.

    Its parameters are the names of its `bindparam`s; for an INSERT also the names in
    `columns`, for which it then has values.
    """

    def __init__(self, statement: Executable, columns: Iterable[str] | None = None) -> None:
        self._statement = statement
        self._columns = None if columns is None else list(columns)
        self._compiled: dict[str, tuple[str, Mapping[str, Any]]] = {}

    def rows(self, connection: Connection, **parameters: Any) -> list[tuple[Any, ...]]:
        """Every row."""
        found: list[tuple[Any, ...]] = self._execute(connection, parameters).fetchall()
        return found

    def row(self, connection: Connection, **parameters: Any) -> tuple[Any, ...] | None:
        """The first row, or None."""
        found: tuple[Any, ...] | None = self._execute(connection, parameters).fetchone()
        return found

    def value(self, connection: Connection, **parameters: Any) -> Any:
        """The first column of the first row; None if there is no row."""
        found = self.row(connection, **parameters)
        return None if found is None else found[0]

    def run(self, connection: Connection, **parameters: Any) -> int:
        """Change rows; how many were changed."""
        changed: int = self._execute(connection, parameters).rowcount
        return changed

    def _execute(self, connection: Connection, parameters: Mapping[str, Any]) -> Any:
        sql, constants = self._compiled.get(connection.dialect.name) or self._compile(connection)
        driver_connection: Any = connection.connection.driver_connection
        return driver_connection.execute(sql, {**constants, **parameters} if constants else parameters)

    def _compile(self, connection: Connection) -> tuple[str, Mapping[str, Any]]:
        assert isinstance(self._statement, CompilerElement)
        compiled: Any = self._statement.compile(dialect=connection.dialect, column_keys=self._columns)
        constants = {name: bind.value for bind, name in compiled.bind_names.items() if not bind.required}
        self._compiled[connection.dialect.name] = prepared = (str(compiled), constants)
        return prepared


def upsert(table: Table) -> Prepared:
    """Insert a row, or change the row with the same primary key; parameters are all columns."""
    keys = [column.name for column in table.primary_key]
    columns = [column.name for column in table.columns]
    statement = insert(table)
    changed = {name: statement.excluded[name] for name in columns if name not in keys}
    return Prepared(statement.on_conflict_do_update(index_elements=keys, set_=changed), columns)


def insert_new(table: Table, *keys: str) -> Insert:
    """An INSERT that does nothing where a row with the same `keys` is there.

    PostgreSQL and SQLite write it in the same words.
    """
    return insert(table).on_conflict_do_nothing(index_elements=keys)
