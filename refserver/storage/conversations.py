"""Stores what is said in a question, as long as policy lets it be kept.

A message carries the id its sender gave it, so that one repeated after a lost connection or a
crash is recognised, and how far its way to the recipient has come.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from enum import IntEnum, StrEnum
from typing import Any, Final

from attrs import field, frozen
from sqlalchemy import Connection, Select, delete, exists, func, insert, select, update

from refserver.jid import JID
from refserver.storage.schema import libraries, question_messages, questions, queues

_columns = question_messages.c

REPEAT_SECONDS: Final = 600.0
"""For how long a message with the same id and words is taken for a repetition."""


class Direction(StrEnum):
    """From whom a message is. Notes and what the queue itself says are for the staff only."""

    PATRON = "patron"
    STAFF = "staff"
    NOTE = "note"
    SYSTEM = "system"


class Relay(IntEnum):
    """The progress of a message on its way to its recipient.

    It is TO_DO until its recipient's client or server has confirmed it, or it is in the offline store;
    GIVEN_UP, if it could not be delivered for days or was refused; else DONE.
    """

    TO_DO = 0
    DONE = 1
    GIVEN_UP = 2


@frozen
class Message:
    """One message. `sequence` counts from 1 in its question.

    `author` is a librarian's nick, "" for the patron. `origin_id` is the id its sender gave
    the stanza, None if it gave none. `extras` is XML that travels with the body. `receipt`:
    the sender wants to know of its delivery.
    """

    id: int
    question_id: int
    sequence: int
    direction: Direction = field(converter=Direction)
    author: str
    origin_id: str | None
    body: str
    extras: str
    sent_at: float
    relay: Relay = field(converter=Relay)
    receipt: bool


# The columns are in the order of the fields.
_MESSAGE = [column for column in question_messages.c if column.name != "gap"]


def add(
    connection: Connection,
    question_id: int,
    direction: Direction,
    body: str,
    *,
    now: float,
    author: str = "",
    origin_id: str | None = None,
    extras: str = "",
    gap: float | None = None,
    relay: Relay = Relay.DONE,
    receipt: bool = False,
) -> Message:
    """Add a message at the end."""
    last = select(func.max(_columns.sequence)).where(_columns.question == question_id)
    added = connection.execute(
        insert(question_messages)
        .values(
            question=question_id,
            sequence=(connection.execute(last).scalar() or 0) + 1,
            direction=direction,
            author=author,
            origin_id=origin_id or None,
            body=body,
            extras=extras,
            sent_at=now,
            gap=gap,
            relay=relay,
            receipt=receipt,
        )
        .returning(*_MESSAGE)
    )
    return Message(*added.one())


def repeated(
    connection: Connection,
    question_id: int,
    direction: Direction,
    origin_id: str | None,
    body: str,
    now: float,
) -> Message | None:
    """Return the message of a question that this one repeats: the same id and words, minutes ago at most.

    Senders choose the ids, and some count from 1 again: an id alone says nothing.
    """
    if not origin_id:
        return None
    same = (_columns.origin_id == origin_id) & (_columns.direction == direction) & (_columns.body == body)
    query = select(*_MESSAGE).where(_columns.question == question_id, same)
    query = query.where(_columns.sent_at > now - REPEAT_SECONDS).order_by(_columns.id.desc()).limit(1)
    found = connection.execute(query).first()
    return None if found is None else Message(*found)


def has_id(connection: Connection, question_id: int, direction: Direction, origin_id: str) -> bool:
    """Return True if a message of that direction and id is in the question, however old."""
    query = select(_columns.id).where(_columns.question == question_id, _columns.origin_id == origin_id)
    return connection.execute(query.where(_columns.direction == direction)).first() is not None


def of(connection: Connection, question_id: int) -> list[Message]:
    """Everything said in a question, in order."""
    query = select(*_MESSAGE).where(_columns.question == question_id)
    return _messages(connection, query.order_by(_columns.sequence))


def by_id(connection: Connection, message_ids: Collection[int]) -> list[Message]:
    """The messages of these ids, in the order in which they were stored."""
    query = select(*_MESSAGE).where(_columns.id.in_(message_ids))
    return _messages(connection, query.order_by(_columns.id))


def last_of(connection: Connection, question_id: int, direction: Direction) -> int:
    """The sequence of the newest message of a direction, 0 if there is none."""
    query = select(func.max(_columns.sequence)).where(_columns.question == question_id)
    return connection.execute(query.where(_columns.direction == direction)).scalar() or 0


def last_spoken(connection: Connection, question_id: int) -> float | None:
    """Return the time at which patron or staff last said something to the other."""
    spoken = _columns.direction.in_((Direction.PATRON, Direction.STAFF))
    query = select(func.max(_columns.sent_at)).where(_columns.question == question_id, spoken)
    return connection.execute(query).scalar()


def confirm(connection: Connection, queue_id: int, patron: JID, origin_id: str) -> int | None:
    """Note that a patron's client has acknowledged a queue's answer with that id: the oldest that is to do.

    Returns the id of the newest question with such an answer.
    """
    theirs = select(questions.c.id).where(questions.c.queue == queue_id, questions.c.patron == patron.text)
    answers = (_columns.origin_id == origin_id, _columns.direction == Direction.STAFF)
    of_patron = _columns.question.in_(theirs)
    oldest = select(func.min(_columns.id)).where(of_patron, *answers, _columns.relay == Relay.TO_DO)
    done = update(question_messages).where(_columns.id == oldest.scalar_subquery())
    connection.execute(done.values(relay=Relay.DONE))
    newest = select(func.max(_columns.question)).where(of_patron, *answers)
    return connection.execute(newest).scalar()


def openings(connection: Connection, queue_id: int | None, states: Collection[str]) -> dict[int, str]:
    """The first words of a queue's questions in `states`, or of all queues', by the questions' ids."""
    query = select(_columns.question, _columns.body).join(questions, questions.c.id == _columns.question)
    query = query.where(questions.c.state.in_(states), _columns.sequence == 1)
    if queue_id is not None:
        query = query.where(questions.c.queue == queue_id)
    return {row[0]: row[1] for row in connection.execute(query)}


def set_relay(connection: Connection, message_ids: Collection[int], relay: Relay) -> None:
    """Note how far messages have come."""
    if message_ids:
        ids = _columns.id.in_(message_ids)
        connection.execute(update(question_messages).where(ids).values(relay=relay))


def arrived(connection: Connection, message_ids: Collection[int]) -> None:
    """Note that messages were handed over; what was given up meanwhile stays so."""
    if message_ids:
        these = _columns.id.in_(message_ids) & (_columns.relay != Relay.GIVEN_UP)
        connection.execute(update(question_messages).where(these).values(relay=Relay.DONE))


def counts(connection: Connection, question_id: int) -> Counter[str]:
    """Return the number of messages of a question from each direction."""
    query = select(_columns.direction, func.count()).where(_columns.question == question_id)
    return Counter({row[0]: row[1] for row in connection.execute(query.group_by(_columns.direction))})


def gaps(connection: Connection, question_id: int) -> list[float]:
    """The seconds between messages of a question, where they count."""
    query = select(_columns.gap).where(_columns.question == question_id, _columns.gap.is_not(None))
    return [gap for gap in connection.execute(query.order_by(_columns.sequence)).scalars() if gap is not None]


def delete_of(connection: Connection, question_ids: Collection[int]) -> int:
    """Delete what was said in some questions; how many messages that was."""
    if not question_ids:
        return 0
    these = _columns.question.in_(question_ids)
    return connection.execute(delete(question_messages).where(these)).rowcount


def with_words(connection: Connection, where: JID | None, before: float, limit: int) -> list[int]:
    """Return questions (ids) that ended before a time and whose words are still kept, `limit` at most.

    `where` is a queue's address, a library's domain, or None for all.
    """
    said = exists().where(_columns.question == questions.c.id)
    query = select(questions.c.id).where(questions.c.closed_at < before, said).limit(limit)
    if where is not None:
        at = select(queues.c.id).join(libraries, libraries.c.id == queues.c.library)
        at = at.where(libraries.c.domain == where.domainpart)
        if where.localpart:
            at = at.where(queues.c.localpart == where.localpart)
        query = query.where(questions.c.queue.in_(at))
    return list(connection.execute(query).scalars())


def _messages(connection: Connection, query: Select[Any]) -> list[Message]:
    return [Message(*row) for row in connection.execute(query)]
