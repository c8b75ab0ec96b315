"""Coming, going, changing one's nickname or presence (XEP-0045 7.2, 7.6, 7.7, 7.14)."""

from __future__ import annotations

import hmac
from typing import Final

from refserver import ns
from refserver.errors import Condition, StanzaError
from refserver.jid import JID
from refserver.muc.history import send_history, stamp
from refserver.muc.occupants import Occupant
from refserver.muc.ranks import Affiliation, initial_role
from refserver.muc.room import Room
from refserver.muc.telling import (
    CREATED,
    FAILED,
    NON_ANONYMOUS,
    RENAMED,
    SELF,
    Departure,
    announce,
    announce_departure,
    departure_presence,
    presence_of,
)
from refserver.stanza import Stanza
from refserver.xml.element import Element, child, child_text, element

__all__ = ["check_nick", "expel", "leave", "present"]

MOST_OCCUPANTS: Final = 1000
MOST_SESSIONS: Final = 20  # of one occupant


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
        room.watcher.present(room, occupant, session)


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
        room.watcher.gone(room, occupant, session)
    room.service.settled(room)


def expel(room: Room, occupant: Occupant, departure: Departure) -> None:
    """An occupant is made to go, with all its sessions (kick, ban, loss of membership, destruction)."""
    sessions = list(occupant.sessions)
    announce_departure(room, occupant, departure)
    room.occupants.remove(occupant)
    occupant.sessions.clear()
    if room.watcher is not None:
        for session in sessions:
            room.watcher.gone(room, occupant, session)
    room.service.settled(room)
