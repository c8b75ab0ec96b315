"""Owners configure a room and destroy it (XEP-0045 10.1, 10.2, 10.9; muc#owner)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final

from attrs import evolve
from sqlalchemy import Connection
from twisted.internet.defer import Deferred, succeed

from refserver import ns
from refserver.errors import Condition, StanzaError
from refserver.jid import JID, InvalidJID
from refserver.muc.presence import MEMBERS_ONLY_NOW, Departure, dismiss, expel
from refserver.muc.room import MOST_REASON, Change, Room, RoomConfig
from refserver.payloads.forms import Field, FormError, boolean, form, submitted
from refserver.stanza import Stanza
from refserver.storage import rooms
from refserver.storage.rooms import Affiliation
from refserver.xml.element import Element, child, child_text, element

MOST_HISTORY: Final = 100
LONGEST_TEXT: Final = 1000

_PROTECTED: Final = "muc#roomconfig_passwordprotectedroom"
_SECRET: Final = "muc#roomconfig_roomsecret"
_LABELS: Final[Mapping[str, tuple[str, str]]] = {
    "name": ("muc#roomconfig_roomname", "Name"),
    "description": ("muc#roomconfig_roomdesc", "Description"),
    "persistent": ("muc#roomconfig_persistentroom", "Keep the room when everyone has left"),
    "public": ("muc#roomconfig_publicroom", "List the room"),
    "members_only": ("muc#roomconfig_membersonly", "Only members may enter"),
    "moderated": ("muc#roomconfig_moderatedroom", "Only those with voice may write"),
    "non_anonymous": ("muc#roomconfig_whois", "Who sees real addresses"),
    "change_subject": ("muc#roomconfig_changesubject", "Participants may change the subject"),
    "password": (_SECRET, "Password"),
    "history": ("muc#maxhistoryfetch", "Messages of history"),
}


def configuration(room: Room, sender: JID) -> Element:
    """Return the configuration form for an owner. Raises `StanzaError`."""
    _check_owner(room, sender)
    return element(ns.MUC_OWNER, "query", None, config_form(room.config))


def configure(room: Room, sender: JID, query: Element) -> Deferred[None]:
    """Take an owner's form, submitted or cancelled, or the order to destroy the room. Raises `StanzaError`.

    The Deferred fires when the change is durable and the occupants are told.
    """
    _check_owner(room, sender)
    order = child(query, ns.MUC_OWNER, "destroy")
    if order is not None:
        return _destroy(room, _destroyed(order))
    try:
        values = submitted(query, ns.MUC_ROOMCONFIG)
        if values is None:  # 10.1.3: cancelling the first configuration destroys the room
            return _destroy(room, element(ns.MUC_USER, "destroy")) if room.locked else succeed(None)
        config = changed(room.config, values)
    except FormError as error:
        raise StanzaError(Condition.NOT_ACCEPTABLE, str(error)) from error
    if config.persistent and not room.is_stored and not room.directory.may_persist(room):
        raise StanzaError(Condition.RESOURCE_CONSTRAINT, "you have as many persistent rooms as you may")
    affiliates = () if room.is_stored else tuple(room.affiliates.items())
    change = Change(partial(_store, room, config, affiliates), partial(_apply, room, config))
    room.becomes_persistent = config.persistent and not room.is_stored
    return room.perform(change, stored=config.persistent or room.is_stored).addBoth(room.configured)


def _check_owner(room: Room, sender: JID) -> None:
    if room.managed or room.affiliation(sender.bare) is not Affiliation.OWNER:
        raise StanzaError(Condition.FORBIDDEN)


def _store(
    room: Room,
    config: RoomConfig,
    affiliates: tuple[tuple[JID, rooms.Affiliate], ...],
    connection: Connection,
) -> None:
    if not config.persistent:
        rooms.delete_room(connection, room.jid)
        return
    rooms.save_room(connection, room.jid, config.stored(), room.creator)
    for jid, affiliate in affiliates:
        rooms.set_affiliation(connection, room.jid, jid, affiliate)
    if room.subject is not None:
        rooms.set_subject(connection, room.jid, room.subject)
    rooms.trim_history(connection, room.jid, config.history)


def _apply(room: Room, config: RoomConfig) -> None:
    was, first = room.config, room.locked
    room.config, room.locked = config, False
    room.history.set_limit(config.history)
    if config.members_only and not was.members_only:
        for occupant in room.occupants:
            if occupant.affiliation is Affiliation.NONE:
                expel(room, occupant, Departure((MEMBERS_ONLY_NOW,)))
    if not first:
        _tell(room, was)
    room.close_if_empty()


def _tell(room: Room, was: RoomConfig) -> None:
    """Tell the occupants that the configuration changed, and how it touches their privacy (10.2.1)."""
    codes = ["104"]
    if room.config.non_anonymous != was.non_anonymous:
        codes.append("172" if room.config.non_anonymous else "173")
    x = element(ns.MUC_USER, "x")
    x.extend(element(ns.MUC_USER, "status", {"code": code}) for code in codes)
    room.broadcast(Stanza.message(room.jid, room.jid, "groupchat", children=(x,)))


def _destroyed(order: Element) -> Element:
    """Return what occupants are told: the alternative venue, its password, and the reason (10.9)."""
    told = element(ns.MUC_USER, "destroy")
    if "jid" in order.attrib:
        try:
            told.set("jid", JID.parse(order.attrib["jid"]).text)
        except InvalidJID as error:
            raise StanzaError(Condition.JID_MALFORMED) from error
    for name in ("password", "reason"):
        text = child_text(order, ns.MUC_OWNER, name)[:MOST_REASON]
        if text:
            told.append(element(ns.MUC_USER, name, text=text))
    return told


def _destroy(room: Room, told: Element) -> Deferred[None]:
    def apply() -> None:
        dismiss(room, Departure(destroyed=told))
        room.directory.forget(room)

    change = Change(lambda connection: rooms.delete_room(connection, room.jid), apply)
    return room.perform(change, room.is_stored)


# -- the form ------------------------------------------------------------------


def config_form(config: RoomConfig) -> Element:
    """Return the configuration form with the present values."""
    return form(ns.MUC_ROOMCONFIG, _fields(config), title="Room settings")


def _fields(config: RoomConfig) -> Iterator[Field]:
    for name, (var, label) in _LABELS.items():
        value = getattr(config, name)
        if name == "non_anonymous":
            options = (("moderators", "Moderators"), ("anyone", "Everyone"))
            yield Field(var, "list-single", label, ("anyone" if value else "moderators",), options)
        elif isinstance(value, bool):
            yield Field(var, "boolean", label, ("1" if value else "0",))
        elif name == "password":
            yield Field(_PROTECTED, "boolean", "A password is needed to enter", ("1" if value else "0",))
            yield Field(var, "text-private", label, (value,))
        else:
            yield Field(var, "text-single", label, (str(value),))


def changed(config: RoomConfig, values: Mapping[str, tuple[str, ...]]) -> RoomConfig:
    """Return `config` with the submitted `values` in place of the present ones. Raises `FormError`."""
    changes: dict[str, Any] = {}
    for name, (var, _) in _LABELS.items():
        if var in values:
            changes[name] = _value(getattr(config, name), name, values[var])
    if _PROTECTED in values:
        if not boolean(values[_PROTECTED]):
            changes["password"] = ""
        elif not changes.get("password", config.password):
            raise FormError("a room protected by a password needs one")
    return evolve(config, **changes)


def _value(old: object, name: str, values: tuple[str, ...]) -> object:
    text = values[0] if values else ""
    if name == "non_anonymous":
        if text not in ("anyone", "moderators"):
            raise FormError("real addresses are shown to anyone or to moderators")
        return text == "anyone"
    if isinstance(old, bool):
        return boolean(values)
    if isinstance(old, int):
        if not text.isascii() or not text.isdigit():
            raise FormError("the length of the history is a number")
        return min(int(text), MOST_HISTORY)
    if len(text) > LONGEST_TEXT:
        raise FormError(f"a text may have {LONGEST_TEXT} characters at most")
    return text
