"""The dispatcher's verbs: offer, widen, withdraw. Each function is one database transaction.

Whom to offer to is decided in dispatch.py. All three return None when the question has
moved on meanwhile (somebody claimed it): that is no error for a dispatcher.
"""

from __future__ import annotations

from sqlalchemy import Connection

from refserver.jid import JID
from refserver.reference.states import State, Verb, sources
from refserver.storage import questions
from refserver.storage.questions import Question

__all__ = ["offer", "widen", "withdraw"]


def offer(connection: Connection, question_id: int, librarian: JID | None, now: float) -> Question | None:
    """Offer a question to one librarian, or (None) to everyone on duty."""
    return questions.compare_and_set(
        connection,
        question_id,
        sources(Verb.OFFER),
        None,
        state=State.OFFERED,
        offered_to=librarian,
        offered_at=now,
    )


def widen(connection: Connection, question_id: int) -> Question | None:
    """The one it was offered to did not take it: now it is offered to everyone."""
    return questions.compare_and_set(connection, question_id, sources(Verb.WIDEN), None, offered_to=None)


def withdraw(connection: Connection, question_id: int) -> Question | None:
    """Nobody is on duty any more: the question waits."""
    return questions.compare_and_set(
        connection,
        question_id,
        sources(Verb.WITHDRAW),
        None,
        state=State.WAITING,
        offered_to=None,
        offered_at=None,
    )
