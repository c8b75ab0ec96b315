"""Presence of sessions: broadcast, directed, its end, and probes (RFC 6121 4).

Owns what a session's `presence`, `priority` and `directed` say. Subscriptions are in subscriptions.py. Probes
(4.3) ask contacts at log-in; those with an account here are asked without any stanza: what they would answer
is known.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property, partial
from typing import Final

from twisted.internet.defer import Deferred

from refserver import ns
from refserver.core.feature import Feature, on
from refserver.core.hooks import (
    PresenceReceived,
    PresenceSent,
    SessionAvailable,
    SessionEnded,
    SessionUnavailable,
)
from refserver.core.sessions import UNAVAILABLE, Session
from refserver.errors import Condition, StanzaError
from refserver.features.presence.delivery import Delivery
from refserver.features.presence.subscriptions import Subscriptions
from refserver.features.roster import Roster, Rosters
from refserver.features.roster.stanzas import presences
from refserver.features.roster.states import SUBSCRIPTION_TYPES
from refserver.jid import JID
from refserver.stanza import Stanza, new_id
from refserver.xml.element import clark

MOST_DIRECTED: Final = 500
"""The most addresses outside the roster that a session may be present at, at once: rooms, mostly."""
LOWEST: Final = -128  # priority
HIGHEST: Final = 127

_PRIORITY: Final = clark(ns.CLIENT, "priority")
_BYTE: Final = re.compile(r"[ \t\r\n]*([+-]?[0-9]{1,9})[ \t\r\n]*").fullmatch


class Presence(Feature):
    """Tells who is here to those who may know. Needs `Rosters`."""

    name = "presence"
    after = ("blocking",)

    # -- for other features ----------------------------------------------------------

    def may_see(self, account: JID, watcher: JID) -> bool | Deferred[bool]:
        """True if `watcher` (bare) sees the presence of an account: by subscription or directed presence."""
        for session in self.core.sessions.of(account).values():
            if session.directed and any(jid.bare == watcher for jid in session.directed):
                return True
        return self._rosters.subscribed_to_presence(account, watcher)

    # -- what clients send -------------------------------------------------------------

    @on(PresenceSent)
    def sent(self, event: PresenceSent) -> bool | None:
        """Process a presence by its type. Raises `StanzaError`."""
        stanza, session = event.stanza, event.session
        type = stanza.type
        if type in SUBSCRIPTION_TYPES:
            self._subscriptions.send(stanza, session)
            return True
        if type in ("", "unavailable"):
            if stanza.to is not None:
                self._directed(session, stanza, stanza.to)
            elif type:
                self._unavailable(session, stanza)
            else:
                self._available(session, stanza)
        return None

    @on(SessionEnded)
    def ended(self, event: SessionEnded) -> None:
        """Say that a session is gone whose client did not (4.5.2)."""
        session = event.session
        if session.presence is not None or session.directed:
            self._unavailable(session, Stanza.presence(None, session.jid, "unavailable"))

    # -- what has come ------------------------------------------------------------------

    @on(PresenceReceived)
    def received(self, event: PresenceReceived) -> bool:
        """Deliver or process what has come for an account (8.5). Raises `StanzaError`."""
        stanza, account = event.stanza, event.account
        to = stanza.to
        assert to is not None
        type = stanza.type
        if type in SUBSCRIPTION_TYPES:
            if type == "subscribe" or to.is_bare or self.core.sessions.get(to) is not None:  # 8.5.3.2.2
                self._subscriptions.receive(stanza, account)
        elif type == "probe":
            self._rosters.when_loaded(stanza, account, self._answer, stanza, account)
        else:
            if type == "unavailable":
                self._left(stanza, account)
            if to.is_bare:
                self._delivery.to_account(stanza, account)
            else:
                self._delivery.to_resource(stanza, to)
        return True

    def _left(self, stanza: Stanza, account: JID) -> None:
        """4.6.1: who has become unavailable is not told when we do."""
        assert stanza.from_ is not None
        for session in self.core.sessions.of(account).values():
            if session.directed:
                session.directed.discard(stanza.from_)

    # -- broadcast ----------------------------------------------------------------------

    def _available(self, session: Session, stanza: Stanza) -> None:
        session.priority = priority_of(stanza)
        initial = session.presence is None
        stanza.changed()  # it is kept, and always sent with a `to`: the bytes it came in are of no use
        session.presence = stanza
        self._rosters.when_loaded(stanza, session.account, self._broadcast, session, stanza, initial)

    def _broadcast(self, roster: Roster | None, session: Session, stanza: Stanza, initial: bool) -> None:
        if roster is not None:
            self._delivery.fan_out(stanza, roster.subscribers())
        self._delivery.to_available(stanza.copy_to(session.account), session.account)
        if session.presence is None:
            return  # it has left while its roster was read
        if initial:
            self._greet(session, roster)
        self.core.hooks.tell(SessionAvailable(session, initial))

    def _greet(self, session: Session, roster: Roster | None) -> None:
        """Tell a session that has just become available what it missed."""
        for other in self.core.sessions.available(session.account):
            if other is not session and other.presence is not None:
                session.deliver(other.presence.copy_to(session.account))
        if roster is not None:
            self._probe(session, roster.subscriptions())
            for request in roster.requests():
                session.deliver(Stanza.stored(request))

    def _unavailable(self, session: Session, stanza: Stanza) -> None:
        """The end of a presence session, or at least of all directed presence."""
        was_available = session.presence is not None
        directed, session.directed = session.directed or set(), None
        session.presence, session.priority = None, UNAVAILABLE
        self._rosters.when_loaded(
            stanza, session.account, self._leave, session, stanza, was_available, directed
        )
        if was_available:
            self.core.hooks.tell(SessionUnavailable(session))

    def _leave(
        self, roster: Roster | None, session: Session, stanza: Stanza, was_available: bool, directed: set[JID]
    ) -> None:
        subscribers = roster.subscribers() if roster is not None and was_available else []
        self._delivery.fan_out(stanza, subscribers)
        if was_available:
            own = stanza.copy_to(session.account)
            self._delivery.to_available(own, session.account)
            if self.core.sessions.get(session.jid) is session:
                session.deliver(own)
        known = set(subscribers)
        self._delivery.route(stanza.copy_to(jid) for jid in directed if jid.bare not in known)

    # -- directed ------------------------------------------------------------------------

    def _directed(self, session: Session, stanza: Stanza, to: JID) -> None:
        """Remember whom to tell when the session becomes unavailable (4.6.3). Raises `StanzaError`."""
        directed = session.directed
        if stanza.type == "unavailable":
            if directed:
                directed.discard(to)
            return
        if to.bare == session.account or (session.presence is not None and self._sees(session, to.bare)):
            return  # told anyway
        if directed is None:
            directed = session.directed = set()
        if to not in directed and len(directed) >= MOST_DIRECTED:
            raise StanzaError(Condition.RESOURCE_CONSTRAINT, "present at too many places")
        directed.add(to)

    def _sees(self, session: Session, contact: JID) -> bool:
        roster = self._rosters.in_memory(session.account)
        return roster is not None and roster.shows_presence_to(contact)

    # -- probes --------------------------------------------------------------------

    def _probe(self, session: Session, contacts: Iterable[JID]) -> None:
        """Get the presence of contacts for a session that has become available (4.3.1)."""
        for contact in contacts:
            if self.core.sessions.of(contact):
                self._ask_here(session, contact)
            elif not self._delivery.is_account(contact):
                self.core.router.route(Stanza.presence(contact, session.account, "probe", new_id()))

    def _ask_here(self, session: Session, contact: JID) -> None:
        """A contact with an account here: its presence, or that there is no subscription (any more)."""
        roster = self._rosters.in_memory(contact)
        if roster is not None:
            self._tell(roster, session, contact)
        else:
            probe = Stanza.presence(contact, session.account, "probe")
            self._rosters.when_loaded(probe, contact, self._tell, session, contact)

    def _tell(self, roster: Roster | None, session: Session, contact: JID) -> None:
        account = session.account
        if roster is None or not roster.shows_presence_to(account):
            self.core.router.route(Stanza.presence(account, contact, "unsubscribed", new_id()))
            return
        for presence in presences(self.core.sessions, contact, account):
            session.deliver(presence)

    def _answer(self, roster: Roster | None, probe: Stanza, account: JID) -> None:
        """Answer a probe that has come for an account here (4.3.2)."""
        to, sender = probe.to, probe.from_
        assert to is not None
        assert sender is not None
        if sender.bare == account or (roster is not None and roster.shows_presence_to(sender.bare)):
            answers = self._of_resource(to, sender) if to.resourcepart else self._of_account(probe, account)
        elif self._has_directed(to, sender):
            answers = self._of_resource(to, sender)
        else:
            answers = [Stanza.presence(sender, account, "unsubscribed", probe.id)]
        # Behind an approval of the asker that is not committed yet, and has not been told.
        self._rosters.after_commits(account, partial(self._delivery.route, answers))

    def _of_account(self, probe: Stanza, account: JID) -> list[Stanza]:
        assert probe.from_ is not None
        found = presences(self.core.sessions, account, probe.from_)
        return found or [Stanza.presence(probe.from_, account, "unavailable", probe.id)]

    def _of_resource(self, to: JID, sender: JID) -> list[Stanza]:
        """Of one resource only whether it is available, no more (4.3.2, 4.6.6)."""
        session = self.core.sessions.get(to)
        if session is None:
            return [Stanza.presence(sender, to, "unavailable")]
        available = session.presence is not None or _directed_to(session, sender)
        return [Stanza.presence(sender, to, "" if available else "unavailable")]

    def _has_directed(self, to: JID, sender: JID) -> bool:
        session = self.core.sessions.get(to)
        return session is not None and _directed_to(session, sender)

    # -- parts ------------------------------------------------------------------------------

    @cached_property
    def _rosters(self) -> Rosters:
        return self.core.feature(Rosters)

    @cached_property
    def _delivery(self) -> Delivery:
        return Delivery(self.core, self._rosters)

    @cached_property
    def _subscriptions(self) -> Subscriptions:
        return Subscriptions(self.core, self._rosters, self._delivery)


def _directed_to(session: Session, jid: JID) -> bool:
    """True if a session has sent `jid`, or its bare JID, directed presence."""
    return session.directed is not None and (jid in session.directed or jid.bare in session.directed)


def priority_of(stanza: Stanza) -> int:
    """The priority that a presence announces, 0 if none.

    Raises `StanzaError` bad-request for more than one, for what is no integer, and for one
    out of bounds.
    """
    found = stanza.element.findall(_PRIORITY)
    if not found:
        return 0
    if len(found) > 1:
        raise StanzaError(Condition.BAD_REQUEST, "a presence has at most one priority")
    match = _BYTE(found[0].text or "")
    if match is None or len(found[0]) or not LOWEST <= int(match[1]) <= HIGHEST:
        raise StanzaError(Condition.BAD_REQUEST, f"a priority is an integer from {LOWEST} to {HIGHEST}")
    return int(match[1])
