"""Protects accounts: decides which iqs reach their full JIDs, and removes what only this server may say.

Everybody may send iqs to a resource that has sent available presence (RFC 6121 8.5.3.1): file transfer, pings
and the like work between people who share no presence. A resource that has not is there for nobody but those
who may see the account's presence. Roster pushes come from nobody but this server (RFC 6121 2.1.6).

A `stanza-id` by an account here and a `delay` by a library here are this server's word (XEP-0359 3, XEP-0203
5), and so are carbons, which it makes for its own accounts and never receives (XEP-0280 11). An archive
answers from a bare address, so what comes from a resource is no archived message (XEP-0313 8). Clients trust
all these: nobody else may write them, however often and in whatever order.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Final

from refserver import ns
from refserver.core.feature import Feature, on
from refserver.core.hooks import IqDelivering, MessageDelivering
from refserver.errors import Condition, StanzaError
from refserver.features.presence import Presence
from refserver.jid import JID, InvalidJID
from refserver.stanza import Stanza
from refserver.xml.element import Element, clark

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


class Sanitising(Feature):
    """Strips forged stanza ids, delays, carbons and archived messages before a message is delivered."""

    name = "sanitising"

    @on(MessageDelivering)
    def strip(self, event: MessageDelivering) -> None:
        """Remove what the account and its library have not written."""
        strip(event.stanza, event.account)


def strip(stanza: Stanza, account: JID) -> None:
    """Remove from a stanza for `account` what only the account or its library may have put there.

    The tree is left as it is, as other recipients may share it: the stanza gets one of its own.
    """
    element = stanza.element
    forged = [
        child for child in element if child.tag in _FORGED and _FORGED[child.tag](child, stanza, account)
    ]
    if forged:
        stanza.element = copy.copy(element)
        for child in forged:
            stanza.element.remove(child)
        stanza.changed()


def _by_us(stanza_id: Element, stanza: Stanza, account: JID) -> bool:
    return _names(stanza_id.get("by"), account)


def _from_us(delay: Element, stanza: Stanza, account: JID) -> bool:
    return _names(delay.get("from"), account, JID.parse(account.domainpart))


def _by_a_resource(result: Element, stanza: Stanza, account: JID) -> bool:
    return stanza.from_ is not None and not stanza.from_.is_bare


def _always(carbon: Element, stanza: Stanza, account: JID) -> bool:
    return True


def _names(written: str | None, *trusted: JID) -> bool:
    try:
        return written is not None and JID.parse(written) in trusted
    except InvalidJID:
        return True  # names nobody; not worth forwarding


_FORGED: Final[Mapping[str, Callable[[Element, Stanza, JID], bool]]] = {
    clark(ns.SID, "stanza-id"): _by_us,
    clark(ns.DELAY, "delay"): _from_us,
    clark(ns.CARBONS, "received"): _always,
    clark(ns.CARBONS, "sent"): _always,
    clark(ns.ARCHIVE, "result"): _by_a_resource,
}
