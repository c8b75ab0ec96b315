"""Presence of sessions: broadcast, directed, and its end (RFC 6121 4).

Owns what a session's `presence`, `priority` and `directed` say. Everything that is about
subscriptions or probes is passed on to subscriptions.py and probes.py.
"""

from __future__ import annotations

from functools import cached_property
from typing import Final

from twisted.internet.defer import Deferred

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
from refserver.features.presence.probes import Probes
from refserver.features.presence.subscriptions import Subscriptions
from refserver.features.roster import Roster, Rosters
from refserver.features.roster.presence_stanzas import priority_of
from refserver.features.roster.states import SUBSCRIPTION_TYPES
from refserver.jid import JID
from refserver.stanza import Stanza

MOST_DIRECTED: Final = 500
"""To how many addresses outside the roster a session may be present at once: rooms, mostly."""


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
            self._probes.answer(stanza, account)
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
            self._probes.ask(session, roster.subscriptions())
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

    @cached_property
    def _probes(self) -> Probes:
        return Probes(self.core, self._rosters, self._delivery)
