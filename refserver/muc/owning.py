"""What owners do with a room: configure it, end it (XEP-0045 10.1, 10.2, 10.9; muc#owner)."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from refserver import ns
from refserver.errors import Condition, StanzaError
from refserver.jid import JID
from refserver.muc.config import RoomConfig
from refserver.muc.entering import expel
from refserver.muc.ranks import Affiliation, Role
from refserver.muc.room import Room
from refserver.muc.telling import MEMBERS_ONLY_NOW, SELF, Departure, departure_presence
from refserver.payloads.forms import FormError, submitted
from refserver.stanza import Stanza
from refserver.xml.element import Element, child, element

__all__ = ["configuration", "configure", "destroy"]


def configuration(room: Room, sender: JID) -> Element:
    """The form. Raises `StanzaError`."""
    _check_owner(room, sender)
    return element(ns.MUC_OWNER, "query", None, room.config.form())


def configure(room: Room, sender: JID, query: Element) -> Deferred[Any] | None:
    """Take a submitted form, a cancelled one, or the order to destroy. Raises `StanzaError`.

    Returns what must be durable before the answer.
    """
    _check_owner(room, sender)
    ending = child(query, ns.MUC_OWNER, "destroy")
    if ending is not None:
        return destroy(room, ending)
    try:
        values = submitted(query, ns.MUC_ROOMCONFIG)
        if values is None:
            return destroy(room, element(ns.MUC_OWNER, "destroy")) if room.locked else None
        config = room.config.changed_by(values)
    except FormError as error:
        raise StanzaError(Condition.NOT_ACCEPTABLE, str(error)) from error
    return _apply(room, config)


def _check_owner(room: Room, sender: JID) -> None:
    if room.managed or room.affiliation(sender.bare) is not Affiliation.OWNER:
        raise StanzaError(Condition.FORBIDDEN)


def _apply(room: Room, config: RoomConfig) -> Deferred[None] | None:
    was, first = room.config, room.locked
    room.config, room.locked = config, False
    if config.history != was.history:
        room.history = type(room.history)(room.history, config.history)
    if config.members_only and not was.members_only:
        for occupant in room.occupants:
            if occupant.affiliation is Affiliation.NONE:
                expel(room, occupant, Departure((MEMBERS_ONLY_NOW,)))
    if not first:
        _tell(room, was)
    return room.save() if config.persistent or was.persistent else None


def _tell(room: Room, was: RoomConfig) -> None:
    """10.2.1: occupants learn that the configuration changed, and how it touches their privacy."""
    codes = ["104"]
    if room.config.non_anonymous != was.non_anonymous:
        codes.append("172" if room.config.non_anonymous else "173")
    x = element(ns.MUC_USER, "x")
    x.extend(element(ns.MUC_USER, "status", {"code": code}) for code in codes)
    room.broadcast(Stanza.message(room.jid, room.jid, "groupchat", children=(x,)))


def destroy(room: Room, ending: Element) -> Deferred[None]:
    """End a room: everybody goes, nothing of it is kept (10.9)."""
    told = element(ns.MUC_USER, "destroy")
    if "jid" in ending.attrib:
        told.set("jid", ending.attrib["jid"])
    reason = child(ending, ns.MUC_OWNER, "reason")
    if reason is not None:
        told.append(element(ns.MUC_USER, "reason", text=reason.text))
    for session, occupant in room.occupants.sessions():
        farewell = departure_presence(occupant, Departure(destroyed=told), True, (SELF,), Role.NONE)
        room.send(farewell, session)  # everybody of herself only: that all others go too is clear
        room.occupants.leave(session)
        if room.watcher is not None:
            room.watcher.gone(room, occupant, session)
    return room.service.remove(room)
