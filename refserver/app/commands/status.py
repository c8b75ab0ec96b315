"""refserverctl status: what the store holds, and what a running server does."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from importlib.metadata import version
from platform import python_version
from sqlite3 import sqlite_version
from typing import Any, ClassVar, Final

import click
from attrs import frozen

import refserver
from refserver.app.commands.context import Context, pass_context, print_json, print_one
from refserver.app.commands.late import Connection, RunningServer, migrations, outbox
from refserver.app.commands.request import Done, Request, moment
from refserver.reference.states import State

TABLES: Final = ("libraries", "accounts", "queues", "librarians")


@frozen
class ShowStatus(Request):
    """Count what the store holds, questions by state, and stanzas that other servers have not confirmed."""

    words: ClassVar[str] = "status"
    writes: ClassVar[bool] = False

    def run(self, connection: Connection, now: float) -> Done:
        return Done(
            {
                **{name: _count(connection, name) for name in TABLES},
                "questions": _by_state(connection),
                "owed": outbox.count(connection),
                "schema": migrations.current(connection) or migrations.head(),
                "versions": versions(),
            }
        )

    async def apply(self, server: RunningServer, done: Done) -> Any:
        """Adds what only the running server knows."""
        own = {
            "running": True,
            "process": os.getpid(),
            "since": moment(server.started),
            "uptime": round(server.core.now() - server.started),
            "sessions": len(server.core.sessions),
            "rooms": server.rooms,
            "s2s_streams": server.streams,
        }
        return own | done.data


def versions() -> dict[str, str]:
    """Return the versions of refserver and of what it runs on."""
    return {
        "refserver": refserver.__version__,
        "python": python_version(),
        "twisted": version("twisted"),
        "sqlalchemy": version("sqlalchemy"),
        "sqlite": sqlite_version,
        "pyopenssl": version("pyopenssl"),
    }


def _by_state(connection: Connection) -> dict[str, int]:
    counted = connection.exec_driver_sql("SELECT state, count(*) FROM questions GROUP BY state")
    by_state = {row[0]: row[1] for row in counted}
    return {state.value: by_state.get(state.value, 0) for state in State}


def _count(connection: Connection, table: str) -> int:
    count: int = connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()
    return count


# -- what is typed -------------------------------------------------------------------


@click.command()
@click.pass_context
@pass_context
def status(context: Context, ctx: click.Context) -> None:
    """Show sessions, rooms, streams to other servers, questions, versions. Status 1 if no server runs."""
    caller = context.caller
    data: dict[str, Any] | None = caller.ask_running(ShowStatus())
    if data is None:
        data = {"running": False, **(caller.look(ShowStatus()) or {"versions": versions()})}
    if context.json:
        print_json(data)
    else:
        print_one(_lines(data))
    if not data["running"]:
        what = "is just starting or ending" if caller.is_locked() else "is not running"
        click.echo(f"refserverctl: refserver {what}; this is what the store knows", err=True)
        ctx.exit(1)


def _lines(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data as people read them: no zeros among the states, the uptime in hours and days."""
    lines = dict(data)
    if "uptime" in lines:
        lines["uptime"] = str(timedelta(seconds=lines["uptime"]))
    if "questions" in lines:
        lines["questions"] = {state: number for state, number in data["questions"].items() if number} or 0
    return lines
