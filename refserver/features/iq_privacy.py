"""Decides which iqs reach the full JIDs of accounts here (RFC 6121 8.5.3.1).

Everybody may ask a resource that has sent available presence: file transfer, pings and the like work between
people who share no presence. A resource that has not is there for nobody but those who may see the account's
presence. Roster pushes come from nobody but this server (RFC 6121 2.1.6).
"""

from __future__ import annotations

from refserver import ns
from refserver.core.feature import Feature, on
from refserver.core.hooks import IqDelivering
from refserver.errors import Condition, StanzaError
from refserver.features.presence import Presence
from refserver.jid import JID
from refserver.xml.element import clark

_ROSTER = clark(ns.ROSTER, "query")


class IqPrivacy(Feature):
    """Refuses iqs to full JIDs that must not reach them."""

    name = "iq privacy"

    @on(IqDelivering)
    def refuse(self, event: IqDelivering) -> None:
        """Raises `StanzaError`, the same as for a resource that is not there."""
        sender, to, payload = event.stanza.from_, event.stanza.to, event.stanza.payload
        assert sender is not None
        assert to is not None
        if sender.bare == event.account or self._is_ours(sender):
            return
        session = self.core.sessions.get(to)
        is_available = session is not None and session.presence is not None
        allowed = is_available or self._may_see(event.account, sender.bare)
        if payload is None or payload.tag == _ROSTER or not allowed:
            raise StanzaError(Condition.SERVICE_UNAVAILABLE)

    def _is_ours(self, sender: JID) -> bool:
        # A library itself. Rooms and components have domains here too, and others speak through them.
        return not sender.localpart and self.core.hosts.get(sender.domainpart) is not None

    def _may_see(self, account: JID, watcher: JID) -> bool:
        # The roster of an account with a session is in memory; if it could not be read, nobody is known.
        return self.core.feature(Presence).may_see(account, watcher) is True
