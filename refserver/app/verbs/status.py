"""The verb that tells what the store holds; a running server adds what it knows of itself."""

from __future__ import annotations

from importlib.metadata import version
from platform import python_version
from sqlite3 import sqlite_version
from typing import ClassVar

from attrs import frozen
from sqlalchemy import Connection, Table, func, select

import refserver
from refserver.app.verbs.verb import Done, Verb
from refserver.reference.states import State
from refserver.storage import migrations, outbox
from refserver.storage.schema.accounts import accounts, libraries
from refserver.storage.schema.questions import questions
from refserver.storage.schema.queues import librarians, queues

__all__ = ["ShowStatus", "versions"]


@frozen
class ShowStatus(Verb):
    """How many there are of what, questions by state, and what other servers have not confirmed yet."""

    verb: ClassVar[str] = "status"
    writes: ClassVar[bool] = False

    def run(self, connection: Connection, now: float) -> Done:
        """See `Verb`."""
        counted = select(questions.c.state, func.count()).group_by(questions.c.state)
        by_state = {row[0]: row[1] for row in connection.execute(counted)}
        return Done(
            {
                "libraries": _count(connection, libraries),
                "accounts": _count(connection, accounts),
                "queues": _count(connection, queues),
                "librarians": _count(connection, librarians),
                "questions": {state.value: by_state.get(state.value, 0) for state in State},
                "owed": outbox.count(connection),
                "schema": migrations.current(connection) or migrations.head(),
                "versions": versions(),
            }
        )


def versions() -> dict[str, str]:
    """What runs here, and on what."""
    return {
        "refserver": refserver.__version__,
        "python": python_version(),
        "twisted": version("twisted"),
        "sqlalchemy": version("sqlalchemy"),
        "sqlite": sqlite_version,
        "pyopenssl": version("pyopenssl"),
    }


def _count(connection: Connection, table: Table) -> int:
    return connection.execute(select(func.count()).select_from(table)).scalar_one()
