"""The queue as a contact: subscriptions, presence, business card, discovery (RFC 6121 3, XEP-0054, 0030).

Everybody who asks may subscribe. What subscribers see is who can answer and how soon. It is
pushed when it has changed, not more often than every few seconds, and minutes are told in
coarse steps: counts that only flicker are nobody's news. How it reaches many is subscribers.py's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.interfaces import IDelayedCall

from refserver import ns
from refserver.errors import Condition, StanzaError
from refserver.jid import JID
from refserver.payloads.disco import info, items
from refserver.reference.subscribers import Status, Subscribers
from refserver.stanza import Stanza
from refserver.storage import queues
from refserver.xml.element import Element, clark, element

if TYPE_CHECKING:
    from refserver.reference.queue import Queue

__all__ = ["QueuePresence", "Status"]

FIRST_PUSH_SECONDS: Final = 1.0
"""How long after a change the presence is pushed: what changes together is pushed once."""
PUSH_SECONDS: Final = 5.0
"""The least time between two pushes."""
STEPS: Final = (1, 2, 3, 5, 10, 15, 20, 30, 45, 60)
"""Minutes of waiting that are told."""

_INFO: Final = clark(ns.DISCO_INFO, "query")
_ITEMS: Final = clark(ns.DISCO_ITEMS, "query")
_VCARD: Final = clark(ns.VCARD, "vCard")
_PING: Final = clark(ns.PING, "ping")
FEATURES: Final = (ns.VCARD, ns.PING, ns.RECEIPTS, ns.CHATSTATES, ns.MARKERS, ns.CORRECT, ns.OOB)


class QueuePresence:
    """What of a queue is seen from outside."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._pushed: Status | None = None
        self._pushed_at = float("-inf")
        self._timer: IDelayedCall | None = None
        self.subscribers = Subscribers(queue.core, self._presence)

    # -- presence --------------------------------------------------------------------

    def status(self) -> Status:
        """What is true now."""
        texts, now = self._queue.patron_texts, self._queue.core.now()
        duties = self._queue.desk.duties()
        if not duties:
            closed = not self._queue.hours.is_open(now)
            return Status("xa", texts.unstaffed(self._queue.hours.next_opening(now) if closed else None))
        wait = self._queue.offers.wait(len(self._queue.board.line()) + 1) or 0.0
        if wait <= 0:
            return Status("", texts.free(len(duties)))
        return Status("away", texts.busy(_coarse(wait)))

    def update(self) -> None:
        """Something has changed that subscribers may see: push it soon, if it is still so then."""
        if self._timer is None and self.status() != self._pushed:
            clock = self._queue.core.clock
            soon = max(FIRST_PUSH_SECONDS, self._pushed_at + PUSH_SECONDS - clock.seconds())
            self._timer = clock.callLater(soon, self._push)

    def stop(self) -> None:
        """No more pushes."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def leave(self) -> None:
        """The queue is no more."""
        self.stop()
        gone = Stanza.presence(None, self._queue.address, "unavailable")
        for jid in self.subscribers:
            self._queue.core.router.route(gone.copy_to(jid))
        self.subscribers.clear()

    def _push(self) -> None:
        self._timer = None
        status = self.status()
        if status != self._pushed:
            self._pushed, self._pushed_at = status, self._queue.core.clock.seconds()
        self.subscribers.tell(status)  # who subscribed in between may have been told something else

    def _presence(self, status: Status) -> Stanza:
        show = [element(ns.CLIENT, "show", text=status.show)] if status.show else []
        text = element(ns.CLIENT, "status", text=status.text)
        return Stanza.presence(None, self._queue.address, children=[*show, text])

    # -- what comes --------------------------------------------------------------------

    def presence(self, stanza: Stanza) -> None:
        """A presence for the queue's own address."""
        assert stanza.from_ is not None
        who = stanza.from_.bare
        if stanza.type == "subscribe":
            self._store(partial(self._subscribed, who), queues.subscribe, who, self._queue.core.now())
        elif stanza.type == "unsubscribe":
            self._store(partial(self._unsubscribed, who), queues.unsubscribe, who)
        elif stanza.type == "probe":
            self._probed(stanza.from_)

    def _store(self, then: Callable[[], None], change: Callable[..., Any], *args: object) -> None:
        stored = self._queue.core.database.write(change, self._queue.record.id, *args)
        self._queue.watch(stored.addCallback(lambda _: then()))

    def _subscribed(self, who: JID) -> None:
        """RFC 6121 3.1.5: the approval, then the presence."""
        status, route = self.status(), self._queue.core.router.route
        self.subscribers.add(who, status)
        route(Stanza.presence(who, self._queue.jid, "subscribed"))
        route(self._presence(status).copy_to(who))

    def _unsubscribed(self, who: JID) -> None:
        """3.3.3."""
        self.subscribers.discard(who)
        route = self._queue.core.router.route
        route(Stanza.presence(who, self._queue.address, "unavailable"))
        route(Stanza.presence(who, self._queue.jid, "unsubscribed"))

    def dismiss(self, who: JID) -> None:
        """A subscriber was blocked, and is none any more in the store."""
        self._unsubscribed(who)

    def _probed(self, who: JID) -> None:
        """4.3.2."""
        route = self._queue.core.router.route
        if who.bare in self.subscribers:
            route(self._presence(self.status()).copy_to(who))
        else:
            route(Stanza.presence(who.bare, self._queue.jid, "unsubscribed"))

    # -- card and discovery --------------------------------------------------------------

    def ask(self, stanza: Stanza) -> Element | None:
        """The answer to an iq for the queue's own address. Raises `StanzaError`."""
        payload = stanza.payload
        assert payload is not None
        if stanza.type == "get":
            if payload.tag == _INFO and not payload.get("node"):
                name = self._queue.record.title or self._queue.jid.localpart
                return info(("collaboration", "workgroup", name), FEATURES)
            if payload.tag == _ITEMS and not payload.get("node"):
                return items(())
            if payload.tag == _VCARD:
                return self._card()
            if payload.tag == _PING:
                return None
        raise StanzaError(Condition.SERVICE_UNAVAILABLE)

    def _card(self) -> Element:
        record, settings = self._queue.record, self._queue.settings
        name = record.title or self._queue.jid.localpart
        lines = [("FN", name), ("NICKNAME", name), ("URL", settings.web_page), ("DESC", record.hours)]
        card = element(ns.VCARD, "vCard")
        card.extend(element(ns.VCARD, tag, text=text) for tag, text in lines if text)
        card.append(element(ns.VCARD, "JABBERID", None, text=self._queue.jid.text))
        return card


def _coarse(seconds: float) -> float:
    """The step of minutes that a wait is told as, in seconds."""
    minutes = seconds / 60
    return 60.0 * next((step for step in STEPS if minutes <= step), STEPS[-1])
