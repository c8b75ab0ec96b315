"""Stores what is owed to patrons and librarians: said, and not confirmed by their client or server yet.

Of two kinds: messages of a question, which are owed while their relay is `Relay.TO_DO`
(conversations.py), and lines of the queue itself for a patron, which are here until they have
arrived. Both are found by recipient and in the order in which they were said. When they
are tried again is decided in refserver/reference.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Final

from attrs import frozen
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
)

from refserver.jid import JID
from refserver.storage import conversations
from refserver.storage.conversations import Direction, Message, Relay
from refserver.storage.questions import Question, get
from refserver.storage.schema import outbox_lines, question_messages, questions

_columns = question_messages.c

Key = int | str
"""Identifies something owed: the id of a message in the store, or of a line's stanza."""

# In so many words: SQLite takes a partial index only where it sees the condition.
_TO_DO: Final[ColumnElement[bool]] = _columns.relay == literal_column(str(int(Relay.TO_DO)))

OWED_DAYS: Final = 3
"""After this time what was not delivered is given up."""
OWED_SECONDS: Final = OWED_DAYS * 86_400.0


@frozen
class Line:
    """A line of the queue itself to the patron of a question, at a time in Unix seconds."""

    stanza_id: str
    question_id: int
    body: str
    said_at: float


@frozen
class Due:
    """Something owed, and the question as it is now, which says to whom."""

    question: Question
    said: Message | Line

    @property
    def key(self) -> Key:
        """Its `Key`."""
        return self.said.id if isinstance(self.said, Message) else self.said.stanza_id

    @property
    def said_at(self) -> float:
        """The time at which it was said."""
        return self.said.sent_at if isinstance(self.said, Message) else self.said.said_at


# -- owing and being quit ------------------------------------------------------


def add(connection: Connection, line: Line) -> None:
    """Owe a line to its question's patron."""
    connection.execute(
        insert(outbox_lines).values(
            question=line.question_id, stanza_id=line.stanza_id, body=line.body, said_at=line.said_at
        )
    )


def arrived(connection: Connection, keys: Collection[Key]) -> None:
    """These are owed no more: they have come as far as can be known."""
    conversations.arrived(connection, _messages(keys))
    _delete_lines(connection, keys)


def drop(connection: Connection, keys: Collection[Key]) -> None:
    """These are owed no more: they will never arrive."""
    conversations.set_relay(connection, _messages(keys), Relay.GIVEN_UP)
    _delete_lines(connection, keys)


def delete_of(connection: Connection, question_ids: Collection[int]) -> None:
    """Forget the lines owed to the patrons of some questions."""
    if question_ids:
        connection.execute(delete(outbox_lines).where(outbox_lines.c.question.in_(question_ids)))


def _messages(keys: Iterable[Key]) -> list[int]:
    return [key for key in keys if isinstance(key, int)]


def _delete_lines(connection: Connection, keys: Iterable[Key]) -> None:
    ids = [key for key in keys if isinstance(key, str)]
    if ids:
        connection.execute(delete(outbox_lines).where(outbox_lines.c.stanza_id.in_(ids)))


# -- what is owed --------------------------------------------------------------


def of_patron(connection: Connection, queue_id: int, patron: JID, limit: int) -> list[Due]:
    """The oldest answers and lines that a queue owes a patron (bare JID), `limit` at most, in order."""
    whose = and_(questions.c.queue == queue_id, questions.c.patron == patron.text)
    answers = _owed_messages(connection, Direction.STAFF, whose, limit)
    query = select(outbox_lines).join(questions, questions.c.id == outbox_lines.c.question).where(whose)
    rows = connection.execute(query.order_by(outbox_lines.c.said_at, outbox_lines.c.id).limit(limit))
    lines = [Line(row.stanza_id, row.question, row.body, row.said_at) for row in rows]
    return _dues(connection, [*lines, *answers])[:limit]


def of_librarian(connection: Connection, queue_id: int, librarian: JID, limit: int) -> list[Due]:
    """The oldest words of patrons that a librarian has not got, in questions that are or were hers."""
    # The sum keeps SQLite from going through all questions of the queue instead of hers.
    whose = and_(questions.c.queue + 0 == queue_id, questions.c.owner == librarian.text)
    return _dues(connection, _owed_messages(connection, Direction.PATRON, whose, limit))


def recipients(connection: Connection, queue_id: int) -> tuple[set[JID], set[JID]]:
    """Patrons and librarians to whom a queue owes anything, whatever their servers."""
    lines = select(questions.c.patron).join(outbox_lines, outbox_lines.c.question == questions.c.id)
    to_patrons = _joined(select(questions.c.patron), Direction.STAFF).where(questions.c.queue == queue_id)
    to_staff = _joined(select(questions.c.owner), Direction.PATRON).where(questions.c.queue == queue_id)
    patrons = _jids(connection, to_patrons) | _jids(connection, lines.where(questions.c.queue == queue_id))
    return patrons, _jids(connection, to_staff)


def left_in_queues(connection: Connection) -> set[int]:
    """The queues (their ids) of which anything is owed."""
    said = select(questions.c.queue).join(question_messages, _columns.question == questions.c.id)
    lines = select(questions.c.queue).join(outbox_lines, outbox_lines.c.question == questions.c.id)
    found: set[int] = set()
    for query in (said.where(_TO_DO), lines):
        found.update(connection.execute(query.distinct()).scalars())
    return found


def find(connection: Connection, keys: Collection[Key]) -> list[Due]:
    """Return what has these keys and is still there, in order."""
    found: list[Message | Line] = []
    lines = select(outbox_lines).where(
        outbox_lines.c.stanza_id.in_([key for key in keys if isinstance(key, str)])
    )
    for row in connection.execute(lines.order_by(outbox_lines.c.id)):
        found.append(Line(row.stanza_id, row.question, row.body, row.said_at))
    return _dues(connection, [*found, *conversations.by_id(connection, _messages(keys))])


def sent(
    connection: Connection, queue_id: int, recipient: JID, stanza_id: str, number: int, sequence: int
) -> Due | None:
    """Return what was sent to a patron or librarian (bare JID) with this id, delivered or not.

    A message whose sender gave it no id is known by its question's `number` and its `sequence`.
    """
    same = or_(
        _columns.origin_id == stanza_id,
        and_(_columns.origin_id.is_(None), _columns.sequence == sequence, questions.c.number == number),
    )
    answer = and_(_columns.direction == Direction.STAFF, questions.c.patron == recipient.text)
    words = and_(_columns.direction == Direction.PATRON, questions.c.owner == recipient.text)
    query = select(_columns.id).join(questions, questions.c.id == _columns.question)
    query = query.where(questions.c.queue == queue_id, same, or_(answer, words)).order_by(_columns.id.desc())
    key: Key | None = connection.execute(query.limit(1)).scalar()
    if key is None:
        lines = select(outbox_lines.c.stanza_id).join(questions, questions.c.id == outbox_lines.c.question)
        whose = and_(questions.c.queue == queue_id, questions.c.patron == recipient.text)
        key = connection.execute(lines.where(whose, outbox_lines.c.stanza_id == stanza_id)).scalar()
    return None if key is None else next(iter(find(connection, [key])), None)


def unsettled(connection: Connection, question_ids: Collection[int], after: float) -> set[int]:
    """Return those of some questions whose patrons are known and owed what was said after `after`."""
    if not question_ids:
        return set()
    these = and_(questions.c.id.in_(question_ids), questions.c.patron.is_not(None))
    said = _columns.sent_at > after
    answers = _joined(select(questions.c.id), Direction.STAFF).where(these, said)
    lines = select(questions.c.id).join(outbox_lines, outbox_lines.c.question == questions.c.id)
    found = set(connection.execute(answers).scalars())
    return found | set(connection.execute(lines.where(these, outbox_lines.c.said_at > after)).scalars())


def count(connection: Connection) -> int:
    """Return the number of answers and lines owed to patrons, in all queues."""
    answers = _joined(select(func.count()), Direction.STAFF).where(questions.c.patron.is_not(None))
    lines = select(func.count()).join_from(outbox_lines, questions, questions.c.id == outbox_lines.c.question)
    lines = lines.where(questions.c.patron.is_not(None))
    return sum(connection.execute(query).scalar_one() for query in (answers, lines))


def _joined(query: Select[Any], direction: Direction) -> Select[Any]:
    """Of questions with messages of that direction that are to be handed over."""
    joined = query.select_from(questions).join(question_messages, _columns.question == questions.c.id)
    return joined.where(_TO_DO, _columns.direction == direction)


def _owed_messages(
    connection: Connection, direction: Direction, whose: ColumnElement[bool], limit: int
) -> list[Message]:
    query = _joined(select(_columns.id), direction).where(whose).order_by(_columns.sent_at, _columns.id)
    return conversations.by_id(connection, list(connection.execute(query.limit(limit)).scalars()))


def _dues(connection: Connection, said: Iterable[Message | Line]) -> list[Due]:
    """In order of time; a line that is as old as an answer has announced it."""
    known: dict[int, Question] = {}
    found = []
    for each in said:
        if each.question_id not in known:
            known[each.question_id] = get(connection, each.question_id)
        found.append(Due(known[each.question_id], each))
    return sorted(found, key=lambda due: (due.said_at, isinstance(due.said, Message)))


def _jids(connection: Connection, query: Select[Any]) -> set[JID]:
    return {JID.parse(text) for text in connection.execute(query.distinct()).scalars() if text is not None}
