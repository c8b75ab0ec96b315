"""refserverctl question … and report: nobody is named in what they print, and no word is repeated."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import click

from refserver.app.commandline.context import Context, pass_context
from refserver.app.commandline.printing import print_json, print_one
from refserver.app.verbs.plain import made_of
from refserver.app.verbs.wish import Wish

__all__ = ["question", "report"]

# As the verbs and refserver.reference.report have them, which take long to import.
STATES: Final = (
    "open",
    "all",
    "waiting",
    "offered",
    "claimed",
    "parked",
    "closed",
    "referred",
    "abandoned",
)
FORMATS: Final = ("text", "csv", "json")

_DAY = click.DateTime(formats=["%Y-%m-%d"])


@click.group()
def question() -> None:
    """Questions: where each of them is."""


@question.command("list")
@click.option("--queue", help="Only this queue's.")
@click.option(
    "--state", type=click.Choice(STATES), default="open", show_default=True, help="Only in this state."
)
@pass_context
def list_(context: Context, queue: str | None, state: str) -> None:
    """List questions, in the order of waiting."""
    columns = ("number", "queue", "state", "patron", "librarian", "channel", "language", "asked")
    context.show(Wish.to("question list", queue=queue, state=state), columns, "no questions")


@question.command("show")
@click.argument("number", type=int)
@click.option("--queue", help="Which queue's; needed where several have that number.")
@pass_context
def show(context: Context, number: int, queue: str | None) -> None:
    """Show all that is counted of one question, and none of its words."""
    data = context.caller.call(Wish.to("question show", number=number, queue=queue))
    if context.json:
        print_json(data)
    else:
        print_one(data)


@click.command()
@click.argument("of", metavar="QUEUE|DOMAIN")
@click.option("--from", "first", type=_DAY, metavar="DAY", help="The first day, like 2026-01-31.")
@click.option("--to", "last", type=_DAY, metavar="DAY", help="The last day.")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="text",
    show_default=True,
    help="How to print it.",
)
@pass_context
def report(context: Context, of: str, first: datetime | None, last: datetime | None, form: str) -> None:
    """Count the questions of a queue, or of all queues of a library."""
    from refserver.reference import report as printed  # late: only this command needs it

    days = ["" if day is None else day.date().isoformat() for day in (first, last)]
    data = context.caller.call(Wish.to("report", of=of, first_day=days[0], last_day=days[1]))
    reports = made_of(data, list[printed.Report])
    click.echo(printed.FORMATS["json" if context.json else form](reports).rstrip("\n"))
