"""Delivers presence: to the sessions of accounts here directly, to all else by the router.

A presence that is broadcast costs one serialisation, and for each contact here a dictionary
look-up, its `to` and the session's buffer. Deliveries to an account whose roster is just
being committed stand in line behind that commit, so that a client hears of an approved
subscription before the presence that comes with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from refserver.core.core import Core
from refserver.core.hooks import PresenceReceived
from refserver.features.roster import Rosters
from refserver.jid import JID
from refserver.stanza import Stanza


class Delivery:
    """Takes presences whose `from_` and (but for `fan_out`) `to` are set."""

    def __init__(self, core: Core, rosters: Rosters) -> None:
        self._core = core
        self._sessions = core.sessions
        self._rosters = rosters
        # Another feature that wants to see what accounts receive gets to see all of it.
        self._watched = len(core.hooks.of(PresenceReceived)) > 1

    def fan_out(self, stanza: Stanza, recipients: Iterable[JID]) -> None:
        """Give each recipient (bare JIDs) a copy."""
        sessions, busy = self._sessions, self._rosters.busy
        for jid in recipients:
            resources = sessions.of(jid)
            if not resources and self.is_account(jid):
                continue  # RFC 6121 8.5.2.2.2: nobody there
            copy = stanza.copy_to(jid)
            if not resources or self._watched or jid in busy or self._is_gated(stanza, jid):
                self._core.router.route(copy)
                continue
            for session in tuple(resources.values()):
                if session.presence is not None:
                    session.deliver(copy)

    def to_account(self, stanza: Stanza, account: JID) -> None:
        """Give an account's available resources what has come for its bare JID, after its commits."""
        self._rosters.after_commits(account, partial(self.to_available, stanza, account))

    def to_resource(self, stanza: Stanza, to: JID) -> None:
        """Give a resource, available or not, what has come for its full JID, after its account's commits."""
        self._rosters.after_commits(to.bare, partial(self._to_resource, stanza, to))

    def to_available(self, stanza: Stanza, account: JID) -> None:
        """Give an account's available resources a stanza now."""
        for session in self._sessions.available(account):
            session.deliver(stanza)

    def to_interested(self, stanza: Stanza, account: JID) -> None:
        """Give an account's interested resources a stanza now."""
        for session in self._sessions.interested(account):
            session.deliver(stanza)

    def is_account(self, jid: JID) -> bool:
        """True if a bare JID has the form of an account's address here. The account need not exist."""
        host = self._core.hosts.get(jid.domainpart)
        return host is not None and bool(jid.localpart) and host.find(jid.localpart) is None

    def _is_gated(self, stanza: Stanza, to: JID) -> bool:
        """True if a presence from another library here has to pass a gate, at which the router stands."""
        gates = self._core.hosts.gates
        return bool(gates) and stanza.from_ is not None and stanza.from_.domainpart != to.domainpart

    def route(self, stanzas: Iterable[Stanza]) -> None:
        """Send stanzas on their way, one after the other."""
        for stanza in stanzas:
            self._core.router.route(stanza)

    def _to_resource(self, stanza: Stanza, to: JID) -> None:
        session = self._sessions.get(to)
        if session is not None:
            session.deliver(stanza)
