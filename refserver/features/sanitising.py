"""Removes what only this server may say from what others send.

A `stanza-id` by an account here and a `delay` by a library here are this server's word
(XEP-0359 3, XEP-0203 5), and so are carbons, which it makes for its own accounts and never
receives (XEP-0280 11). An archive answers from a bare address, so what comes from a resource
is no archived message (XEP-0313 8). Clients trust all these: nobody else may write them,
however often and in whatever order.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Final

from refserver import ns
from refserver.core.feature import Feature, on
from refserver.core.hooks import MessageDelivering
from refserver.jid import JID, InvalidJID
from refserver.stanza import Stanza
from refserver.xml.element import Element, clark


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
