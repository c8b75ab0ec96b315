"""Messages in and through a room (XEP-0045 7.4, 7.5, 7.8, 8.1).

To everybody, to one occupant, changes of the subject, mediated invitations and their refusals.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from cachetools import TTLCache
from twisted.internet.defer import Deferred, succeed

from refserver import ns
from refserver.core.limits import Quota
from refserver.core.ports import Clock
from refserver.errors import Condition, StanzaError
from refserver.jid import JID, InvalidJID
from refserver.muc.affiliations import apply_affiliations, store_affiliations
from refserver.muc.occupants import Occupant, Role
from refserver.muc.presence import FAILED, Departure, leave
from refserver.muc.room import MOST_REASON, Change, Room
from refserver.stanza import Stanza
from refserver.storage import rooms
from refserver.storage.rooms import Affiliate, Affiliation
from refserver.xml.element import Element, child, child_text, clark, element

LONGEST_SUBJECT: Final = 1000  # characters: every newcomer is sent it
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
    """Take a message of type groupchat to the room. Raises `StanzaError`."""
    session, occupant = _speaker(room, stanza)
    subject = child(stanza.element, ns.CLIENT, "subject")
    if subject is not None and all(
        child(stanza.element, ns.CLIENT, name) is None for name in ("body", "thread")
    ):
        _set_subject(room, occupant, subject.text or "")
    elif occupant.role < Role.PARTICIPANT:
        raise StanzaError(Condition.FORBIDDEN, "only those with voice may write here")
    _clean(stanza, room)
    stanza.from_ = occupant.address
    room.publish(stanza)
    if room.watcher is not None:
        room.watcher.message_sent(room, occupant, session, stanza)


def _speaker(room: Room, stanza: Stanza) -> tuple[JID, Occupant]:
    assert stanza.from_ is not None
    occupant = room.occupants.of(stanza.from_)
    if occupant is None:
        raise StanzaError(Condition.NOT_ACCEPTABLE, "only occupants may write to a room", "modify")
    return stanza.from_, occupant


def _set_subject(room: Room, occupant: Occupant, text: str) -> None:
    """Change the subject: moderators may, and participants where the room lets them (8.1)."""
    allowed = occupant.role is Role.MODERATOR or (
        room.config.change_subject and occupant.role is Role.PARTICIPANT
    )
    if not allowed:
        raise StanzaError(Condition.FORBIDDEN)
    if len(text) > LONGEST_SUBJECT:
        raise StanzaError(Condition.NOT_ACCEPTABLE, f"a subject has at most {LONGEST_SUBJECT} characters")
    room.subject = rooms.Subject(text, occupant.nick, room.core.now())
    room.store_later(rooms.set_subject, room.subject)


def _clean(stanza: Stanza, room: Room) -> None:
    """Remove what only the room may add, however often it is there."""
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
    """Take a message to room/nick, for that occupant alone (7.5). Raises `StanzaError`."""
    assert stanza.to is not None
    if stanza.type == "error":
        _undeliverable(room, stanza)
        return
    _, sender = _speaker(room, stanza)
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
    """Let a session leave that could not be reached (18.1.2, ghost users)."""
    error = child(stanza.element, ns.CLIENT, "error")
    conditions = {found.tag.rpartition("}")[2] for found in error} if error is not None else set()
    assert stanza.from_ is not None
    if conditions & _GONE:
        leave(room, stanza.from_, Departure((FAILED,)))


# -- invitations ---------------------------------------------------------------


class Invitations:
    """Passes on mediated invitations and their refusals (7.8.2), for all rooms of a service.

    It remembers who invited whom to which room: only an invited person can decline, to the inviter alone.
    """

    MOST: Final = 10_000
    KEPT: Final = 7 * 86_400.0  # seconds
    MOST_AT_ONCE: Final = 10  # in one message
    HOURLY: Final = 50  # by one account

    def __init__(self, clock: Clock) -> None:
        self._inviters: TTLCache[tuple[JID, JID, JID], JID] = TTLCache(self.MOST, self.KEPT, clock.seconds)
        self._quota = Quota(self.HOURLY, 3600, clock.seconds)

    def take(self, room: Room, stanza: Stanza) -> Deferred[None]:
        """Take a message to the room that invites or declines. Raises `StanzaError`.

        The Deferred fires when it is passed on: a membership that goes with an invitation is stored before.
        """
        x = child(stanza.element, ns.MUC_USER, "x")
        invites = [] if x is None else x.findall(clark(ns.MUC_USER, "invite"))
        decline = None if x is None else child(x, ns.MUC_USER, "decline")
        if invites:
            return self._invite(room, stanza, invites)
        if decline is None:
            raise StanzaError(Condition.BAD_REQUEST)
        self._decline(room, stanza, decline)
        return succeed(None)

    def _invite(self, room: Room, stanza: Stanza, invites: list[Element]) -> Deferred[None]:
        assert stanza.from_ is not None
        session, occupant = stanza.from_, room.occupants.of(stanza.from_)
        if occupant is None:
            raise StanzaError(Condition.FORBIDDEN, "only occupants may invite to a room")
        if len(invites) > self.MOST_AT_ONCE:
            raise StanzaError(Condition.NOT_ACCEPTABLE, f"at most {self.MOST_AT_ONCE} invitations at once")
        if room.config.members_only and occupant.affiliation < Affiliation.ADMIN:
            raise StanzaError(Condition.FORBIDDEN)
        invited = [(_address(invite), _reason(invite)) for invite in invites]
        members = self._new_members(room, [jid.bare for jid, _ in invited])
        if not self._quota.spend(session.bare, len(invited)):
            raise StanzaError(Condition.RESOURCE_CONSTRAINT, "you have sent many invitations; wait a little")

        def apply() -> None:
            apply_affiliations(room, members, occupant.nick)
            for jid, reason in invited:
                self._inviters[room.jid, jid.bare, session.bare] = session
                _pass_on(room, "invite", session, jid, reason)

        return room.perform(
            Change(partial(store_affiliations, room, members), apply), stored=bool(members) and room.is_stored
        )

    def _new_members(self, room: Room, invited: list[JID]) -> dict[JID, Affiliate]:
        """Return those who must become members to enter (7.8.2: an admin's invitation makes them that)."""
        if not room.config.members_only:
            return {}
        members = {
            jid: Affiliate(Affiliation.MEMBER) for jid in invited if room.affiliation(jid) is Affiliation.NONE
        }
        if members and room.managed:
            raise StanzaError(Condition.FORBIDDEN)
        room.check_new_affiliates(members)
        return members

    def _decline(self, room: Room, stanza: Stanza, decline: Element) -> None:
        assert stanza.from_ is not None
        inviter = self._inviters.pop((room.jid, stanza.from_.bare, _address(decline).bare), None)
        if inviter is None:
            raise StanzaError(Condition.FORBIDDEN, "nobody there has invited you to this room")
        _pass_on(room, "decline", stanza.from_, inviter, _reason(decline))


def _pass_on(room: Room, name: str, sender: JID, to: JID, reason: str) -> None:
    passed_on = element(ns.MUC_USER, name, {"from": sender.text})
    if reason:
        passed_on.append(element(ns.MUC_USER, "reason", text=reason))
    x = element(ns.MUC_USER, "x", None, passed_on)
    if name == "invite" and room.config.password:
        x.append(element(ns.MUC_USER, "password", text=room.config.password))
    room.core.router.route(Stanza.message(to, room.jid, "normal", children=(x,)))


def _address(sent: Element) -> JID:
    try:
        return JID.parse(sent.get("to", ""))
    except InvalidJID as error:
        raise StanzaError(Condition.JID_MALFORMED) from error


def _reason(sent: Element) -> str:
    return child_text(sent, ns.MUC_USER, "reason")[:MOST_REASON]
