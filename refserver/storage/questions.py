"""Stores questions: where each is in its life, whose it is, and who asked.

Rules about states are not here (refserver/reference/states.py): a change names the states
and the owner it expects, and `compare_and_set` makes it only if that is still so. What was
said in a question is in conversations.py, what is counted in statistics.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from attrs import frozen
from sqlalchemy import Connection, Row, func, insert, or_, select, update

from refserver.jid import JID
from refserver.storage.queues import NoSuchQueue
from refserver.storage.schema.accounts import libraries
from refserver.storage.schema.questions import questions
from refserver.storage.schema.queues import queues

__all__ = [
    "Question",
    "add",
    "asked_since",
    "compare_and_set",
    "find",
    "get",
    "in_states",
    "of_patron",
    "owned_by",
    "position",
    "unlink_patrons",
]


@frozen
class Question:
    """One question. JIDs are bare; times Unix seconds; `number` counts within the library.

    `patron` is None once the link was deleted. While it is offered, `offered_to` None means
    everyone. `handed_to` is whom the owner wants to hand it over to. `claimed_at` is the
    newest claim. `closed_at` is set while the question is finished.
    """

    id: int
    queue_id: int
    number: int
    patron: JID | None
    pseudonym: str
    channel: str
    language: str
    thread: str
    state: str
    place: float
    owner: JID | None
    offered_to: JID | None
    handed_to: JID | None
    asked_at: float
    offered_at: float | None
    claimed_at: float | None
    closed_at: float | None
    read_level: int | None
    outcome: str
    tags: tuple[str, ...]


def add(
    connection: Connection,
    queue_id: int,
    *,
    patron: JID,
    pseudonym: str,
    channel: str,
    language: str,
    thread: str,
    state: str,
    now: float,
) -> Question:
    """Add a question with the library's next number. Raises `NoSuchQueue`."""
    library, number = _next_number(connection, queue_id)
    added = connection.execute(
        insert(questions).values(
            library=library,
            queue=queue_id,
            number=number,
            patron=patron.text,
            pseudonym=pseudonym,
            channel=channel,
            language=language,
            thread=thread,
            state=state,
            place=now,
            asked_at=now,
            outcome="",
            tags="",
        )
    )
    assert added.inserted_primary_key is not None
    return get(connection, added.inserted_primary_key[0])


def get(connection: Connection, question_id: int) -> Question:
    """The question of that id, which must exist."""
    return _question(connection.execute(select(questions).where(questions.c.id == question_id)).one())


def find(connection: Connection, library: str, number: int) -> Question | None:
    """Return the question of that number in a library, given by its domain."""
    of_library = select(libraries.c.id).where(libraries.c.domain == library).scalar_subquery()
    query = select(questions).where(questions.c.library == of_library, questions.c.number == number)
    found = connection.execute(query).first()
    return None if found is None else _question(found)


def of_patron(connection: Connection, queue_id: int, patron: JID, states: Collection[str]) -> Question | None:
    """The patron's newest question in one of `states`."""
    found = connection.execute(
        select(questions)
        .where(
            questions.c.patron == patron.text, questions.c.queue == queue_id, questions.c.state.in_(states)
        )
        .order_by(questions.c.number.desc())
        .limit(1)
    ).first()
    return None if found is None else _question(found)


def in_states(connection: Connection, states: Collection[str], queue_id: int | None = None) -> list[Question]:
    """Questions of a queue, or of all, in the order of waiting."""
    query = select(questions).where(questions.c.state.in_(states))
    if queue_id is not None:
        query = query.where(questions.c.queue == queue_id)
    return _questions(connection.execute(query.order_by(questions.c.place, questions.c.id)))


def owned_by(connection: Connection, owner: JID, states: Collection[str]) -> list[Question]:
    """A librarian's questions in `states`, in all queues."""
    query = select(questions).where(questions.c.owner == owner.text, questions.c.state.in_(states))
    return _questions(connection.execute(query.order_by(questions.c.id)))


def asked_since(connection: Connection, queue_id: int, patron: JID, since: float) -> int:
    """How many questions a patron has asked at a queue since a time."""
    query = select(func.count()).where(
        questions.c.patron == patron.text, questions.c.queue == queue_id, questions.c.asked_at > since
    )
    return connection.execute(query).scalar_one()


def position(connection: Connection, question: Question, states: Collection[str]) -> int:
    """The place of a question among those of its queue in `states`, from 1."""
    columns = questions.c
    before = or_(
        columns.place < question.place, (columns.place == question.place) & (columns.number < question.number)
    )
    query = select(func.count()).where(columns.queue == question.queue_id, columns.state.in_(states), before)
    return connection.execute(query).scalar_one() + 1


def compare_and_set(
    connection: Connection, question_id: int, states: Collection[str], owner: JID | None, /, **values: Any
) -> Question | None:
    """Change a question if it is in one of `states` and owned by `owner` (None: by nobody).

    One UPDATE decides: of two who try at once exactly one gets the changed question, the
    other None.
    """
    changed = connection.execute(
        update(questions)
        .where(
            questions.c.id == question_id,
            questions.c.state.in_(states),
            questions.c.owner.is_(None) if owner is None else questions.c.owner == owner.text,
        )
        .values({name: _stored(value) for name, value in values.items()})
    )
    return get(connection, question_id) if changed.rowcount else None


def unlink_patrons(connection: Connection, queue_id: int, time: float, keep: Collection[int] = ()) -> int:
    """Delete who asked (JID, thread) from what was finished at `time` or before; how many there were.

    Questions in `keep` (their ids) are left as they are.
    """
    unlinked = connection.execute(
        update(questions)
        .where(questions.c.queue == queue_id, questions.c.closed_at <= time, questions.c.patron.is_not(None))
        .where(questions.c.id.not_in(keep))
        .values(patron=None, thread="")
    )
    return unlinked.rowcount


def _next_number(connection: Connection, queue_id: int) -> tuple[int, int]:
    """Count one question more in a queue's library; its id and the number, without holes."""
    of_queue = select(queues.c.library).where(queues.c.id == queue_id).scalar_subquery()
    counted = update(libraries).where(libraries.c.id == of_queue)
    counted = counted.values(last_number=libraries.c.last_number + 1)
    found = connection.execute(counted.returning(libraries.c.id, libraries.c.last_number)).first()
    if found is None:
        raise NoSuchQueue(f"id {queue_id}")
    return found[0], found[1]


def _stored(value: Any) -> Any:
    if isinstance(value, JID):
        return value.text
    return " ".join(value) if isinstance(value, tuple) else value


def _questions(rows: Iterable[Row[Any]]) -> list[Question]:
    return [_question(row) for row in rows]


def _question(row: Row[Any]) -> Question:
    return Question(
        id=row.id,
        queue_id=row.queue,
        number=row.number,
        patron=_jid(row.patron),
        pseudonym=row.pseudonym,
        channel=row.channel,
        language=row.language,
        thread=row.thread,
        state=row.state,
        place=row.place,
        owner=_jid(row.owner),
        offered_to=_jid(row.offered_to),
        handed_to=_jid(row.handed_to),
        asked_at=row.asked_at,
        offered_at=row.offered_at,
        claimed_at=row.claimed_at,
        closed_at=row.closed_at,
        read_level=row.read_level,
        outcome=row.outcome,
        tags=tuple(row.tags.split()),
    )


def _jid(text: str | None) -> JID | None:
    return None if text is None else JID.parse(text)
