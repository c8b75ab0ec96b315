"""The librarian's verbs as her chats use them: by a question's number, with what must follow.

Each function is one database transaction around the verbs of answering.py and closing.py;
it raises what they raise, and `NoSuchQuestion`.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen
from sqlalchemy import Connection

from refserver.jid import JID
from refserver.reference import answering, closing
from refserver.reference.answering import Replied, numbered
from refserver.reference.asking import Utterance
from refserver.reference.refusals import NoSuchCannedReply
from refserver.reference.states import Outcome
from refserver.storage import conversations, queues
from refserver.storage.conversations import Direction, Message, Relay
from refserver.storage.questions import Question

__all__ = [
    "Answered",
    "Taken",
    "close",
    "decline",
    "hand_over",
    "note",
    "park",
    "release",
    "reopen",
    "reply",
    "reply_canned",
    "take",
]


@frozen
class Taken:
    """A question that has a new owner; `before` is whose it was, `said` what was said until then.

    What the patron has said and nobody has got is marked as given, if the owner is live.
    """

    question: Question
    before: JID | None
    said: list[Message]


@frozen
class Answered:
    """A reply, and what it took, if it took the question."""

    replied: Replied
    taken: Taken | None


def take(
    connection: Connection, queue_id: int, number: int, librarian: JID, now: float, live: bool = False
) -> Taken:
    """Claim, or accept what is being handed over. `live`: a client of the librarian is here."""
    question = numbered(connection, queue_id, number)
    taken = answering.take(connection, question.id, librarian, now)
    return Taken(taken, question.owner, _told(connection, question.id, live))


def reply(
    connection: Connection,
    queue_id: int,
    number: int,
    librarian: JID,
    utterance: Utterance,
    now: float,
    live: bool = False,
) -> Answered:
    """Say something to the patron; the first to do so takes the question (`live`: as for `take`)."""
    question = numbered(connection, queue_id, number)
    taken = None
    if question.owner != librarian:
        taken = take(connection, queue_id, number, librarian, now, live)
    replied = answering.answer(connection, question.id, librarian, utterance, now=now)
    return Answered(replied, taken)


def reply_canned(
    connection: Connection,
    queue_id: int,
    number: int,
    librarian: JID,
    name: str,
    origin_id: str | None,
    now: float,
) -> Answered:
    """Say what the queue keeps under `name`, to a patron one has. Raises `NoSuchCannedReply`, too."""
    texts: Mapping[str, str] = queues.canned(connection, queue_id)
    text = texts.get(name.casefold())
    if text is None:
        raise NoSuchCannedReply(name)
    question = numbered(connection, queue_id, number)
    replied = answering.answer(connection, question.id, librarian, Utterance(text, origin_id), now=now)
    return Answered(replied, None)


def note(
    connection: Connection, queue_id: int, number: int, librarian: JID, utterance: Utterance, now: float
) -> Message:
    """Keep a remark for the staff."""
    question = numbered(connection, queue_id, number)
    return answering.note(connection, question.id, librarian, utterance, now=now)


def release(connection: Connection, queue_id: int, number: int, librarian: JID) -> Question:
    """Give a question back to the queue."""
    return answering.release(connection, numbered(connection, queue_id, number).id, librarian)


def hand_over(connection: Connection, queue_id: int, number: int, librarian: JID, nick: str) -> Question:
    """Ask a colleague to take over."""
    return answering.hand_over(connection, numbered(connection, queue_id, number).id, librarian, nick)


def decline(connection: Connection, queue_id: int, number: int, librarian: JID) -> Question:
    """Do not take over, or take a hand-over back."""
    return answering.decline(connection, numbered(connection, queue_id, number).id, librarian)


def close(
    connection: Connection,
    queue_id: int,
    number: int,
    librarian: JID,
    level: int | None,
    outcome: Outcome,
    tags: tuple[str, ...],
    now: float,
) -> Question:
    """End a question."""
    question = numbered(connection, queue_id, number)
    return closing.close(connection, question.id, librarian, now=now, level=level, outcome=outcome, tags=tags)


def park(connection: Connection, queue_id: int, number: int, librarian: JID, now: float) -> Question:
    """Keep a question for follow-up."""
    return closing.park(connection, numbered(connection, queue_id, number).id, librarian, now=now)


def reopen(connection: Connection, queue_id: int, number: int, librarian: JID, now: float) -> Taken:
    """Undo a close."""
    question = numbered(connection, queue_id, number)
    reopened = closing.reopen(connection, question.id, librarian, now=now)
    return Taken(reopened, None, conversations.of(connection, question.id))


def _told(connection: Connection, question_id: int, live: bool) -> list[Message]:
    """What was said, as it was; what is now handed over for the first time is noted as given."""
    said = conversations.of(connection, question_id)
    new = [m.id for m in said if m.direction is Direction.PATRON and m.relay is Relay.TO_DO]
    if live:
        conversations.set_relay(connection, new, Relay.GIVEN)
    return said
