"""Removes what only this server may say from what others send.

A `stanza-id` by an account here and a `delay` by a library here are this server's word
(XEP-0359 security considerations, XEP-0203 section 6); clients trust them, so nobody else
may write them, however often and in whatever order.
"""

from __future__ import annotations

from typing import Final

from refserver import ns
from refserver.core.feature import Feature, on
from refserver.core.hooks import MessageDelivering
from refserver.jid import JID, InvalidJID
from refserver.stanza import Stanza
from refserver.xml.element import Element

__all__ = ["Forgeries", "strip"]

STANZA_ID: Final = f"{{{ns.SID}}}stanza-id"
DELAY: Final = f"{{{ns.DELAY}}}delay"


class Forgeries(Feature):
    """Strips forged stanza ids and delays before a message is delivered."""

    name = "forgeries"

    @on(MessageDelivering)
    def strip(self, event: MessageDelivering) -> None:
        """Remove stanza ids by the account and delays by its library."""
        strip(event.stanza, event.account)


def strip(stanza: Stanza, by: JID) -> None:
    """Remove every stanza id by `by` and every delay by its domain from a stanza."""
    element = stanza.element
    if element.find(STANZA_ID) is not None:
        _remove(stanza, [e for e in element.findall(STANZA_ID) if _is(e.get("by"), by)])
    if element.find(DELAY) is not None:
        domain = JID.parse(by.domainpart)
        _remove(stanza, [e for e in element.findall(DELAY) if _is(e.get("from"), domain, by)])


def _remove(stanza: Stanza, forged: list[Element]) -> None:
    for element in forged:
        stanza.element.remove(element)
    if forged:
        stanza.changed()


def _is(written: str | None, *trusted: JID) -> bool:
    try:
        return written is not None and JID.parse(written) in trusted
    except InvalidJID:
        return True  # names nobody; not worth forwarding
