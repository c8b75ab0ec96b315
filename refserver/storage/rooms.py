"""Persistent rooms (XEP-0045): configuration, affiliations, subject, and the discussion history.

What a configuration means is decided in refserver/muc; here it is JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any, Final

from attrs import frozen
from sqlalchemy import BindParameter, Connection, bindparam, delete, exists, select, update

from refserver.jid import JID
from refserver.storage import schema as tables
from refserver.storage.errors import NoSuchRoom
from refserver.storage.statement import Prepared, insert_new, upsert

TRIMMED_AT_ONCE: Final = 1000

_rooms, _affiliations, _history = tables.rooms, tables.room_affiliations, tables.room_history
_BY_JID = _rooms.c.jid == bindparam("by_jid")
_BY_SERVICE = _rooms.c.service == bindparam("by_service")
_ROOM: BindParameter[int] = bindparam("room")
_ACCOUNT: BindParameter[str] = bindparam("account")

_id = Prepared(select(_rooms.c.id).where(_BY_JID))
_insert = Prepared(insert_new(_rooms, "jid"), ["service", "jid", "creator", "config"])
_configure = Prepared(update(_rooms).where(_BY_JID), ["config"])
_subject = Prepared(update(_rooms).where(_BY_JID), ["subject", "subject_nick", "subject_at"])
_select = Prepared(
    select(*(column for column in _rooms.c if column.name != "service"))
    .where(_BY_SERVICE)
    .order_by(_rooms.c.jid)
)
_select_affiliations = Prepared(select(_affiliations).join_from(_rooms, _affiliations).where(_BY_SERVICE))
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
        _history.c.id.in_(
            select(_history.c.id)
            .where(_history.c.room == _ROOM)
            .order_by(_history.c.id.desc())
            .limit(TRIMMED_AT_ONCE)
            .offset(bindparam("kept"))
        )
    )
)
_other = _affiliations.alias()
_owned = select(_affiliations.c.room).where(
    _affiliations.c.jid == _ACCOUNT, _affiliations.c.affiliation == "owner"
)
_owned_by_another = exists().where(
    _other.c.room == _rooms.c.id, _other.c.affiliation == "owner", _other.c.jid != _ACCOUNT
)
_delete_owned = Prepared(delete(_rooms).where(_rooms.c.id.in_(_owned), ~_owned_by_another))
_delete_account = Prepared(
    delete(_affiliations).where(_affiliations.c.jid == _ACCOUNT, _affiliations.c.affiliation != "outcast")
)
_forget_creator = Prepared(update(_rooms).where(_rooms.c.creator == _ACCOUNT).values(creator=""))


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
    if not _configure.run(connection, by_jid=room.text, config=written):
        made_by = "" if creator is None else creator.text
        _insert.run(connection, service=room.domainpart, jid=room.text, creator=made_by, config=written)


def load_rooms(connection: Connection, service: str) -> Sequence[StoredRoom]:
    """Return every room of the service, by address, without history."""
    affiliates: dict[int, dict[JID, Affiliate]] = {}
    for room, jid, word, nick, reason in _select_affiliations.rows(connection, by_service=service):
        affiliates.setdefault(room, {})[JID.parse(jid)] = Affiliate(Affiliation[word.upper()], nick, reason)
    return [
        StoredRoom(
            jid=JID.parse(jid),
            creator=JID.parse(creator) if creator else None,
            config=json.loads(config),
            subject=None if text is None else Subject(text, nick, at),
            affiliates=affiliates.get(number, {}),
        )
        for number, jid, creator, config, text, nick, at in _select.rows(connection, by_service=service)
    ]


def delete_room(connection: Connection, room: JID) -> None:
    """Delete `room` and its history, if it is there."""
    _delete.run(connection, by_jid=room.text)


def delete_service(connection: Connection, service: str) -> None:
    """Delete every room of a service."""
    _delete_service.run(connection, by_service=service)


def remove_account(connection: Connection, account: JID) -> None:
    """Remove what a removed account had in rooms: affiliations, and rooms without another owner.

    Bans stay: registering the name again does not lift them.
    """
    _delete_owned.run(connection, account=account.text)
    _delete_account.run(connection, account=account.text)
    _forget_creator.run(connection, account=account.text)


def set_affiliation(connection: Connection, room: JID, jid: JID, affiliate: Affiliate) -> None:
    """Set the affiliation of `jid` in `room`; `Affiliation.NONE` removes it. Raises `NoSuchRoom`."""
    number = _id_of(connection, room)
    if affiliate.affiliation is Affiliation.NONE:
        _delete_affiliation.run(connection, room=number, by_jid=jid.text)
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
    if not _subject.run(
        connection, by_jid=room.text, subject=subject.text, subject_nick=subject.nick, subject_at=subject.at
    ):
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
