"""Persistent rooms (XEP-0045): configuration, affiliations, subject, and some history.

What an affiliation or a configuration means is the room's business; here they are rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen
from sqlalchemy import BindParameter, Connection, bindparam, delete, select, update

from refserver.jid import JID
from refserver.storage.errors import NoSuchRoom
from refserver.storage.schema import rooms as tables
from refserver.storage.statement import Prepared, insert_new, upsert

__all__ = [
    "Affiliation",
    "StoredRoom",
    "Subject",
    "append_history",
    "delete_room",
    "delete_service",
    "history",
    "load_rooms",
    "save_room",
    "set_affiliation",
    "set_subject",
    "trim",
]

_rooms, _affiliations, _history = tables.rooms, tables.room_affiliations, tables.room_history
_BY_JID = _rooms.c.jid == bindparam("by_jid")
_BY_SERVICE = _rooms.c.service == bindparam("by_service")
_ROOM: BindParameter[int] = bindparam("room")

_id = Prepared(select(_rooms.c.id).where(_BY_JID))
_insert = Prepared(insert_new(_rooms, "jid"), ["service", "jid", "config"])
_configure = Prepared(update(_rooms).where(_BY_JID), ["config"])
_subject = Prepared(update(_rooms).where(_BY_JID), ["subject", "subject_nick", "subject_at"])
_select = Prepared(
    select(
        _rooms.c.id,
        _rooms.c.jid,
        _rooms.c.config,
        _rooms.c.subject,
        _rooms.c.subject_nick,
        _rooms.c.subject_at,
    )
    .where(_BY_SERVICE)
    .order_by(_rooms.c.jid)
)
_select_affiliations = Prepared(
    select(
        _affiliations.c.room,
        _affiliations.c.jid,
        _affiliations.c.affiliation,
        _affiliations.c.nick,
        _affiliations.c.reason,
    )
    .join_from(_rooms, _affiliations)
    .where(_BY_SERVICE)
)
_upsert_affiliation = upsert(_affiliations)
_delete_affiliation = Prepared(
    delete(_affiliations).where(_affiliations.c.room == _ROOM, _affiliations.c.jid == bindparam("by_jid"))
)
_delete = Prepared(delete(_rooms).where(_BY_JID))
_delete_service = Prepared(delete(_rooms).where(_BY_SERVICE))
_append = Prepared(_history.insert(), ["room", "sent_at", "stanza"])
_newest = Prepared(
    select(_history.c.sent_at, _history.c.stanza)
    .join_from(_rooms, _history)
    .where(_BY_JID)
    .order_by(_history.c.id.desc())
    .limit(bindparam("newest"))
)
_trim = Prepared(
    delete(_history).where(
        _history.c.room == _ROOM,
        _history.c.id
        <= select(_history.c.id)
        .where(_history.c.room == _ROOM)
        .order_by(_history.c.id.desc())
        .limit(1)
        .offset(bindparam("kept"))
        .scalar_subquery(),
    )
)


@frozen
class Affiliation:
    """An address' affiliation ("owner", "admin", "member", "outcast"), reserved nickname, reason."""

    affiliation: str
    nick: str = ""
    reason: str = ""


@frozen
class Subject:
    """A room's subject, who set it, and when (Unix seconds)."""

    text: str
    nick: str
    at: float


@frozen
class StoredRoom:
    """A room as it was left; `affiliations` by bare JID or domain."""

    jid: JID
    config: Mapping[str, Any]
    subject: Subject | None
    affiliations: Mapping[JID, Affiliation]


def save_room(connection: Connection, room: JID, config: Mapping[str, Any]) -> None:
    """Keep `room` from now on, or change its configuration (anything that is JSON)."""
    written = json.dumps(config, ensure_ascii=False, sort_keys=True)
    if not _configure.run(connection, by_jid=room.text, config=written):
        _insert.run(connection, service=room.domainpart, jid=room.text, config=written)


def load_rooms(connection: Connection, service: str) -> Sequence[StoredRoom]:
    """Every room of the service, by address, without history."""
    affiliations: dict[int, dict[JID, Affiliation]] = {}
    for room, jid, *rest in _select_affiliations.rows(connection, by_service=service):
        affiliations.setdefault(room, {})[JID.parse(jid)] = Affiliation(*rest)
    return [
        StoredRoom(
            jid=JID.parse(jid),
            config=json.loads(config),
            subject=None if text is None else Subject(text, nick, at),
            affiliations=affiliations.get(number, {}),
        )
        for number, jid, config, text, nick, at in _select.rows(connection, by_service=service)
    ]


def delete_room(connection: Connection, room: JID) -> None:
    """Forget `room` and its history, if it is there."""
    _delete.run(connection, by_jid=room.text)


def delete_service(connection: Connection, service: str) -> None:
    """Forget every room of a service."""
    _delete_service.run(connection, by_service=service)


def set_affiliation(connection: Connection, room: JID, jid: JID, affiliation: Affiliation | None) -> None:
    """Give `jid` an affiliation in `room`, or take it away (None). Raises `NoSuchRoom`."""
    number = _id_of(connection, room)
    if affiliation is None:
        _delete_affiliation.run(connection, room=number, by_jid=jid.text)
        return
    _upsert_affiliation.run(
        connection,
        room=number,
        jid=jid.text,
        affiliation=affiliation.affiliation,
        nick=affiliation.nick,
        reason=affiliation.reason,
    )


def set_subject(connection: Connection, room: JID, subject: Subject) -> None:
    """Keep the subject of `room`. Raises `NoSuchRoom`."""
    if not _subject.run(
        connection, by_jid=room.text, subject=subject.text, subject_nick=subject.nick, subject_at=subject.at
    ):
        raise NoSuchRoom("there is no such room")


def append_history(connection: Connection, room: JID, sent_at: float, stanza: bytes) -> None:
    """Add a message to the history of `room`. Raises `NoSuchRoom`."""
    _append.run(connection, room=_id_of(connection, room), sent_at=sent_at, stanza=stanza)


def history(connection: Connection, room: JID, limit: int) -> Sequence[tuple[float, bytes]]:
    """The newest `limit` messages, oldest first: (sent at, stanza)."""
    rows = _newest.rows(connection, by_jid=room.text, newest=limit)
    return [(sent_at, stanza) for sent_at, stanza in reversed(rows)]


def trim(connection: Connection, room: JID, kept: int) -> None:
    """Forget all but the newest `kept` messages of `room`. Raises `NoSuchRoom`."""
    _trim.run(connection, room=_id_of(connection, room), kept=kept)


def _id_of(connection: Connection, room: JID) -> int:
    found: int | None = _id.value(connection, by_jid=room.text)
    if found is None:
        raise NoSuchRoom("there is no such room")
    return found
