"""refserverctl status."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import click

from refserver.app.commandline.caller import Caller
from refserver.app.commandline.context import Context, pass_context
from refserver.app.commandline.printing import print_json, print_one
from refserver.app.verbs.wish import Wish

__all__ = ["status"]


@click.command()
@click.pass_context
@pass_context
def status(context: Context, ctx: click.Context) -> None:
    """Show sessions, rooms, streams to other servers, questions, versions. Status 1 if no server runs."""
    caller = context.caller
    data: dict[str, Any] = caller.ask_running(Wish.to("status")) or _from_store(caller)
    if context.json:
        print_json(data)
    else:
        print_one(_lines(data))
    if not data["running"]:
        what = "is just starting or ending" if caller.is_locked() else "is not running"
        click.echo(f"refserverctl: refserver {what}; this is what the store knows", err=True)
        ctx.exit(1)


def _from_store(caller: Caller) -> dict[str, Any]:
    from refserver.app.verbs.status import versions  # late: it asks the store's driver

    return {"running": False, **(caller.look(Wish.to("status")) or {"versions": versions()})}


def _lines(data: Mapping[str, Any]) -> dict[str, Any]:
    """The data as people read them: no zeros among the states, the time it runs in words."""
    lines = dict(data)
    if "uptime" in lines:
        lines["uptime"] = str(timedelta(seconds=lines["uptime"]))
    if "questions" in lines:
        lines["questions"] = {state: number for state, number in data["questions"].items() if number} or 0
    return lines
