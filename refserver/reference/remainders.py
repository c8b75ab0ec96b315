"""What an absence or a crash has left: messages not handed over, or nobody can tell whether they were.

Each function is one database transaction. A message is marked as under way in the commit
before it is handed over, so after a crash it is never handed over twice as the same message.
Of what was under way then, a librarian gets a recapitulation; the message itself comes if its
sender, who has no receipt, sends it again. Patrons get theirs again where nobody would.
"""

from __future__ import annotations

from attrs import frozen
from sqlalchemy import Connection

from refserver.jid import JID
from refserver.reference.states import State
from refserver.storage import conversations, questions
from refserver.storage.conversations import Direction, Message, Relay
from refserver.storage.questions import Question

__all__ = ["Remainder", "for_librarian", "for_patrons"]


@frozen
class Remainder:
    """One question's messages: `due` to be handed over, `doubtful` to be told of."""

    question: Question
    due: list[Message]
    doubtful: list[Message]


def for_patrons(connection: Connection, queue_id: int) -> list[Remainder]:
    """What patrons are still to get, of finished questions, too."""
    waiting: dict[int, list[Message]] = {}
    for message in conversations.with_relay(connection, queue_id, Relay.TO_DO):
        if message.direction is Direction.STAFF:
            waiting.setdefault(message.question_id, []).append(message)
    return [Remainder(questions.get(connection, id), due, []) for id, due in waiting.items()]


def for_librarian(connection: Connection, queue_id: int, librarian: JID, live: bool) -> list[Remainder]:
    """What a librarian is still to get of the questions she has.

    What is due is marked as under way, if she is `live`; what is doubtful as retold.
    """
    remainders = []
    for question in questions.owned_by(connection, librarian, [State.CLAIMED]):
        if question.queue_id == queue_id:
            said = conversations.of(connection, question.id)
            patrons = [message for message in said if message.direction is Direction.PATRON]
            due = [message for message in patrons if message.relay is Relay.TO_DO]
            doubtful = [m for m in patrons if m.relay is Relay.DOUBTFUL]
            if live:
                conversations.set_relay(connection, [message.id for message in due], Relay.UNDER_WAY)
            conversations.set_relay(connection, [message.id for message in doubtful], Relay.RETOLD)
            remainders.append(Remainder(question, due, doubtful))
    return remainders
