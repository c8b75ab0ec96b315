"""Giving up what could not be delivered: what the record then says, and who is to be told.

Owns how long something is owed. `give_up` is one database transaction. An answer that never
came is noted in its question's history, and somebody is told: once, until the patron has
written again. Words of a patron that a librarian elsewhere never got send the question back to
the queue, so that somebody else gets them. See storage/outbox.py.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from attrs import frozen
from sqlalchemy import Connection

from refserver.jid import JID
from refserver.reference.answering import give_back
from refserver.reference.states import State
from refserver.storage import conversations, outbox
from refserver.storage.conversations import Direction, Message
from refserver.storage.outbox import Due, Key
from refserver.storage.questions import Question

OWED_DAYS: Final = 3
OWED_SECONDS: Final = OWED_DAYS * 86400.0


@frozen
class GivenUp:
    """One question, as it is now, of which something could not be delivered.

    `to_staff`: it was for the librarian who owns or owned it, else for the patron. `released_from` is the
    librarian who has lost the question by this.
    """

    question: Question
    to_staff: bool
    released_from: JID | None = None


def give_up(
    connection: Connection,
    recipient: JID,
    keys: Collection[Key],
    words: Callable[[GivenUp], str],
    now: float,
) -> list[GivenUp]:
    """Owe these to `recipient` no more; the questions of which somebody is to be told, in `words`."""
    by_question: dict[tuple[int, bool], list[Due]] = {}
    for due in outbox.find(connection, keys):
        to_staff = isinstance(due.said, Message) and due.said.direction is Direction.PATRON
        by_question.setdefault((due.question.id, to_staff), []).append(due)
    given_up = []
    for (_, to_staff), dues in by_question.items():
        one = _to_librarian(connection, recipient, dues) if to_staff else _to_patron(connection, dues)
        if one is not None and _note(connection, one, words(one), now):
            given_up.append(one)
    return given_up


def _to_patron(connection: Connection, dues: list[Due]) -> GivenUp | None:
    """None if only lines of the queue are lost: they say nothing that anybody would have to say again."""
    outbox.drop(connection, [due.key for due in dues])
    answers = any(isinstance(due.said, Message) for due in dues)
    return GivenUp(dues[0].question, to_staff=False) if answers else None


def _to_librarian(connection: Connection, librarian: JID, dues: list[Due]) -> GivenUp | None:
    """What she has not got goes to whoever is next; if she has closed the question, to nobody.

    None if somebody else has the question now: who was told all of it.
    """
    question = dues[0].question
    if question.owner != librarian:
        return None
    if question.state != State.CLAIMED:
        outbox.drop(connection, [due.key for due in dues])
        return GivenUp(question, to_staff=True)
    released = give_back(connection, question.id, librarian)
    return GivenUp(released, to_staff=True, released_from=librarian)


def _note(connection: Connection, given_up: GivenUp, text: str, now: float) -> bool:
    """Put it into the question's history; False if it stands there since the patron wrote last."""
    question = given_up.question.id
    id = f"undelivered-{conversations.last_of(connection, question, Direction.PATRON)}"
    if conversations.has_id(connection, question, Direction.SYSTEM, id):
        return given_up.released_from is not None
    conversations.add(connection, question, Direction.SYSTEM, text, now=now, origin_id=id)
    return True
