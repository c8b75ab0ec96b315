"""The verbs that end a question or open it again: close, refer, park, end, reopen.

Each verb is one database transaction. At a close the statistics row is completed; it holds
no name and no word. What is then forgotten, and when: privacy.py.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection

from refserver.jid import JID
from refserver.reference.answering import Taken, change, colleague, owned
from refserver.reference.refusals import PatronBusy, PatronGone, WrongState
from refserver.reference.states import OPEN, Outcome, State, Verb, after, closing_verb, sources
from refserver.storage import conversations, questions, statistics
from refserver.storage.conversations import Direction
from refserver.storage.questions import Question

KINDS: Final = ("reference", "directional", "technical")
"""Tags that say what type of question it was."""

GRACE_SECONDS: Final = 7200.0
"""Within this time after the last attempt somebody is told that it was in vain (outbox.py)."""


def close(
    connection: Connection,
    question_id: int,
    librarian: JID,
    now: float,
    *,
    level: int | None = None,
    outcome: Outcome = Outcome.ANSWERED,
    tags: tuple[str, ...] = (),
) -> Question:
    """End a question with a READ level (1-6, None: not rated) and an outcome.

    `Outcome.REFERRED` refers it, `Outcome.FOLLOW_UP` parks it: then it is not finished, and
    nobody owns it. Raises `NotYours` or `WrongState`.
    """
    verb = closing_verb(outcome)
    question = owned(connection, question_id, librarian, verb)
    parked = verb is Verb.PARK
    closed = change(
        connection,
        question_id,
        librarian,
        verb,
        owner=None if parked else librarian,
        handed_to=None,
        closed_at=None if parked else now,
        read_level=level,
        outcome=outcome,
        tags=tags,
    )
    _count(connection, question, now, level, outcome, tags)
    return closed


def park(connection: Connection, question_id: int, librarian: JID, now: float) -> Question:
    """Keep a question for follow-up. Raises `NotYours` or `WrongState`."""
    question = owned(connection, question_id, librarian, Verb.PARK)
    return close(
        connection,
        question_id,
        librarian,
        now,
        level=question.read_level,
        outcome=Outcome.FOLLOW_UP,
        tags=question.tags,
    )


def end(connection: Connection, question_id: int, now: float) -> Question:
    """End an open question that nobody will go on with: its patron, queue or library is no more.

    It is abandoned, and keeps its owner if it had one. Raises `WrongState`.
    """
    question = questions.get(connection, question_id)
    verb, outcome = Verb.END, Outcome.ABANDONED
    over = {"offered_to": None, "handed_to": None, "closed_at": now, "outcome": outcome}
    ended = change(connection, question_id, question.owner, verb, **over)
    _count(connection, question, now, question.read_level, outcome, question.tags)
    return ended


def reopen(connection: Connection, question_id: int, librarian: JID, now: float) -> Taken:
    """Undo a close: the question is then `librarian`'s.

    Raises `WrongState`, `PatronGone` once the link to the patron is deleted, `PatronBusy` when
    the patron has asked another question meanwhile.
    """
    question = questions.get(connection, question_id)
    colleague(connection, question.queue_id, librarian)
    after(question.state, Verb.REOPEN)
    if question.patron is None:
        raise PatronGone(question.number)
    other = questions.of_patron(connection, question.queue_id, question.patron, OPEN)
    if other is not None:
        raise PatronBusy(other.number)
    reopened = questions.compare_and_set(
        connection,
        question_id,
        sources(Verb.REOPEN),
        question.owner,
        state=State.CLAIMED,
        owner=librarian,
        claimed_at=now,
        closed_at=None,
        outcome="",
    )
    if reopened is None:  # somebody else was faster, on another node
        raise WrongState(question.state, Verb.REOPEN)
    counted = statistics.of(connection, question_id)
    if counted is not None:
        wait = round(max(0.0, now - question.asked_at), 3) if counted.wait is None else counted.wait
        statistics.change(connection, question_id, outcome="", duration=None, wait=wait)
    return Taken(reopened, None, conversations.of(connection, question_id))


def _count(
    connection: Connection,
    question: Question,
    now: float,
    level: int | None,
    outcome: Outcome,
    tags: tuple[str, ...],
) -> None:
    counted = statistics.of(connection, question.id)
    if counted is None:
        return
    said = conversations.counts(connection, question.id)
    statistics.change(
        connection,
        question.id,
        duration=None if counted.wait is None else round(max(0.0, now - question.asked_at - counted.wait), 3),
        patron_messages=said[Direction.PATRON],
        staff_messages=said[Direction.STAFF],
        gaps=conversations.gaps(connection, question.id),
        kind=next((tag for tag in tags if tag in KINDS), ""),
        read_level=level,
        outcome=outcome,
    )
