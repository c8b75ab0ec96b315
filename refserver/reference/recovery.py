"""What an absence or a crash has left: messages not handed over, or nobody can tell whether they were.

Each function is one database transaction. A message is marked in the commit before it is
handed over, so after a crash it is not handed over twice as the same message. Of what is
doubtful then a librarian is told in other words, rather twice than never: that is marked after
it was done. The message itself comes if its sender, who has no receipt, sends it again.
See `conversations.Relay` and `conversations.recover`.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve, frozen
from sqlalchemy import Connection

from refserver.jid import JID
from refserver.storage import conversations, offline, questions
from refserver.storage.conversations import Direction, Message, Relay
from refserver.storage.questions import Question
from refserver.xml.write import parse

__all__ = ["Remainder", "for_librarian", "for_patrons"]


@frozen
class Remainder:
    """One question's messages: `due` to be handed over, `doubtful` to be told of.

    `kept` are the ids of the queue's stanzas that wait for the patron's account (storage/offline.py).
    """

    question: Question
    due: list[Message]
    doubtful: list[Message]
    kept: frozenset[str] = frozenset()


def for_patrons(connection: Connection, queue_id: int, address: JID) -> list[Remainder]:
    """What patrons are still to get from the queue's address.

    An answer to somebody who is away is noted as handed over after it was kept for her, so after a crash it
    may be due and kept.
    """
    found = conversations.with_relay(connection, queue_id, Relay.TO_DO)
    every = _by_question(connection, (m for m in found if m.direction is Direction.STAFF))
    return [evolve(one, kept=_kept(connection, one.question.patron, address)) for one in every]


def _kept(connection: Connection, account: JID | None, sender: JID) -> frozenset[str]:
    if account is None:
        return frozenset()
    stanzas = (parse(one.stanza) for one in offline.fetch(connection, account))
    return frozenset(stanza.get("id", "") for stanza in stanzas if stanza.get("from") == sender.text)


def for_librarian(connection: Connection, queue_id: int, librarian: JID, live: bool) -> list[Remainder]:
    """What a librarian is still to get, of questions she has closed, too.

    What is due is marked as given, if she is `live`.
    """
    found = conversations.with_relay(connection, queue_id, Relay.TO_DO, Relay.DOUBTFUL)
    every = _by_question(connection, (m for m in found if m.direction is Direction.PATRON))
    remainders = [one for one in every if one.question.owner == librarian]
    if live:
        due = [message.id for one in remainders for message in one.due]
        conversations.set_relay(connection, due, Relay.GIVEN)
    return remainders


def _by_question(connection: Connection, messages: Iterable[Message]) -> list[Remainder]:
    remainders: dict[int, Remainder] = {}
    for message in messages:
        one = remainders.get(message.question_id)
        if one is None:
            question = questions.get(connection, message.question_id)
            one = remainders[message.question_id] = Remainder(question, [], [])
        (one.due if message.relay is Relay.TO_DO else one.doubtful).append(message)
    return list(remainders.values())
