"""refserverctl library …"""

from __future__ import annotations

import sys

import click

from refserver.app.commandline.context import Context, pass_context
from refserver.app.verbs.wish import Wish

__all__ = ["confirm", "library"]


def confirm(question: str, *, yes: bool) -> None:
    """Ask a person who sits there before something is lost; a script is not asked."""
    if not yes and sys.stdin.isatty():
        click.confirm(question, abort=True)


@click.group()
def library() -> None:
    """Libraries: the XMPP domains served here."""


@library.command("add")
@click.argument("domain")
@click.option("--name", help="The library's name for people.")
@pass_context
def add(context: Context, domain: str, name: str | None) -> None:
    """Add a library. If it is there, --name gives it another name."""
    context.change(Wish.to("library add", domain=domain, name=name), "domain")


@library.command("list")
@pass_context
def list_(context: Context) -> None:
    """List the libraries."""
    context.show(
        Wish.to("library list"), ("domain", "name"), "no library yet: refserverctl library add DOMAIN"
    )


@library.command("remove")
@click.argument("domain")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_context
def remove(context: Context, domain: str, yes: bool) -> None:
    """Remove a library with its accounts, rooms, queues and questions. Statistics stay."""
    confirm(f"Remove {domain} with all its accounts, rooms, queues and questions?", yes=yes)
    context.change(Wish.to("library remove", domain=domain), "domain")
