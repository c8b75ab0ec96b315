"""What owners do with a room: configure it and destroy it (XEP-0045 10.1, 10.2, 10.9; muc#owner)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attrs import evolve, fields
from twisted.internet.defer import Deferred

from refserver import ns
from refserver.errors import Condition, StanzaError
from refserver.jid import JID
from refserver.muc.occupants import Affiliation, Role
from refserver.muc.presence import MEMBERS_ONLY_NOW, SELF, Departure, departure_presence, expel
from refserver.muc.room import Room, RoomConfig
from refserver.payloads.forms import Field, FormError, boolean, form, submitted
from refserver.stanza import Stanza
from refserver.xml.element import Element, child, element

__all__ = ["changed", "config_form", "configuration", "configure", "destroy"]

MOST_HISTORY: Final = 100
LONGEST_TEXT: Final = 1000

_LABELS: Final[Mapping[str, tuple[str, str]]] = {
    "name": ("muc#roomconfig_roomname", "Name"),
    "description": ("muc#roomconfig_roomdesc", "Description"),
    "persistent": ("muc#roomconfig_persistentroom", "Keep the room when everyone has left"),
    "public": ("muc#roomconfig_publicroom", "List the room"),
    "members_only": ("muc#roomconfig_membersonly", "Only members may enter"),
    "moderated": ("muc#roomconfig_moderatedroom", "Only those with voice may write"),
    "non_anonymous": ("muc#roomconfig_whois", "Who sees real addresses"),
    "change_subject": ("muc#roomconfig_changesubject", "Participants may change the subject"),
    "password": ("muc#roomconfig_roomsecret", "Password"),
    "history": ("muc#maxhistoryfetch", "Messages of history"),
}


def configuration(room: Room, sender: JID) -> Element:
    """The form. Raises `StanzaError`."""
    _check_owner(room, sender)
    return element(ns.MUC_OWNER, "query", None, config_form(room.config))


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
        config = changed(room.config, values)
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
            room.watcher.occupant_left(room, occupant, session)
    return room.delete()


# -- the form ----


def config_form(config: RoomConfig) -> Element:
    """Return the configuration form with the present values."""
    shown = [_field(config, field.name) for field in fields(RoomConfig)]
    return form(ns.MUC_ROOMCONFIG, shown, title="Room settings")


def _field(config: RoomConfig, name: str) -> Field:
    var, label = _LABELS[name]
    value = getattr(config, name)
    if name == "non_anonymous":
        options = (("moderators", "Moderators"), ("anyone", "Everyone"))
        return Field(var, "list-single", label, ("anyone" if value else "moderators",), options)
    if isinstance(value, bool):
        return Field(var, "boolean", label, ("1" if value else "0",))
    kind = "text-private" if name == "password" else "text-single"
    return Field(var, kind, label, (str(value),))


def changed(config: RoomConfig, values: Mapping[str, tuple[str, ...]]) -> RoomConfig:
    """Return `config` with the submitted `values` in place of the present ones. Raises `FormError`."""
    changes: dict[str, Any] = {}
    for name, (var, _) in _LABELS.items():
        if var in values:
            changes[name] = _value(getattr(config, name), name, values[var])
    if values.get("muc#roomconfig_passwordprotectedroom") in (("0",), ("false",)):
        changes["password"] = ""
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
