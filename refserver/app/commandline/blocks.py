"""refserverctl block …, allow … and spam …: whom libraries let in."""

from __future__ import annotations

from datetime import datetime

import click
from attrs import frozen

from refserver.app.commandline.context import Context, pass_context
from refserver.app.verbs.wish import Wish

__all__ = ["allow", "block", "spam"]

COLUMNS = ("library", "sender", "reason", "origin", "by", "since", "until")


@frozen
class Listed:
    """A list of senders as its commands describe it: what each of them does, and what an empty list says."""

    add: str
    list: str
    remove: str
    nobody: str

    def put_into(self, group: click.Group) -> None:
        """Give a group the commands `add`, `list` and `remove`; the verbs are called as the group is."""
        name = group.name

        @group.command("add", help=self.add)
        @click.argument("library")
        @click.argument("sender")
        @click.option("--reason", help="Why, for those who look at the list.")
        @pass_context
        def add(context: Context, library: str, sender: str, reason: str | None) -> None:
            context.change(Wish.to(f"{name} add", library=library, sender=sender, reason=reason), "sender")

        @group.command("list", help=self.list)
        @click.argument("library")
        @pass_context
        def show(context: Context, library: str) -> None:
            context.show(Wish.to(f"{name} list", library=library), COLUMNS, self.nobody)

        @group.command("remove", help=self.remove)
        @click.argument("library")
        @click.argument("sender")
        @pass_context
        def remove(context: Context, library: str, sender: str) -> None:
            context.change(Wish.to(f"{name} remove", library=library, sender=sender), "sender")


BLOCKED = Listed(
    add="Block an address or a server: for them there is nobody here, and their subscriptions end.",
    list="List whom a library blocks, and who is blocked everywhere.",
    remove="Let a sender in again.",
    nobody="nobody is blocked",
)
ALLOWED = Listed(
    add="Always let in an address or a server.",
    list="List whom a library always lets in, and who is let in everywhere.",
    remove="Treat a sender like all others again.",
    nobody="nobody is on the list",
)


@click.group()
def block() -> None:
    """Senders that a library does not let in: addresses, and whole servers."""


@click.group()
def allow() -> None:
    """Senders that a library always lets in: limits for strangers do not count for them."""


BLOCKED.put_into(block)
ALLOWED.put_into(allow)


@allow.command("only")
@click.argument("library")
@click.option(
    "--on/--off", default=None, help="Let in only those, or others again. Otherwise: say how it is."
)
@pass_context
def allow_only(context: Context, library: str, on: bool | None) -> None:
    """Let in nobody from elsewhere but whom the library allows, and its librarians."""
    context.change(Wish.to("allow only", library=library, on=on), "library")


@click.group()
def spam() -> None:
    """What librarians reported with !spam."""


@spam.command("list")
@click.argument("library")
@click.option(
    "--from",
    "first",
    type=click.DateTime(formats=["%Y-%m-%d"]),
    metavar="DAY",
    help="The first day, like 2026-01-31.",
)
@pass_context
def spam_list(context: Context, library: str, first: datetime | None) -> None:
    """Count the questions that were spam by the server they came from, the latest first."""
    day = "" if first is None else first.date().isoformat()
    columns = ("domain", "reports", "last", "blocked")
    context.show(Wish.to("spam list", library=library, first_day=day), columns, "no spam was reported")
