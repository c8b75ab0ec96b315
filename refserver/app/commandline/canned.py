"""refserverctl canned …"""

from __future__ import annotations

import click

from refserver.app.commandline.context import Context, pass_context
from refserver.app.verbs.wish import Wish

__all__ = ["canned"]


@click.group()
def canned() -> None:
    """Canned replies: what librarians send with !c NAME."""


@canned.command("set")
@click.argument("queue")
@click.argument("name")
@click.argument("text")
@pass_context
def set_(context: Context, queue: str, name: str, text: str) -> None:
    """Give a queue a canned reply, or another text for one."""
    context.change(Wish.to("canned set", queue=queue, name=name, text=text), "name")


@canned.command("list")
@click.argument("queue")
@pass_context
def list_(context: Context, queue: str) -> None:
    """List a queue's canned replies."""
    context.show(
        Wish.to("canned list", queue=queue),
        ("name", "text"),
        f"no canned reply yet: refserverctl canned set {queue}",
    )


@canned.command("remove")
@click.argument("queue")
@click.argument("name")
@pass_context
def remove(context: Context, queue: str, name: str) -> None:
    """Take a canned reply away."""
    context.change(Wish.to("canned remove", queue=queue, name=name), "name")
