"""Bringing a database to the schema of this code.

Revisions are files `versions/NNNN_what.py`, numbered in one line without branches, so the
newest is known from the names alone. Alembic is imported only when there is work to do:
an up-to-date database costs one query. A new one: `python -m refserver.storage.migrations "what"`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect, text

from refserver.storage import sqlite
from refserver.storage.errors import DatabaseTooNew

if TYPE_CHECKING:
    from alembic.config import Config

__all__ = ["bring_to_head", "configuration", "head", "upgrade"]

FOLDER = Path(__file__).parent


def head() -> str:
    """Return the newest revision this code knows."""
    names = (path.name for path in (FOLDER / "versions").glob("[0-9][0-9][0-9][0-9]_*.py"))
    return max((name[:4] for name in names), default="0000")


def bring_to_head(path: Path) -> None:
    """Make the database file at `path` if it is not there, and migrate it. Raises `DatabaseTooNew`."""
    sqlite.make_file(path)
    with _using(sqlite.read_engine(path)) as connection:
        if current(connection) == head():
            return
    # Two processes may start at once: the second one waits here, and then finds nothing to do.
    with _using(sqlite.migration_engine(path)) as connection, connection.begin():
        upgrade(connection)


def upgrade(connection: Connection) -> None:
    """Run the migrations that are missing, in the transaction of `connection`."""
    found = current(connection)
    if found == head():
        return
    if found is not None and found > head():
        raise DatabaseTooNew(
            f"the database has schema {found}, this refserver knows up to {head()}: "
            "install the refserver that wrote it, or a newer one"
        )
    from alembic import command

    command.upgrade(configuration(connection), "head")
    sqlite.check_references(connection)


def current(connection: Connection) -> str | None:
    """Return the revision the database is at, None if it is empty."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def configuration(connection: Connection) -> Config:
    """Return Alembic's configuration for the transaction of `connection`; there is no alembic.ini."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


@contextmanager
def _using(engine: Engine) -> Iterator[Connection]:
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()
