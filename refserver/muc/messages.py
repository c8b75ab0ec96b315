"""Messages in and through a room (XEP-0045 7.4, 7.5, 7.8, 8.1).

To everybody, to one occupant, changes of the subject, mediated invitations.
"""

from __future__ import annotations

from typing import Final

from refserver import ns
from refserver.errors import Condition, StanzaError
from refserver.jid import JID, InvalidJID
from refserver.muc.occupants import Affiliation, Occupant, Role
from refserver.muc.presence import FAILED, Departure, leave
from refserver.muc.room import Belonging, Room
from refserver.stanza import Stanza
from refserver.storage import rooms
from refserver.xml.element import Element, child, clark, element

__all__ = ["groupchat", "invitation", "private"]

MOST_INVITATIONS: Final = 10  # in one message
_FORGEABLE: Final = (
    clark(ns.MUC_USER, "x"),
    clark(ns.OCCUPANT_ID, "occupant-id"),
    clark(ns.SID, "stanza-id"),
    clark(ns.DELAY, "delay"),
)
_GONE: Final = frozenset(  # 7.14, COMPAT with clients that vanish: errors that mean nobody is there
    {"gone", "item-not-found", "recipient-unavailable", "redirect", "remote-server-not-found"}
    | {"remote-server-timeout", "service-unavailable", "jid-malformed"}
)


def groupchat(room: Room, stanza: Stanza) -> None:
    """A message of type groupchat to the room. Raises `StanzaError`."""
    occupant = _speaker(room, stanza)
    subject = child(stanza.element, ns.CLIENT, "subject")
    if subject is not None and child(stanza.element, ns.CLIENT, "body") is None:
        if child(stanza.element, ns.CLIENT, "thread") is None:
            _set_subject(room, occupant, subject.text or "")
    elif occupant.role < Role.PARTICIPANT:
        raise StanzaError(Condition.FORBIDDEN, "only those with voice may write here")
    _clean(stanza, room)
    assert stanza.from_ is not None
    session, stanza.from_ = stanza.from_, occupant.address
    room.utter(stanza)
    if room.watcher is not None:
        room.watcher.message_sent(room, occupant, session, stanza)


def _speaker(room: Room, stanza: Stanza) -> Occupant:
    assert stanza.from_ is not None
    occupant = room.occupants.of(stanza.from_)
    if occupant is None:
        raise StanzaError(Condition.NOT_ACCEPTABLE, "only occupants may write to a room", "modify")
    return occupant


def _set_subject(room: Room, occupant: Occupant, text: str) -> None:
    """8.1: moderators, and participants where the room lets them."""
    allowed = occupant.role is Role.MODERATOR or (
        room.config.change_subject and occupant.role is Role.PARTICIPANT
    )
    if not allowed:
        raise StanzaError(Condition.FORBIDDEN)
    room.subject = rooms.Subject(text, occupant.nick, room.core.now())
    room.later(rooms.set_subject, room.subject)


def _clean(stanza: Stanza, room: Room) -> None:
    """Take away what only the room may say, however often it is there."""
    forged = [found for found in stanza.element if found.tag in _FORGEABLE and _is_rooms(found, room)]
    for found in forged:
        stanza.element.remove(found)
    stanza.changed()


def _is_rooms(found: Element, room: Room) -> bool:
    if found.tag == clark(ns.SID, "stanza-id"):
        return _same(found.get("by"), room.jid)
    if found.tag == clark(ns.DELAY, "delay"):
        return _same(found.get("from"), room.jid)
    return True


def _same(written: str | None, jid: JID) -> bool:
    try:
        return written is None or JID.parse(written) == jid
    except InvalidJID:
        return True


def private(room: Room, stanza: Stanza) -> None:
    """A message to room/nick, for that occupant alone (7.5). Raises `StanzaError`."""
    assert stanza.to is not None
    if stanza.type == "error":
        _undeliverable(room, stanza)
        return
    sender = _speaker(room, stanza)
    if stanza.type == "groupchat":
        raise StanzaError(Condition.BAD_REQUEST)
    recipient = room.occupants.named(stanza.to.resourcepart)
    if recipient is None or recipient.virtual:
        raise StanzaError(Condition.ITEM_NOT_FOUND)
    _clean(stanza, room)
    stanza.element.append(element(ns.MUC_USER, "x"))
    stanza.from_ = sender.address
    stanza.to = None
    for session in recipient.sessions:
        room.send(stanza, session)


def _undeliverable(room: Room, stanza: Stanza) -> None:
    """A session could not be reached: it is here no more (18.1.2's ghost users)."""
    error = child(stanza.element, ns.CLIENT, "error")
    conditions = {found.tag.rpartition("}")[2] for found in error} if error is not None else set()
    assert stanza.from_ is not None
    if conditions & _GONE:
        leave(room, stanza.from_, Departure((FAILED,)))


def invitation(room: Room, stanza: Stanza) -> None:
    """A mediated invitation, or its polite refusal (7.8.2). Raises `StanzaError`."""
    x = child(stanza.element, ns.MUC_USER, "x")
    if x is None:
        raise StanzaError(Condition.BAD_REQUEST)
    invites = x.findall(clark(ns.MUC_USER, "invite"))
    if invites:
        _invite(room, stanza, invites)
    elif (decline := child(x, ns.MUC_USER, "decline")) is not None:
        _relay(room, stanza, decline, "decline")
    else:
        raise StanzaError(Condition.BAD_REQUEST)


def _invite(room: Room, stanza: Stanza, invites: list[Element]) -> None:
    occupant = _speaker(room, stanza)
    if len(invites) > MOST_INVITATIONS:
        raise StanzaError(Condition.NOT_ACCEPTABLE, f"at most {MOST_INVITATIONS} invitations at once")
    if room.config.members_only and occupant.affiliation < Affiliation.ADMIN:
        raise StanzaError(Condition.FORBIDDEN)
    for invite in invites:
        invited = _address(invite.get("to", ""))
        if room.config.members_only and room.affiliation(invited.bare) is Affiliation.NONE:
            if room.managed:
                raise StanzaError(Condition.FORBIDDEN)
            room.belong(invited.bare, Belonging(Affiliation.MEMBER))
        _relay(room, stanza, invite, "invite")


def _relay(room: Room, stanza: Stanza, sent: Element, name: str) -> None:
    assert stanza.from_ is not None
    relayed = element(ns.MUC_USER, name, {"from": stanza.from_.text})
    reason = child(sent, ns.MUC_USER, "reason")
    if reason is not None:
        relayed.append(element(ns.MUC_USER, "reason", text=reason.text))
    x = element(ns.MUC_USER, "x", None, relayed)
    if name == "invite" and room.config.password:
        x.append(element(ns.MUC_USER, "password", text=room.config.password))
    to = _address(sent.get("to", ""))
    room.core.router.route(Stanza.message(to, room.jid, "normal", children=(x,)))


def _address(text: str) -> JID:
    try:
        return JID.parse(text)
    except InvalidJID as error:
        raise StanzaError(Condition.JID_MALFORMED) from error
