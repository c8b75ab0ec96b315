"""refserverctl queue … and librarian …"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from refserver.app.commandline.context import Context, pass_context
from refserver.app.commandline.libraries import confirm
from refserver.app.verbs.wish import Wish

__all__ = ["librarian", "queue"]

F = TypeVar("F", bound=Callable[..., Any])

# As refserver.reference.dispatch and the verbs have them, which take long to import.
POLICIES: Final = ("least-busy", "round-robin", "everyone")
PERSONAS: Final = ("public", "patrons", "staff", "none")

_WISHES: Final = (
    click.option("--title", help="The queue's name in contact lists."),
    click.option("--language", help="The language it speaks first: en, de, …"),
    click.option("--hours", help='When it is open: "Mon-Fri 09:00-17:00; Sat 10:00-13:00". "" is no hours.'),
    click.option("--time-zone", help="The hours' time zone: Europe/Berlin, … At first UTC."),
    click.option(
        "--dispatch",
        type=click.Choice(POLICIES),
        help="Who is offered a question first. At first least-busy.",
    ),
    click.option("--offer-seconds", type=float, help="Then it is offered to all on duty. At first 30."),
    click.option("--undo-hours", type=float, help="How long a close can be undone. At first 24."),
    click.option("--retention-days", type=float, help="How long words are kept after it. At first 0."),
    click.option("--practice/--no-practice", default=None, help="Stay out of the statistics, or not."),
    click.option("--privacy-url", help="Where the privacy policy is; named to patrons."),
    click.option("--web-page", help="The desk's page; named on the queue's business card."),
)


def _with_wishes(command: F) -> F:
    for option in reversed(_WISHES):
        command = option(command)
    return command


def _wishes(given: dict[str, Any]) -> dict[str, Any]:
    """What was given on the command line, as `QueueWishes` have it; what was not stays as it is."""
    wishes = {name: given.pop(name) for name in ("title", "language", "hours")}
    settings = {name: value for name, value in given.items() if value is not None}
    return {**wishes, "settings": settings}


# -- queue ---------------------------------------------------------------------


@click.group()
def queue() -> None:
    """Queues: the addresses that patrons write to."""


@queue.command("add")
@click.argument("address")
@_with_wishes
@pass_context
def add_queue(context: Context, /, address: str, **wishes: Any) -> None:
    """Add a queue. If it is there and set up like this, nothing is changed."""
    context.change(Wish.to("queue add", address=address, wishes=_wishes(wishes)), "queue")


@queue.command("set")
@click.argument("address")
@_with_wishes
@pass_context
def set_queue(context: Context, /, address: str, **wishes: Any) -> None:
    """Change what is given of a queue; the rest stays."""
    context.change(Wish.to("queue set", address=address, wishes=_wishes(wishes)), "queue")


@queue.command("list")
@click.option("--domain", help="Only this library's.")
@pass_context
def list_queues(context: Context, domain: str | None) -> None:
    """List the queues; with --json all their settings."""
    columns = ("queue", "title", "language", "hours", "time_zone", "librarians")
    context.show(
        Wish.to("queue list", domain=domain), columns, "no queue yet: refserverctl queue add ask@DOMAIN"
    )


@queue.command("remove")
@click.argument("address")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_context
def remove_queue(context: Context, address: str, yes: bool) -> None:
    """Remove a queue with its librarians and questions. Statistics stay."""
    confirm(f"Remove {address} with all its questions?", yes=yes)
    context.change(Wish.to("queue remove", address=address), "queue")


# -- librarian -----------------------------------------------------------------


@click.group()
def librarian() -> None:
    """Librarians: who works at which queue."""


@librarian.command("add")
@click.argument("queue")
@click.argument("jid")
@click.option("--nick", help="What colleagues call her: one word. At first what stands before the @.")
@click.option("--max-chats", type=int, help="How many questions she takes at a time. At first 3.")
@click.option("--persona", type=click.Choice(PERSONAS), help="Who sees her persona. At first none.")
@pass_context
def add_librarian(
    context: Context, queue: str, jid: str, nick: str | None, max_chats: int | None, persona: str | None
) -> None:
    """Make somebody a librarian of a queue, or change what is given of one."""
    wish = Wish.to("librarian add", queue=queue, jid=jid, nick=nick, max_chats=max_chats, persona=persona)
    context.change(wish, "jid")


@librarian.command("list")
@click.option("--queue", help="Only this queue's.")
@pass_context
def list_librarians(context: Context, queue: str | None) -> None:
    """List who works where."""
    columns = ("queue", "jid", "nick", "max_chats", "persona")
    wish = Wish.to("librarian list", queue=queue)
    context.show(wish, columns, "no librarian yet: refserverctl librarian add QUEUE JID")


@librarian.command("remove")
@click.argument("queue")
@click.argument("jid")
@pass_context
def remove_librarian(context: Context, queue: str, jid: str) -> None:
    """Somebody works at a queue no more: what she had claimed waits again."""
    context.change(Wish.to("librarian remove", queue=queue, jid=jid), "jid")
