"""Presence in rooms (XEP-0045 7.2, 7.6, 7.7, 7.14): entering, changing, leaving, telling others.

An occupant's presence is sent in at most four forms: with or without the real address, with or
without the mark that it is the receiver's own. Each is made once.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from typing import Final

from attrs import frozen

from refserver import ns
from refserver.errors import Condition, StanzaError
from refserver.jid import JID
from refserver.muc.history import HistoryRequest, stamp
from refserver.muc.occupants import Occupant, Role, initial_role, nickname_key
from refserver.muc.room import Room
from refserver.stanza import Stanza
from refserver.storage.rooms import Affiliation
from refserver.xml.element import Element, child, child_text, element, split

MOST_OCCUPANTS: Final = 1000
MOST_SESSIONS: Final = 20  # of one occupant
MOST_NICKS: Final = 10  # of one account
# Status codes (XEP-0045 15.6.2)
NON_ANONYMOUS, SELF, CREATED, NICK_ASSIGNED = "100", "110", "201", "210"
BANNED, RENAMED, KICKED, AFFILIATION_CHANGED = "301", "303", "307", "321"
MEMBERS_ONLY_NOW, SHUTDOWN, FAILED = "322", "332", "333"
_OURS: Final = (ns.MUC, ns.MUC_USER, ns.OCCUPANT_ID)


def present(room: Room, stanza: Stanza) -> None:
    """Take a presence for room/nick: entering, a change, leaving. Raises `StanzaError`."""
    assert stanza.from_ is not None
    assert stanza.to is not None
    session, nick = stanza.from_, stanza.to.resourcepart
    occupant = room.occupants.of(session)
    if stanza.type in ("unavailable", "error"):
        codes = () if stanza.type == "unavailable" else (FAILED,)
        leave(room, session, Departure(codes, presence=stanza))
        return
    if stanza.type:
        return  # subscriptions and probes mean nothing to an occupant's address
    if not nick:
        raise StanzaError(Condition.JID_MALFORMED, "a nickname is needed to enter a room")
    if occupant is None or child(stanza.element, ns.MUC, "x") is not None:
        occupant = _enter(room, stanza, session, nick)
    elif occupant.nick != nick:
        _rename(room, stanza, occupant, nick)
    else:
        room.occupants.join(occupant, session, stanza)
        _announce(room, occupant)
    if room.watcher is not None:
        room.watcher.occupant_present(room, occupant, session)


# -- entering ------------------------------------------------------------------


def _enter(room: Room, stanza: Stanza, session: JID, nick: str) -> Occupant:
    x = child(stanza.element, ns.MUC, "x")
    if x is None:
        # A client that believes it is still here. XEP-0045 7.2.1: entering says so with <x/>.
        raise StanzaError(Condition.NOT_ACCEPTABLE, "enter the room first")
    account = session.bare
    wanted = HistoryRequest.parse(child(x, ns.MUC, "history"), room.core.now())
    occupant = _admit(room, account, nick, x)
    before = room.occupants.of(session)
    if before is not None and before is not occupant:
        _depart(room, session, before, Departure())
    newcomer = occupant is None
    if occupant is None:
        affiliation = room.affiliation(account)
        role = initial_role(affiliation, room.config.moderated)
        occupant = Occupant(nick, account, affiliation, role, room.address_of(nick))
        room.occupants.add(occupant)
    _send_occupants(room, session, occupant)
    room.occupants.join(occupant, session, stanza)
    codes = [NON_ANONYMOUS] if room.config.non_anonymous else []
    codes += [CREATED] if room.locked else []
    codes += [NICK_ASSIGNED] if occupant.nick != nick else []
    _announce(room, occupant, codes, to_others=newcomer or len(occupant.sessions) == 1)
    _send_history(room, session, wanted)
    _send_subject(room, session)
    return occupant


def _admit(room: Room, account: JID, nick: str, x: Element) -> Occupant | None:
    """Check the conditions of 7.2.5-7.2.11; return the account's occupant of that nickname, if there is one.

    Raises `StanzaError`.
    """
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
    occupant = _check_nick(room, account, nick)
    if len(room.occupants) >= MOST_OCCUPANTS and affiliation < Affiliation.ADMIN:
        raise StanzaError(Condition.SERVICE_UNAVAILABLE, type="wait")
    if occupant is None and len(room.occupants.of_account(account)) >= MOST_NICKS:
        raise StanzaError(Condition.RESOURCE_CONSTRAINT, "you are here under many nicknames")
    if occupant is not None and len(occupant.sessions) >= MOST_SESSIONS:
        raise StanzaError(Condition.RESOURCE_CONSTRAINT)
    return occupant


def _check_nick(room: Room, account: JID, nick: str) -> Occupant | None:
    """Refuse a nickname that is empty, another's or reserved for another (7.2.8), compared by RFC 8266.

    Return the account's occupant with that nickname, if there is one.
    """
    if not nickname_key(nick):
        raise StanzaError(Condition.NOT_ACCEPTABLE, "a nickname needs more than spaces")
    occupant = room.occupants.like(nick)
    if occupant is not None and (occupant.account != account or occupant.virtual):
        raise StanzaError(Condition.CONFLICT)
    reserved = room.reserved_for(nick)
    if reserved and account not in reserved:
        raise StanzaError(Condition.CONFLICT)
    return occupant


def _send_occupants(room: Room, session: JID, newcomer: Occupant) -> None:
    """Send the newcomer the presence of everybody else (7.2.2)."""
    shows = room.shows_addresses_to(newcomer)
    for occupant in room.occupants:
        if occupant is not newcomer:
            room.send(_presence_of(occupant, shows), session)


def _send_history(room: Room, session: JID, wanted: HistoryRequest) -> None:
    for at, message in room.history.select(wanted):
        delayed = message.copy()
        delayed.element.append(element(ns.DELAY, "delay", {"from": room.jid.text, "stamp": stamp(at)}))
        room.send(delayed, session)


def _send_subject(room: Room, session: JID) -> None:
    """Send the subject, an empty one if there is none (7.2.15). It ends what a newcomer is sent."""
    subject = room.subject
    sender, text = room.jid, ""
    children = []
    if subject is not None:
        text = subject.text
        sender = room.address_of(subject.nick) if subject.nick else room.jid
        children.append(element(ns.DELAY, "delay", {"from": room.jid.text, "stamp": stamp(subject.at)}))
    children.insert(0, element(ns.CLIENT, "subject", text=text))
    room.send(Stanza.message(session, sender, "groupchat", children=children), session)


def _rename(room: Room, stanza: Stanza, occupant: Occupant, nick: str) -> None:
    """Announce that the old nickname leaves, with the new one in the item, then the new one (7.6)."""
    if len(occupant.sessions) > 1:
        raise StanzaError(Condition.NOT_ACCEPTABLE, "this nickname is used by several of your clients")
    if _check_nick(room, occupant.account, nick) not in (None, occupant):
        raise StanzaError(Condition.CONFLICT)
    assert stanza.from_ is not None
    _announce_departure(room, occupant, Departure((RENAMED,), nick=nick), occupant.role)
    room.occupants.rename(occupant, nick, room.address_of(nick))
    room.occupants.join(occupant, stanza.from_, stanza)
    _announce(room, occupant)


# -- leaving -------------------------------------------------------------------


@frozen
class Departure:
    """Why and how an occupant leaves: status codes, and what the `<item/>` holds."""

    codes: tuple[str, ...] = ()
    actor: str = ""
    reason: str = ""
    nick: str = ""  # the new one
    destroyed: Element | None = None
    presence: Stanza | None = None


def leave(room: Room, session: JID, departure: Departure) -> None:
    """Let a session leave, if it is there; others are told when it was the occupant's last one (7.14)."""
    occupant = room.occupants.of(session)
    if occupant is not None:
        _depart(room, session, occupant, departure)
        room.close_if_empty()


def _depart(room: Room, session: JID, occupant: Occupant, departure: Departure) -> None:
    if len(occupant.sessions) == 1:
        _announce_departure(room, occupant, departure)
        room.occupants.leave(session)
    else:
        room.send(_departure_presence(occupant, departure, True, True, occupant.role), session)
        room.occupants.leave(session)
        _announce(room, occupant)
    if room.watcher is not None:
        room.watcher.occupant_left(room, occupant, session)


def expel(room: Room, occupant: Occupant, departure: Departure) -> None:
    """Remove an occupant with all its sessions (kick, ban, loss of membership)."""
    sessions = list(occupant.sessions)
    _announce_departure(room, occupant, departure)
    room.occupants.remove(occupant)
    occupant.sessions.clear()
    if room.watcher is not None:
        for session in sessions:
            room.watcher.occupant_left(room, occupant, session)
    room.close_if_empty()


def dismiss(room: Room, departure: Departure) -> None:
    """Remove everybody; each session is sent its own unavailable presence and no others (10.9, 11.2)."""
    for session, occupant in room.occupants.sessions():
        room.send(_departure_presence(occupant, departure, True, True, Role.NONE), session)
        room.occupants.leave(session)
        if room.watcher is not None:
            room.watcher.occupant_left(room, occupant, session)


# -- what occupants are sent ---------------------------------------------------


def renew(room: Room, occupant: Occupant, affiliation: Affiliation, role: Role) -> None:
    """Give an occupant another affiliation and role, and send everybody its presence."""
    occupant.affiliation, occupant.role = affiliation, role
    _announce(room, occupant)


def _announce(room: Room, occupant: Occupant, codes: Iterable[str] = (), *, to_others: bool = True) -> None:
    """Send everybody an occupant's presence; to the occupant itself with status 110 and `codes`."""

    def made(shows: bool, own: bool) -> Stanza:
        return _presence_of(occupant, shows, (*codes, SELF) if own else ())

    _send_forms(room, occupant, made, to_others)


def _announce_departure(room: Room, occupant: Occupant, departure: Departure, role: Role = Role.NONE) -> None:
    """Send everybody an occupant's departure; `role` stands in the item (7.6: kept when renamed)."""
    _send_forms(
        room, occupant, lambda shows, own: _departure_presence(occupant, departure, shows, own, role), True
    )


def _send_forms(
    room: Room, occupant: Occupant, make: Callable[[bool, bool], Stanza], to_others: bool
) -> None:
    """Send every session the form of a presence that `make(shows address, is own)` returns."""
    forms: dict[tuple[bool, bool], Stanza] = {}
    for session, viewer in room.occupants.sessions():
        own = viewer is occupant
        if own or to_others:
            key = own or room.shows_addresses_to(viewer), own
            if key not in forms:
                forms[key] = make(*key)
            room.send(forms[key], session)


def _presence_of(occupant: Occupant, shows: bool, codes: Iterable[str] = ()) -> Stanza:
    """Return an occupant's presence; `shows`: with the real address."""
    children = _passed_on(occupant.presence)
    children.append(_x(_item(occupant, occupant.role, shows), codes))
    return Stanza.presence(None, occupant.address, children=children)


def _departure_presence(
    occupant: Occupant, departure: Departure, shows: bool, own: bool, role: Role
) -> Stanza:
    """Return an occupant's unavailable presence."""
    children = _passed_on(departure.presence)
    item = _item(occupant, role, shows)
    if departure.nick:
        item.set("nick", departure.nick)
    if departure.actor:
        item.append(element(ns.MUC_USER, "actor", {"nick": departure.actor}))
    if departure.reason:
        item.append(element(ns.MUC_USER, "reason", text=departure.reason))
    x = _x(item, (*departure.codes, SELF) if own else departure.codes)
    if departure.destroyed is not None:
        x.append(departure.destroyed)
    children.append(x)
    return Stanza.presence(None, occupant.address, "unavailable", children=children)


def _passed_on(presence: Stanza | None) -> list[Element]:
    """Return the children of a presence without those that only a room may add."""
    if presence is None or presence.type == "error":
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
