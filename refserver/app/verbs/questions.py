"""Verbs on questions. They show where a question is, never who asked it or what was said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from attrs import frozen
from sqlalchemy import Connection

from refserver.app.verbs.addresses import queues_at
from refserver.app.verbs.verb import Done, Refused, Verb, moment
from refserver.jid import JID
from refserver.reference import answering
from refserver.reference.states import OPEN, State
from refserver.storage import conversations, questions, statistics
from refserver.storage.conversations import Direction
from refserver.storage.questions import Question
from refserver.storage.queues import Queue

__all__ = ["STATES", "ListQuestions", "ShowQuestion"]

STATES: Final[Mapping[str, frozenset[State]]] = {
    "open": OPEN,
    "all": frozenset(State),
    **{state.value: frozenset({state}) for state in State},
}
"""What `question list --state` takes."""


@frozen
class ListQuestions(Verb):
    """The questions of one queue or of all, in the order of waiting; `state` is one of `STATES`."""

    verb: ClassVar[str] = "question list"
    writes: ClassVar[bool] = False
    queue: str | None = None
    state: str = "open"

    def run(self, connection: Connection, now: float) -> Done:
        """See `Verb`."""
        if self.state not in STATES:
            raise Refused(f"{self.state!r} is no state: choose one of {', '.join(STATES)}")
        return Done(
            [
                _row(connection, queue, question, now)
                for queue in queues_at(connection, self.queue)
                for question in questions.in_states(connection, STATES[self.state], queue.id)
            ]
        )


@frozen
class ShowQuestion(Verb):
    """One question; a queue must be named where several libraries have that number."""

    verb: ClassVar[str] = "question show"
    writes: ClassVar[bool] = False
    number: int
    queue: str | None = None

    def run(self, connection: Connection, now: float) -> Done:
        """See `Verb`."""
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
                "messages": {direction.value: said[direction] for direction in Direction},
                "wait": None if counted is None else counted.wait,
                "transfers": 0 if counted is None else counted.transfers,
                "releases": 0 if counted is None else counted.releases,
            }
        )

    def _found(self, connection: Connection) -> tuple[Queue, Question]:
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


def _row(connection: Connection, queue: Queue, question: Question, now: float) -> dict[str, Any]:
    return {
        "number": question.number,
        "queue": queue.jid.text,
        "state": question.state,
        "patron": f"Guest {question.pseudonym}",
        "librarian": _nick(connection, queue, question.owner),
        "channel": question.channel,
        "language": question.language,
        "asked": moment(question.asked_at),
        "age": round(now - question.asked_at),
    }


def _nick(connection: Connection, queue: Queue, jid: JID | None) -> str | None:
    return None if jid is None else answering.nick_of(connection, queue.id, jid)
