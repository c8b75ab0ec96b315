"""Persistent rooms (XEP-0045): configuration, affiliations, subject, and the discussion history.

What a configuration means is decided in refserver/muc; here it is JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any, Final

from attrs import frozen
from sqlalchemy import BindParameter, Connection, bindparam, delete, exists, insert, select, update

from refserver.jid import JID
from refserver.storage import schema as tables
from refserver.storage.errors import NoSuchRoom
from refserver.storage.statement import Prepared, upsert

TRIMMED_AT_ONCE: Final = 1000

_rooms, _affiliations, _history = tables.rooms, tables.room_affiliations, tables.room_history
_BY_JID = _rooms.c.jid == bindparam("by_jid")
_ROOM: BindParameter[int] = bindparam("room")

_id = Prepared(select(_rooms.c.id).where(_BY_JID))
_upsert_affiliation = upsert(_affiliations)
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
        _history.c.id.in_(
            select(_history.c.id)
            .where(_history.c.room == _ROOM)
            .order_by(_history.c.id.desc())
            .limit(TRIMMED_AT_ONCE)
            .offset(bindparam("kept"))
        )
    )
)


class Affiliation(IntEnum):
    """A long-lived association of an address with a room (XEP-0045 5.2), lowest first."""

    OUTCAST = 0
    NONE = 1
    MEMBER = 2
    ADMIN = 3
    OWNER = 4

    @property
    def word(self) -> str:
        """The name on the wire and in the database."""
        return self.name.lower()


@frozen
class Affiliate:
    """An address' affiliation, the nickname reserved for it ("": none), and the reason given."""

    affiliation: Affiliation
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
    """A room as stored; `affiliates` by bare JID or domain; `creator` is None once that account has ended."""

    jid: JID
    config: Mapping[str, Any]
    subject: Subject | None
    affiliates: Mapping[JID, Affiliate]
    creator: JID | None = None


def save_room(
    connection: Connection, room: JID, config: Mapping[str, Any], creator: JID | None = None
) -> None:
    """Insert `room`, or change its configuration (anything that is JSON) if it is there."""
    written = json.dumps(config, ensure_ascii=False, sort_keys=True)
    this = update(_rooms).where(_rooms.c.jid == room.text)
    if not connection.execute(this.values(config=written)).rowcount:
        made_by = "" if creator is None else creator.text
        values = {"service": room.domainpart, "jid": room.text, "creator": made_by, "config": written}
        connection.execute(insert(_rooms).values(values))


def load_rooms(connection: Connection, service: str) -> Sequence[StoredRoom]:
    """Return every room of the service, by address, without history."""
    affiliates: dict[int, dict[JID, Affiliate]] = {}
    at_service = _rooms.c.service == service
    found = connection.execute(select(_affiliations).join_from(_rooms, _affiliations).where(at_service))
    for room, jid, word, nick, reason in found:
        affiliates.setdefault(room, {})[JID.parse(jid)] = Affiliate(Affiliation[word.upper()], nick, reason)
    return [
        StoredRoom(
            jid=JID.parse(jid),
            creator=JID.parse(creator) if creator else None,
            config=json.loads(config),
            subject=None if text is None else Subject(text, nick, at),
            affiliates=affiliates.get(number, {}),
        )
        for number, _, jid, creator, config, text, nick, at in connection.execute(
            select(_rooms).where(at_service).order_by(_rooms.c.jid)
        )
    ]


def delete_room(connection: Connection, room: JID) -> None:
    """Delete `room` and its history, if it is there."""
    connection.execute(delete(_rooms).where(_rooms.c.jid == room.text))


def delete_service(connection: Connection, service: str) -> None:
    """Delete every room of a service."""
    connection.execute(delete(_rooms).where(_rooms.c.service == service))


def remove_account(connection: Connection, account: JID) -> None:
    """Remove what a removed account had in rooms: affiliations, and rooms without another owner.

    Bans stay: registering the name again does not lift them.
    """
    theirs = _affiliations.c.jid == account.text
    owned = select(_affiliations.c.room).where(theirs, _affiliations.c.affiliation == "owner")
    other = _affiliations.alias()
    is_owner = (other.c.affiliation == "owner") & (other.c.jid != account.text)
    owned_by_another = exists().where(other.c.room == _rooms.c.id, is_owner)
    connection.execute(delete(_rooms).where(_rooms.c.id.in_(owned), ~owned_by_another))
    connection.execute(delete(_affiliations).where(theirs, _affiliations.c.affiliation != "outcast"))
    connection.execute(update(_rooms).where(_rooms.c.creator == account.text).values(creator=""))


def set_affiliation(connection: Connection, room: JID, jid: JID, affiliate: Affiliate) -> None:
    """Set the affiliation of `jid` in `room`; `Affiliation.NONE` removes it. Raises `NoSuchRoom`."""
    number = _id_of(connection, room)
    if affiliate.affiliation is Affiliation.NONE:
        this = (_affiliations.c.room == number) & (_affiliations.c.jid == jid.text)
        connection.execute(delete(_affiliations).where(this))
        return
    _upsert_affiliation.run(
        connection,
        room=number,
        jid=jid.text,
        affiliation=affiliate.affiliation.word,
        nick=affiliate.nick,
        reason=affiliate.reason,
    )


def set_subject(connection: Connection, room: JID, subject: Subject) -> None:
    """Set the subject of `room`. Raises `NoSuchRoom`."""
    values = {"subject": subject.text, "subject_nick": subject.nick, "subject_at": subject.at}
    this = update(_rooms).where(_rooms.c.jid == room.text)
    if not connection.execute(this.values(values)).rowcount:
        raise NoSuchRoom("there is no such room")


def append_history(connection: Connection, room: JID, sent_at: float, stanza: bytes, kept: int) -> None:
    """Append a message to the history of `room`, then trim it to `kept` messages. Raises `NoSuchRoom`."""
    number = _id_of(connection, room)
    _append.run(connection, room=number, sent_at=sent_at, stanza=stanza)
    _trim.run(connection, room=number, kept=kept)


def history(connection: Connection, room: JID, limit: int) -> Sequence[tuple[float, bytes]]:
    """Return the newest `limit` messages, oldest first: (sent at, stanza)."""
    rows = _newest.rows(connection, by_jid=room.text, newest=limit)
    return [(sent_at, stanza) for sent_at, stanza in reversed(rows)]


def trim_history(connection: Connection, room: JID, kept: int) -> None:
    """Delete all but the newest `kept` messages of `room`. Raises `NoSuchRoom`."""
    _trim.run(connection, room=_id_of(connection, room), kept=kept)


def _id_of(connection: Connection, room: JID) -> int:
    found: int | None = _id.value(connection, by_jid=room.text)
    if found is None:
        raise NoSuchRoom("there is no such room")
    return found
