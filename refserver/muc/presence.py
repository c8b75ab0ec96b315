"""Presence in rooms (XEP-0045 7.2, 7.6, 7.7, 7.14): entering, changing, leaving, telling others.

An occupant's presence is sent in at most four forms: with or without the real address, with or
without the mark that it is the receiver's own. Each is made once.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from typing import Final

from attrs import frozen

from refserver import ns
from refserver.errors import Condition, StanzaError
from refserver.jid import JID
from refserver.muc.history import send_history, stamp
from refserver.muc.occupants import Affiliation, Occupant, Role, initial_role
from refserver.muc.room import Room
from refserver.stanza import Stanza
from refserver.xml.element import Element, child, child_text, element, split

__all__ = [
    "Departure",
    "announce",
    "announce_departure",
    "check_nick",
    "departure_presence",
    "expel",
    "leave",
    "presence_of",
    "present",
    "renew",
]

MOST_OCCUPANTS: Final = 1000
MOST_SESSIONS: Final = 20  # of one occupant
# Status codes (XEP-0045 15.6.2)
NON_ANONYMOUS, SELF, CREATED, KICKED, BANNED, RENAMED = "100", "110", "201", "307", "301", "303"
AFFILIATION_CHANGED, MEMBERS_ONLY_NOW, SHUTDOWN, FAILED = "321", "322", "332", "333"
_OURS: Final = (ns.MUC, ns.MUC_USER, ns.OCCUPANT_ID)


def present(room: Room, stanza: Stanza) -> None:
    """A presence for room/nick: entering, another presence or nickname, leaving. Raises `StanzaError`."""
    assert stanza.from_ is not None
    assert stanza.to is not None
    session, nick = stanza.from_, stanza.to.resourcepart
    occupant = room.occupants.of(session)
    if stanza.type in ("unavailable", "error"):
        if occupant is not None:
            codes = () if stanza.type == "unavailable" else (FAILED,)
            leave(room, session, Departure(codes, presence=stanza))
        return
    if stanza.type:
        return  # subscriptions and probes mean nothing to an occupant's address
    if not nick:
        raise StanzaError(Condition.JID_MALFORMED, "a nickname is needed to enter a room")
    if occupant is None or child(stanza.element, ns.MUC, "x") is not None:
        _enter(room, stanza, session, nick)
    elif occupant.nick != nick:
        _rename(room, stanza, occupant, nick)
    else:
        room.occupants.join(occupant, session, stanza)
        announce(room, occupant)
    _tell_watcher(room, session)


def _tell_watcher(room: Room, session: JID) -> None:
    occupant = room.occupants.of(session)
    if room.watcher is not None and occupant is not None:
        room.watcher.occupant_present(room, occupant, session)


# -- entering ----------------------------------------------------------------


def _enter(room: Room, stanza: Stanza, session: JID, nick: str) -> None:
    x = child(stanza.element, ns.MUC, "x")
    if x is None:
        # A client that believes it is still here. XEP-0045 7.2.1: entering says so with <x/>.
        raise StanzaError(Condition.NOT_ACCEPTABLE, "enter the room first")
    account = session.bare
    _admit(room, account, nick, x)
    before = room.occupants.of(session)
    if before is not None and before.nick != nick:
        leave(room, session, Departure())
    occupant = room.occupants.named(nick)
    newcomer = occupant is None
    if occupant is None:
        affiliation = room.affiliation(account)
        role = initial_role(affiliation, room.config.moderated)
        occupant = Occupant(nick, account, affiliation, role, JID.of(*_parts(room.jid), nick))
        room.occupants.add(occupant)
    _show_occupants(room, session, occupant)
    room.occupants.join(occupant, session, stanza)
    announce(room, occupant, _entry_codes(room), to_others=newcomer or len(occupant.sessions) == 1)
    send_history(room, session, x)
    _send_subject(room, session)


def _parts(jid: JID) -> tuple[str, str]:
    return jid.localpart, jid.domainpart


def _admit(room: Room, account: JID, nick: str, x: Element) -> None:
    """The conditions of 7.2.5-7.2.11. Raises `StanzaError`."""
    affiliation = room.affiliation(account)
    if affiliation is Affiliation.OUTCAST:
        raise StanzaError(Condition.FORBIDDEN)
    if room.locked and affiliation is not Affiliation.OWNER:
        raise StanzaError(Condition.ITEM_NOT_FOUND)
    if room.config.members_only and affiliation is Affiliation.NONE:
        raise StanzaError(Condition.REGISTRATION_REQUIRED)
    password = child_text(x, ns.MUC, "password")
    if room.config.password and not hmac.compare_digest(password.encode(), room.config.password.encode()):
        raise StanzaError(Condition.NOT_AUTHORIZED)
    check_nick(room, account, nick)
    if len(room.occupants) >= MOST_OCCUPANTS and affiliation < Affiliation.ADMIN:
        raise StanzaError(Condition.SERVICE_UNAVAILABLE, type="wait")
    taken = room.occupants.named(nick)
    if taken is not None and len(taken.sessions) >= MOST_SESSIONS:
        raise StanzaError(Condition.RESOURCE_CONSTRAINT)


def check_nick(room: Room, account: JID, nick: str) -> None:
    """Refuse a nickname that is another's, looks like another's, or is reserved for another (7.2.8)."""
    like = room.occupants.like(nick)
    if like is not None and (like.account != account or like.nick != nick or like.virtual):
        raise StanzaError(Condition.CONFLICT)
    for jid, belonging in room.belongings.items():
        if belonging.nick and belonging.nick == nick and jid != account:
            raise StanzaError(Condition.CONFLICT)


def _entry_codes(room: Room) -> tuple[str, ...]:
    codes = (NON_ANONYMOUS,) if room.config.non_anonymous else ()
    return (*codes, CREATED) if room.locked else codes


def _show_occupants(room: Room, session: JID, newcomer: Occupant) -> None:
    """The newcomer first sees who is there already (7.2.2)."""
    shows = room.shows_addresses_to(newcomer)
    for occupant in room.occupants:
        if occupant is not newcomer:
            room.send(presence_of(occupant, shows, ()), session)


def _send_subject(room: Room, session: JID) -> None:
    """The subject ends what a newcomer is told (7.2.15), also when there is none."""
    subject = room.subject
    sender, text = room.jid, ""
    children = []
    if subject is not None:
        text = subject.text
        sender = JID.of(*_parts(room.jid), subject.nick) if subject.nick else room.jid
        children.append(element(ns.DELAY, "delay", {"from": room.jid.text, "stamp": stamp(subject.at)}))
    children.insert(0, element(ns.CLIENT, "subject", text=text))
    room.send(Stanza.message(session, sender, "groupchat", children=children), session)


# -- changing ----------------------------------------------------------------


def _rename(room: Room, stanza: Stanza, occupant: Occupant, nick: str) -> None:
    """7.6: everybody sees the old nickname go with the new one in the item, then the new one come."""
    if len(occupant.sessions) > 1:
        raise StanzaError(Condition.NOT_ACCEPTABLE, "this nickname is used by several of your clients")
    _check_nick_change(room, occupant, nick)
    assert stanza.from_ is not None
    announce_departure(room, occupant, Departure((RENAMED,), nick=nick), occupant.role)
    room.occupants.rename(occupant, nick, JID.of(*_parts(room.jid), nick))
    room.occupants.join(occupant, stanza.from_, stanza)
    announce(room, occupant)


def _check_nick_change(room: Room, occupant: Occupant, nick: str) -> None:
    """As `check_nick`, but one's own old nickname is not in the way."""
    like = room.occupants.like(nick)
    if like is not None and like is not occupant:
        raise StanzaError(Condition.CONFLICT)
    if like is None:
        check_nick(room, occupant.account, nick)


# -- leaving -----------------------------------------------------------------


def leave(room: Room, session: JID, departure: Departure) -> None:
    """A session goes; others see it when it was the occupant's last (7.14)."""
    occupant = room.occupants.of(session)
    if occupant is None:
        return
    last = len(occupant.sessions) == 1
    if last:
        announce_departure(room, occupant, departure)
    else:
        farewell = departure_presence(occupant, departure, True, (*departure.codes, SELF), occupant.role)
        room.send(farewell, session)
    room.occupants.leave(session)
    if not last:
        announce(room, occupant)
    if room.watcher is not None:
        room.watcher.occupant_left(room, occupant, session)
    room.close_if_empty()


def expel(room: Room, occupant: Occupant, departure: Departure) -> None:
    """An occupant is made to go, with all its sessions (kick, ban, loss of membership, destruction)."""
    sessions = list(occupant.sessions)
    announce_departure(room, occupant, departure)
    room.occupants.remove(occupant)
    occupant.sessions.clear()
    if room.watcher is not None:
        for session in sessions:
            room.watcher.occupant_left(room, occupant, session)
    room.close_if_empty()


# -- what occupants are told ----


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
