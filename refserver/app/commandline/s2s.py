"""refserverctl s2s …: other servers, as the running one knows them."""

from __future__ import annotations

from typing import Any

import click

from refserver.app.commandline.context import Context, pass_context
from refserver.app.commandline.printing import print_json, print_one
from refserver.app.verbs.wish import Wish

__all__ = ["s2s"]

COLUMNS = (
    "domain",
    "streams_out",
    "streams_in",
    "method",
    "waiting",
    "sent",
    "received",
    "certificate",
    "last_error",
)


@click.group()
def s2s() -> None:
    """Other servers: the streams from and to them, and what went wrong."""


@s2s.command("list")
@pass_context
def list_(context: Context) -> None:
    """List the other servers that had to do with this one since it started."""
    context.show(Wish.to("s2s list"), COLUMNS, "no other server has had to do with this one yet")


@s2s.command("show")
@click.argument("domain")
@pass_context
def show(context: Context, domain: str) -> None:
    """Show all that is known of one other server, and what to do about its last error."""
    data: dict[str, Any] = context.caller.call(Wish.to("s2s show", domain=domain))
    if context.json:
        print_json(data)
    else:
        print_one(data)
