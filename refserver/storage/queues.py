"""Stores queues, their librarians, canned replies and subscribers.

A queue belongs to a library and is known by its localpart there. What the settings mean is
the business of refserver/reference; here they are a JSON object.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from attrs import frozen
from sqlalchemy import Connection, Row, Select, delete, insert, select, update

from refserver.jid import JID
from refserver.storage.errors import NoSuchLibrary, StorageError
from refserver.storage.libraries import number as number_of
from refserver.storage.schema import (
    canned_replies,
    librarians,
    libraries,
    questions,
    queue_subscribers,
    queues,
)
from refserver.storage.statement import Prepared, insert_new, upsert

_put_librarian = upsert(librarians)
_put_canned = upsert(canned_replies)
_subscribe = Prepared(insert_new(queue_subscribers, "queue", "jid"), ["queue", "jid", "since"])


class QueueExists(StorageError):
    """The library has a queue of this localpart already."""


class NoSuchQueue(StorageError):
    """No queue has this address."""


class NickTaken(StorageError):
    """Another librarian of the queue has this nick."""


@frozen
class Queue:
    """A queue as it is set up. `jid` is its address, `settings` what the operator set."""

    id: int
    jid: JID
    title: str
    language: str
    hours: str
    settings: Mapping[str, Any]


@frozen
class Librarian:
    """A librarian of a queue: her nickname at its desk, and how many questions she takes at a time."""

    jid: JID
    nick: str
    max_chats: int


def add(
    connection: Connection,
    jid: JID,
    *,
    title: str = "",
    language: str = "en",
    hours: str = "",
    settings: Mapping[str, Any] | None = None,
) -> Queue:
    """Make the queue of that address. Raises `NoSuchLibrary` or `QueueExists`."""
    library = connection.execute(select(number_of(jid.domainpart))).scalar()
    if library is None:
        raise NoSuchLibrary(jid.domainpart)
    if find(connection, jid) is not None:
        raise QueueExists(jid.text)
    values = {
        "title": title,
        "language": language,
        "hours": hours,
        "settings": json.dumps(dict(settings or {})),
    }
    added = connection.execute(insert(queues).values(library=library, localpart=jid.localpart, **values))
    assert added.inserted_primary_key is not None
    return get(connection, added.inserted_primary_key[0])


def set_up(connection: Connection, queue: Queue) -> None:
    """Change everything of a queue but its address. Raises `NoSuchQueue`.

    Its ended questions are looked at again, since its policy on what is kept may have changed.
    """
    values = {"title": queue.title, "language": queue.language, "hours": queue.hours}
    changed = connection.execute(
        update(queues)
        .where(queues.c.id == queue.id)
        .values(settings=json.dumps(dict(queue.settings)), **values)
    )
    if not changed.rowcount:
        raise NoSuchQueue(queue.jid.text)
    ended = (questions.c.queue == queue.id) & questions.c.due.is_not(None)
    connection.execute(update(questions).where(ended).values(due=questions.c.closed_at))


def remove(connection: Connection, jid: JID) -> None:
    """Remove a queue with its librarians and questions; the statistics stay. Raises `NoSuchQueue`."""
    queue = find(connection, jid)
    if queue is None:
        raise NoSuchQueue(jid.text)
    connection.execute(delete(queues).where(queues.c.id == queue.id))


def find(connection: Connection, jid: JID) -> Queue | None:
    """The queue of that bare address."""
    found = connection.execute(
        _selected().where(libraries.c.domain == jid.domainpart, queues.c.localpart == jid.localpart)
    ).first()
    return None if found is None else _queue(found)


def get(connection: Connection, queue_id: int) -> Queue:
    """The queue of that id. Raises `NoSuchQueue`."""
    found = connection.execute(_selected().where(queues.c.id == queue_id)).first()
    if found is None:
        raise NoSuchQueue(f"id {queue_id}")
    return _queue(found)


def all_queues(connection: Connection, domain: str = "") -> list[Queue]:
    """The queues of a library, or of all, by address."""
    query = _selected().order_by(libraries.c.domain, queues.c.localpart)
    if domain:
        query = query.where(libraries.c.domain == domain)
    return [_queue(row) for row in connection.execute(query)]


def _selected() -> Select[Any]:
    return select(queues, libraries.c.domain).join(libraries, libraries.c.id == queues.c.library)


def _queue(row: Row[Any]) -> Queue:
    jid = JID.of(row.localpart, row.domain)
    return Queue(row.id, jid, row.title, row.language, row.hours, json.loads(row.settings))


# -- librarians ----------------------------------------------------------------


def put_librarian(connection: Connection, queue_id: int, librarian: Librarian) -> None:
    """Add a librarian, or change one. Raises `NickTaken`."""
    taken = connection.execute(
        select(librarians.c.jid).where(librarians.c.queue == queue_id, librarians.c.nick == librarian.nick)
    ).scalar()
    if taken is not None and taken != librarian.jid.text:
        raise NickTaken(librarian.nick)
    _put_librarian.run(
        connection, queue=queue_id, jid=librarian.jid.text, nick=librarian.nick, max_chats=librarian.max_chats
    )


def remove_librarian(connection: Connection, queue_id: int, jid: JID) -> bool:
    """Remove a librarian; False if she was none."""
    removed = connection.execute(
        delete(librarians).where(librarians.c.queue == queue_id, librarians.c.jid == jid.text)
    )
    return bool(removed.rowcount)


def librarian(connection: Connection, queue_id: int, jid: JID) -> Librarian | None:
    """The librarian of that bare JID, None if she does not work there."""
    found = connection.execute(
        select(librarians).where(librarians.c.queue == queue_id, librarians.c.jid == jid.text)
    ).first()
    return None if found is None else _librarian(found)


def librarians_of(connection: Connection, queue_id: int) -> list[Librarian]:
    """Return the librarians of a queue, by nick."""
    query = select(librarians).where(librarians.c.queue == queue_id).order_by(librarians.c.nick)
    return [_librarian(row) for row in connection.execute(query)]


def librarians_by_queue(connection: Connection) -> dict[int, list[Librarian]]:
    """Return the librarians of all queues, by the queues' ids."""
    found: dict[int, list[Librarian]] = {}
    for row in connection.execute(select(librarians).order_by(librarians.c.nick)):
        found.setdefault(row.queue, []).append(_librarian(row))
    return found


def staff_of(connection: Connection, domain: str) -> set[JID]:
    """Return the addresses of all librarians of a library."""
    query = select(librarians.c.jid).join(queues, queues.c.id == librarians.c.queue)
    query = query.join(libraries, libraries.c.id == queues.c.library).where(libraries.c.domain == domain)
    return {JID.parse(jid) for jid in connection.execute(query).scalars()}


def desks_of(connection: Connection, jid: JID) -> list[tuple[Queue, Librarian]]:
    """The queues where that bare JID works, and as whom."""
    query = _selected().add_columns(librarians).join(librarians, librarians.c.queue == queues.c.id)
    rows = connection.execute(query.where(librarians.c.jid == jid.text)).all()
    return [(_queue(row), _librarian(row)) for row in rows]


def _librarian(row: Row[Any]) -> Librarian:
    return Librarian(JID.parse(row.jid), row.nick, row.max_chats)


# -- canned replies ------------------------------------------------------------


def put_canned(connection: Connection, queue_id: int, name: str, text: str) -> None:
    """Add a canned reply, or change it."""
    _put_canned.run(connection, queue=queue_id, name=name, text=text)


def remove_canned(connection: Connection, queue_id: int, name: str) -> bool:
    """Remove a canned reply; False if there was none."""
    removed = connection.execute(
        delete(canned_replies).where(canned_replies.c.queue == queue_id, canned_replies.c.name == name)
    )
    return bool(removed.rowcount)


def canned(connection: Connection, queue_id: int) -> dict[str, str]:
    """The texts of a queue's canned replies by name, in the names' order."""
    query = select(canned_replies).where(canned_replies.c.queue == queue_id).order_by(canned_replies.c.name)
    return {row.name: row.text for row in connection.execute(query)}


# -- subscribers ---------------------------------------------------------------


def subscribe(connection: Connection, queue_id: int, jid: JID, now: float) -> None:
    """Remember that `jid` (bare) gets the queue's presence."""
    _subscribe.run(connection, queue=queue_id, jid=jid.text, since=now)


def unsubscribe(connection: Connection, queue_id: int, jid: JID) -> bool:
    """Forget a subscriber; False if it was none."""
    removed = connection.execute(
        delete(queue_subscribers).where(
            queue_subscribers.c.queue == queue_id, queue_subscribers.c.jid == jid.text
        )
    )
    return bool(removed.rowcount)


def subscribers(connection: Connection, queue_id: int) -> set[JID]:
    """Return the subscribers to the queue's presence."""
    query = select(queue_subscribers.c.jid).where(queue_subscribers.c.queue == queue_id)
    return {JID.parse(jid) for jid in connection.execute(query).scalars()}


def subscribers_by_queue(connection: Connection) -> dict[int, set[JID]]:
    """Return the subscribers to all queues, by the queues' ids."""
    found: dict[int, set[JID]] = {}
    for queue_id, jid in connection.execute(select(queue_subscribers.c.queue, queue_subscribers.c.jid)):
        found.setdefault(queue_id, set()).add(JID.parse(jid))
    return found
