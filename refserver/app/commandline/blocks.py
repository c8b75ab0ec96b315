"""refserverctl block …, allow … and spam …: whom libraries let in."""

from __future__ import annotations

from datetime import datetime

import click

from refserver.app.commandline.context import Context, pass_context
from refserver.app.verbs.wish import Wish

__all__ = ["allow", "block", "spam"]

COLUMNS = ("library", "sender", "reason", "origin", "by", "since", "until")


@click.group()
def block() -> None:
    """Senders that a library does not let in: addresses, and whole servers."""


@block.command("add")
@click.argument("library")
@click.argument("sender")
@click.option("--reason", help="Why, for those who look at the list.")
@pass_context
def block_add(context: Context, library: str, sender: str, reason: str | None) -> None:
    """Block an address or a server: for them there is nobody here, and their subscriptions end."""
    context.change(Wish.to("block add", library=library, sender=sender, reason=reason), "sender")


@block.command("list")
@click.argument("library")
@pass_context
def block_list(context: Context, library: str) -> None:
    """List whom a library blocks, and who is blocked everywhere."""
    context.show(Wish.to("block list", library=library), COLUMNS, "nobody is blocked")


@block.command("remove")
@click.argument("library")
@click.argument("sender")
@pass_context
def block_remove(context: Context, library: str, sender: str) -> None:
    """Let a sender in again."""
    context.change(Wish.to("block remove", library=library, sender=sender), "sender")


@click.group()
def allow() -> None:
    """Senders that a library always lets in: limits for strangers do not count for them."""


@allow.command("add")
@click.argument("library")
@click.argument("sender")
@click.option("--reason", help="Why, for those who look at the list.")
@pass_context
def allow_add(context: Context, library: str, sender: str, reason: str | None) -> None:
    """Always let in an address or a server."""
    context.change(Wish.to("allow add", library=library, sender=sender, reason=reason), "sender")


@allow.command("list")
@click.argument("library")
@pass_context
def allow_list(context: Context, library: str) -> None:
    """List whom a library always lets in, and who is let in everywhere."""
    context.show(Wish.to("allow list", library=library), COLUMNS, "nobody is on the list")


@allow.command("remove")
@click.argument("library")
@click.argument("sender")
@pass_context
def allow_remove(context: Context, library: str, sender: str) -> None:
    """Treat a sender like all others again."""
    context.change(Wish.to("allow remove", library=library, sender=sender), "sender")


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
