"""What occupants are told of each other: presences with roles, affiliations and status codes (XEP-0045 5, 7).

Everybody gets one of at most four forms of a presence: with or without the real address, with
or without the mark that it is one's own. Each is made once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from attrs import frozen

from refserver import ns
from refserver.muc.occupants import Occupant
from refserver.muc.ranks import Affiliation, Role
from refserver.muc.room import Room
from refserver.stanza import Stanza
from refserver.xml.element import Element, element, split

__all__ = ["Departure", "announce", "announce_departure", "departure_presence", "presence_of", "renew"]

# Status codes (XEP-0045 15.6.2)
NON_ANONYMOUS, SELF, CREATED, KICKED, BANNED, RENAMED = "100", "110", "201", "307", "301", "303"
AFFILIATION_CHANGED, MEMBERS_ONLY_NOW, SHUTDOWN, FAILED = "321", "322", "332", "333"
_OURS: Final = (ns.MUC, ns.MUC_USER, ns.OCCUPANT_ID)


@frozen
class Departure:
    """Why and how somebody goes: status codes, and what the `<item/>` says."""

    codes: tuple[str, ...] = ()
    actor: str = ""
    reason: str = ""
    nick: str = ""  # the new one
    destroyed: Element | None = None
    presence: Stanza | None = None


def announce(room: Room, occupant: Occupant, codes: Iterable[str] = (), *, to_others: bool = True) -> None:
    """Tell everybody of an occupant's presence, role and affiliation; itself with status 110.

    `codes` are for the occupant itself only.
    """
    variants: dict[tuple[bool, bool], Stanza] = {}
    for session, viewer in room.occupants.sessions():
        own = viewer is occupant
        if not own and not to_others:
            continue
        key = own, own or room.shows_addresses_to(viewer)
        stanza = variants.get(key)
        if stanza is None:
            stanza = presence_of(occupant, key[1], (*codes, SELF) if own else ())
            variants[key] = stanza
        room.send(stanza, session)


def announce_departure(room: Room, occupant: Occupant, departure: Departure, role: Role = Role.NONE) -> None:
    """Tell everybody that an occupant goes; `role` is what the item says (7.6: unchanged when renamed)."""
    variants: dict[tuple[bool, bool], Stanza] = {}
    for session, viewer in room.occupants.sessions():
        own = viewer is occupant
        key = own, own or room.shows_addresses_to(viewer)
        stanza = variants.get(key)
        if stanza is None:
            codes = (*departure.codes, SELF) if own else departure.codes
            stanza = variants[key] = departure_presence(occupant, departure, key[1], codes, role)
        room.send(stanza, session)


def presence_of(occupant: Occupant, shows: bool, codes: Iterable[str]) -> Stanza:
    """An occupant's presence as others get it; `shows`: with the real address."""
    presence = occupant.presence
    children = [] if presence is None else _clean(presence)
    item = _item(occupant, occupant.role, shows)
    children.append(_x(item, codes))
    return Stanza.presence(None, occupant.address, children=children)


def departure_presence(
    occupant: Occupant, departure: Departure, shows: bool, codes: Iterable[str], role: Role
) -> Stanza:
    """An occupant's unavailable presence."""
    children = [] if departure.presence is None else _clean(departure.presence)
    item = _item(occupant, role, shows)
    if departure.nick:
        item.set("nick", departure.nick)
    if departure.actor:
        item.append(element(ns.MUC_USER, "actor", {"nick": departure.actor}))
    if departure.reason:
        item.append(element(ns.MUC_USER, "reason", text=departure.reason))
    x = _x(item, codes)
    if departure.destroyed is not None:
        x.append(departure.destroyed)
    children.append(x)
    return Stanza.presence(None, occupant.address, "unavailable", children=children)


def _clean(presence: Stanza) -> list[Element]:
    """The children of a presence without what only the room may say."""
    if presence.type == "error":
        return []
    return [found for found in presence.element if split(found.tag)[0] not in _OURS]


def _item(occupant: Occupant, role: Role, shows: bool) -> Element:
    attributes = {"affiliation": occupant.affiliation.word, "role": role.word}
    if shows and not occupant.virtual:
        session = next(reversed(occupant.sessions), None)
        attributes["jid"] = (session or occupant.account).text
    return element(ns.MUC_USER, "item", attributes)


def _x(item: Element, codes: Iterable[str]) -> Element:
    x = element(ns.MUC_USER, "x", None, item)
    x.extend(element(ns.MUC_USER, "status", {"code": code}) for code in codes)
    return x


def renew(room: Room, occupant: Occupant, affiliation: Affiliation, role: Role) -> None:
    """Give an occupant another affiliation and role, and tell everybody."""
    occupant.affiliation, occupant.role = affiliation, role
    announce(room, occupant)
