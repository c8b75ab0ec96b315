"""Stores questions: where each is in its life, whose it is, and who asked.

Rules about states are not here (refserver/reference/states.py): a change names the states
and the owner it expects, and `compare_and_set` makes it only if that is still so. What was
said in a question is in conversations.py, what is counted in statistics.py.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from attrs import field, frozen
from sqlalchemy import Connection, Select, bindparam, func, insert, literal_column, or_, select, update
from sqlalchemy import delete as sql_delete

from refserver.jid import JID
from refserver.storage.libraries import number as of_library
from refserver.storage.queues import NoSuchQueue
from refserver.storage.schema import libraries, questions, queues
from refserver.storage.statement import Prepared

_columns = questions.c
_any_due = Prepared(select(_columns.id).where(_columns.due <= bindparam("now")).limit(1))
_postpone = Prepared(update(questions).where(_columns.id == bindparam("of")), ["due"])


def _jid(value: JID | str | None) -> JID | None:
    return JID.parse(value) if isinstance(value, str) else value


def _words(value: tuple[str, ...] | str) -> tuple[str, ...]:
    return tuple(value.split()) if isinstance(value, str) else value


@frozen
class Question:
    """One question. JIDs are bare; times Unix seconds; `number` counts within the library.

    Once the link was deleted, `patron` is None and `pseudonym` "". While it is offered, `offered_to`
    None means everyone. `handed_to` is whom the owner wants to hand it over to. `claimed_at` is the
    newest claim. `closed_at` is set while the question is finished.
    """

    id: int
    queue_id: int
    number: int
    patron: JID | None = field(converter=_jid)
    pseudonym: str
    channel: str
    language: str
    thread: str
    state: str
    place: float
    owner: JID | None = field(converter=_jid)
    offered_to: JID | None = field(converter=_jid)
    handed_to: JID | None = field(converter=_jid)
    asked_at: float
    offered_at: float | None
    claimed_at: float | None
    closed_at: float | None
    read_level: int | None
    outcome: str
    tags: tuple[str, ...] = field(converter=_words)

    @property
    def guest(self) -> str:
        """The name that staff see for the patron."""
        return f"Guest {self.pseudonym}" if self.pseudonym else "Guest"


# The columns are in the order of the fields.
_QUESTION = [column for column in _columns if column.name not in ("library", "due")]


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
        insert(questions)
        .values(
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
        .returning(*_QUESTION)
    )
    return Question(*added.one())


def get(connection: Connection, question_id: int) -> Question:
    """The question of that id, which must exist."""
    return Question(*connection.execute(select(*_QUESTION).where(_columns.id == question_id)).one())


def with_ids(connection: Connection, question_ids: Collection[int]) -> list[Question]:
    """The questions of these ids, as far as they exist, in order."""
    query = select(*_QUESTION).where(_columns.id.in_(question_ids)).order_by(_columns.id)
    return _questions(connection, query)


def find(connection: Connection, library: str, number: int) -> Question | None:
    """Return the question of that number in a library, given by its domain."""
    query = select(*_QUESTION).where(_columns.library == of_library(library), _columns.number == number)
    found = connection.execute(query).first()
    return None if found is None else Question(*found)


def of_patron(connection: Connection, queue_id: int, patron: JID, states: Collection[str]) -> Question | None:
    """The patron's newest question in one of `states`."""
    found = connection.execute(
        select(*_QUESTION)
        .where(_columns.patron == patron.text, _columns.queue == queue_id, _columns.state.in_(states))
        .order_by(_columns.number.desc())
        .limit(1)
    ).first()
    return None if found is None else Question(*found)


def in_states(connection: Connection, states: Collection[str], queue_id: int | None = None) -> list[Question]:
    """Questions of a queue, or of all, in the order of waiting."""
    query = select(*_QUESTION).where(_columns.state.in_(states))
    if queue_id is not None:
        query = query.where(_columns.queue == queue_id)
    return _questions(connection, query.order_by(_columns.place, _columns.id))


def owned_by(connection: Connection, owner: JID, states: Collection[str]) -> list[Question]:
    """A librarian's questions in `states`, in all queues."""
    query = select(*_QUESTION).where(_columns.owner == owner.text, _columns.state.in_(states))
    return _questions(connection, query.order_by(_columns.id))


def asked_since(connection: Connection, queue_id: int, patron: JID, since: float) -> int:
    """Return the number of questions a patron has asked at a queue since a time."""
    query = select(func.count()).where(
        _columns.patron == patron.text, _columns.queue == queue_id, _columns.asked_at > since
    )
    return connection.execute(query).scalar_one()


def position(connection: Connection, question: Question, states: Collection[str]) -> int:
    """The place of a question among those of its queue in `states`, from 1."""
    before = or_(
        _columns.place < question.place,
        (_columns.place == question.place) & (_columns.number < question.number),
    )
    query = select(func.count()).where(
        _columns.queue == question.queue_id, _columns.state.in_(states), before
    )
    return connection.execute(query).scalar_one() + 1


def compare_and_set(
    connection: Connection, question_id: int, states: Collection[str], owner: JID | None, /, **values: Any
) -> Question | None:
    """Change a question if it is in one of `states` and owned by `owner` (None: by nobody).

    One UPDATE decides: of two who try at once exactly one gets the changed question, the
    other None.
    """
    if "closed_at" in values:
        values["due"] = values["closed_at"]
    changed = connection.execute(
        update(questions)
        .where(
            _columns.id == question_id,
            _columns.state.in_(states),
            _columns.owner.is_(None) if owner is None else _columns.owner == owner.text,
        )
        .values({name: _stored(value) for name, value in values.items()})
    )
    return get(connection, question_id) if changed.rowcount else None


def pass_over(connection: Connection, queue_id: int, librarian: JID) -> None:
    """Offer to everyone what is offered to a librarian of a queue, and take back what is handed to her."""
    at_queue = update(questions).where(_columns.queue == queue_id)
    for column in (_columns.offered_to, _columns.handed_to):
        connection.execute(at_queue.where(column == librarian.text).values({column: None}))


# -- forgetting ----------------------------------------------------------------


def is_named(connection: Connection, library: str, pseudonym: str, other_than: JID) -> bool:
    """Return True if the library still knows another patron by that pseudonym."""
    query = select(_columns.id).where(
        _columns.library == of_library(library), _columns.pseudonym == pseudonym
    )
    query = query.where(_columns.pseudonym != literal_column("''"), _columns.patron != other_than.text)
    return connection.execute(query.limit(1)).first() is not None


def all_of_patron(connection: Connection, patron: JID) -> list[Question]:
    """Return the questions that are still linked to a patron, at all queues."""
    query = select(*_QUESTION).where(_columns.patron == patron.text).order_by(_columns.id)
    return _questions(connection, query)


def is_due(connection: Connection, now: float) -> bool:
    """Return True if there is a question of which something may have to be forgotten."""
    return _any_due.row(connection, now=now) is not None


def due(connection: Connection, now: float, limit: int) -> list[Question]:
    """Return the questions of which something may have to be forgotten, the oldest first."""
    query = select(*_QUESTION).where(_columns.due <= now).order_by(_columns.due).limit(limit)
    return _questions(connection, query)


def postpone(connection: Connection, later: Mapping[int, float]) -> None:
    """Set when to look again at each question."""
    for question_id, moment in later.items():
        _postpone.run(connection, of=question_id, due=moment)


def unlink(connection: Connection, question_ids: Collection[int], *, tags: bool = False) -> None:
    """Delete who asked: address, thread and pseudonym; with `tags` also what librarians tagged."""
    nobody = {"patron": None, "thread": "", "pseudonym": "", **({"tags": ""} if tags else {})}
    connection.execute(update(questions).where(_columns.id.in_(question_ids)).values(nobody))


def delete(connection: Connection, question_ids: Collection[int]) -> None:
    """Delete questions with all that was said in them."""
    connection.execute(sql_delete(questions).where(_columns.id.in_(question_ids)))


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


def _questions(connection: Connection, query: Select[Any]) -> list[Question]:
    return [Question(*row) for row in connection.execute(query)]
