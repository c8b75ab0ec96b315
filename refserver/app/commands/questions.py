"""refserverctl question and report. They name no patron and repeat no word that was said."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Final

import click
from attrs import asdict, frozen

from refserver.app.commands.context import DAY, Context, command, pass_context
from refserver.app.commands.late import Connection, answering, conversations, questions, queues, statistics
from refserver.app.commands.late import report as reports
from refserver.app.commands.request import (
    Done,
    Refused,
    Request,
    bare_address,
    day_of,
    domain_of,
    from_json,
    moment,
    queues_at,
    served_domain,
)
from refserver.jid import JID
from refserver.reference.states import OPEN, State

STATES: Final[Mapping[str, frozenset[State]]] = {
    "open": OPEN,
    "all": frozenset(State),
    **{state.value: frozenset({state}) for state in State},
}
"""The values of `question list --state`."""


@click.group()
def question() -> None:
    """Questions: where each of them is."""


@command(
    question,
    click.Option(["--queue"], help="Only this queue's."),
    click.Option(
        ["--state"],
        type=click.Choice(list(STATES)),
        default="open",
        show_default=True,
        help="Only in this state.",
    ),
    columns=("number", "queue", "state", "patron", "librarian", "channel", "language", "asked"),
    nothing="no questions",
)
@frozen
class ListQuestions(Request):
    """List questions, in the order of waiting."""

    words: ClassVar[str] = "question list"
    writes: ClassVar[bool] = False
    queue: str | None = None
    state: str = "open"

    def run(self, connection: Connection, now: float) -> Done:
        if self.state not in STATES:
            raise Refused(f"{self.state!r} is no state: choose one of {', '.join(STATES)}")
        return Done(
            [
                _row(connection, queue, question, now)
                for queue in queues_at(connection, self.queue)
                for question in questions.in_states(connection, STATES[self.state], queue.id)
            ]
        )


@command(
    question, click.Option(["--queue"], help="Which queue's; needed if several libraries have that number.")
)
@frozen
class ShowQuestion(Request):
    """Show all that is counted of one question, and none of its words."""

    words: ClassVar[str] = "question show"
    writes: ClassVar[bool] = False
    number: int
    queue: str | None = None

    def run(self, connection: Connection, now: float) -> Done:
        queue, question = self._found(connection)
        counted = statistics.of(connection, question.id)
        said = conversations.counts(connection, question.id)
        handed = question.handed_to
        return Done(
            {
                **_row(connection, queue, question, now),
                "offered_to": _nick(connection, queue, question.offered_to),
                "handed_to": _nick(connection, queue, handed),
                "offered": moment(question.offered_at),
                "claimed": moment(question.claimed_at),
                "closed": moment(question.closed_at),
                "read_level": question.read_level,
                "outcome": question.outcome,
                "tags": list(question.tags),
                "messages": {direction.value: said[direction] for direction in conversations.Direction},
                "wait": None if counted is None else counted.wait,
                "transfers": 0 if counted is None else counted.transfers,
                "releases": 0 if counted is None else counted.releases,
            }
        )

    def _found(self, connection: Connection) -> tuple[queues.Queue, questions.Question]:
        desks = queues_at(connection, self.queue)
        by_id = {queue.id: queue for queue in desks}
        domains = sorted({queue.jid.domainpart for queue in desks})
        found = [questions.find(connection, domain, self.number) for domain in domains]
        there = [(by_id[one.queue_id], one) for one in found if one is not None and one.queue_id in by_id]
        if not there:
            raise Refused(
                f"there is no question {self.number}: `refserverctl question list --state all` shows all"
            )
        if len(there) > 1:
            names = ", ".join(queue.jid.text for queue, _ in there)
            several = f"several libraries have a question {self.number}"
            raise Refused(f"{several}: choose with --queue among {names}")
        return there[0]


@frozen
class MakeReport(Request):
    """Count the questions of a queue, or of a library and each of its queues."""

    words: ClassVar[str] = "report"
    writes: ClassVar[bool] = False
    of: str
    first_day: str = ""  # ISO dates, both included
    last_day: str = ""

    def run(self, connection: Connection, now: float) -> Done:
        """The data is a list of `reference.report.Report` as objects."""
        domain, queue = self._whose(connection)
        for day in filter(None, (self.first_day, self.last_day)):
            day_of(day)
        if self.first_day and self.last_day and self.first_day > self.last_day:
            raise Refused(f"the period ends ({self.last_day}) before it begins ({self.first_day})")
        found = reports.report(connection, domain, queue, self.first_day, self.last_day)
        return Done([asdict(one) for one in found])

    def _whose(self, connection: Connection) -> tuple[str, str]:
        """Return domain and queue. The statistics of a removed queue are still there."""
        if "@" not in self.of:
            return served_domain(connection, self.of), ""
        jid = bare_address(self.of)
        domain = domain_of(connection, jid)
        if queues.find(connection, jid) is None and not statistics.rows(connection, domain, jid.localpart):
            raise Refused(f"there is no queue {jid}: `refserverctl queue list` shows those there are")
        return domain, jid.localpart


def _row(
    connection: Connection, queue: queues.Queue, question: questions.Question, now: float
) -> dict[str, Any]:
    return {
        "number": question.number,
        "queue": queue.jid.text,
        "state": question.state,
        "patron": question.guest,
        "librarian": _nick(connection, queue, question.owner),
        "channel": question.channel,
        "language": question.language,
        "asked": moment(question.asked_at),
        "age": round(now - question.asked_at),
    }


def _nick(connection: Connection, queue: queues.Queue, jid: JID | None) -> str | None:
    return None if jid is None else answering.nick_of(connection, queue.id, jid)


# -- what is typed -------------------------------------------------------------------

FORMATS: Final = ("text", "csv", "json")


@click.command()
@click.argument("of", metavar="QUEUE|DOMAIN")
@click.option("--from", "first", type=DAY, metavar="DAY", help="The first day, like 2026-01-31.")
@click.option("--to", "last", type=DAY, metavar="DAY", help="The last day.")
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="text", show_default=True, help="How to print it."
)
@pass_context
def report(context: Context, of: str, first: datetime | None, last: datetime | None, form: str) -> None:
    """Count the questions of a queue, or of all queues of a library."""
    days = ["" if day is None else day.date().isoformat() for day in (first, last)]
    data = context.caller.call(MakeReport(of, *days))
    made = from_json(data, list[reports.Report])
    click.echo(reports.FORMATS["json" if context.json else form](made).rstrip("\n"))
