"""Delivery of messages to accounts here, by the rules of RFC 6121 8.5.

A message to a bare JID goes to every resource with a non-negative priority (8.5.2.1.1
leaves the choice; so a patron who changes device, or a librarian with two, misses nothing).
"""

from __future__ import annotations

from refserver.core.feature import Feature, on
from refserver.core.hooks import MessageDelivering, MessageUndelivered
from refserver.errors import Condition, StanzaError

__all__ = ["Messages"]


class Messages(Feature):
    """Chooses the sessions that get a message; the last to see a `MessageDelivering`."""

    name = "messages"
    after = ("blocking", "archive", "carbons", "sanitising")

    @on(MessageDelivering)
    def deliver(self, event: MessageDelivering) -> bool:
        """Deliver, hand to those who keep undelivered messages, or refuse. Raises `StanzaError`."""
        stanza = event.stanza
        to = stanza.to
        assert to is not None
        if to.resourcepart:
            session = self.core.sessions.get(to)
            if session is not None:  # 8.5.3.1: a connected resource, available or not
                session.deliver(stanza)
                return True
            if stanza.type != "chat":  # 8.5.3.2.1
                return self._refuse(event)
        elif stanza.type == "groupchat":  # 8.5.2.1.1: only rooms may send these, to full JIDs
            return self._refuse(event)
        if stanza.type != "error" and not self._to_bare(event):
            self._undelivered(event)
        return True

    def _to_bare(self, event: MessageDelivering) -> bool:
        """Send to every resource with a non-negative priority; False if there is none."""
        delivered = False
        for session in self.core.sessions.of(event.account).values():
            if session.priority >= 0:
                session.deliver(event.stanza)
                delivered = True
        return delivered

    def _undelivered(self, event: MessageDelivering) -> None:
        """8.5.2.2.1: chat and normal messages may be kept, headlines are dropped."""
        if event.stanza.type == "headline":
            return
        if not self.core.hooks.run(MessageUndelivered(event.stanza, event.host, event.account)):
            raise StanzaError(Condition.SERVICE_UNAVAILABLE)

    @staticmethod
    def _refuse(event: MessageDelivering) -> bool:
        if event.stanza.type == "error":
            return True
        raise StanzaError(Condition.SERVICE_UNAVAILABLE)
