"""The queue as a contact: subscriptions, presence, business card, discovery (RFC 6121 3, XEP-0054, 0030).

Everybody who asks may subscribe. What subscribers see is who can answer and how soon. It is
pushed when it has changed, not more often than every few seconds, and minutes are told in
coarse steps: counts that only flicker are nobody's news. How it reaches many is subscribers.py's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from refserver import ns
from refserver.core.core import Core
from refserver.core.iqs import Request, Target, disco_info, iq
from refserver.jid import JID
from refserver.payloads.disco import Identity, Info
from refserver.reference.duty import OnDuty, Waits
from refserver.reference.events import QuestionEvent
from refserver.reference.open_questions import OpenQuestions
from refserver.reference.profile import QueueProfile
from refserver.reference.subscribers import Status, Subscribers
from refserver.stanza import Stanza
from refserver.storage import queues
from refserver.xml.element import Element, element

log = Logger()

FIRST_PUSH_SECONDS: Final = 1.0
"""How long after a change the presence is pushed: what changes together is pushed once."""
PUSH_SECONDS: Final = 5.0
"""The least time between two pushes."""
STEPS: Final = (1, 2, 3, 5, 10, 15, 20, 30, 45, 60)
"""Minutes of waiting that are told."""

FEATURES: Final = (ns.VCARD, ns.PING, ns.RECEIPTS, ns.CHATSTATES, ns.MARKERS, ns.CORRECT, ns.OOB)


class QueuePresence:
    """What of a queue is seen from outside."""

    def __init__(
        self, core: Core, profile: QueueProfile, open_questions: OpenQuestions, on_duty: OnDuty, waits: Waits
    ) -> None:
        self._core = core
        self._profile = profile
        self._open = open_questions
        self._on_duty = on_duty
        self._waits = waits
        self._pushed: Status | None = None
        self._gone = False
        self._pushed_at = float("-inf")
        self._timer: IDelayedCall | None = None
        self.subscribers = Subscribers(core, self._presence)

    # -- presence --------------------------------------------------------------------

    def status(self) -> Status:
        """What is true now."""
        texts, hours, now = self._profile.patron_texts, self._profile.hours, self._core.now()
        if not self._on_duty:
            closed = not hours.is_open(now)
            return Status("xa", texts.unstaffed(hours.next_opening(now) if closed else None))
        wait = self._waits.of(len(self._open.line(self._profile.id)) + 1) or 0.0
        if wait <= 0:
            return Status("", texts.free(len(self._on_duty)))
        return Status("away", texts.busy(_coarse(wait)))

    def handle(self, event: QuestionEvent) -> None:
        """React to an event."""
        self.update()

    def update(self) -> None:
        """Something has changed that subscribers may see: push it soon, if it is still so then."""
        if self._timer is None and self.status() != self._pushed:
            clock = self._core.clock
            soon = max(FIRST_PUSH_SECONDS, self._pushed_at + PUSH_SECONDS - clock.seconds())
            self._timer = clock.callLater(soon, self._push)

    def stop(self) -> None:
        """No more pushes."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def leave(self) -> None:
        """The queue is no more, or the server stops: tell every subscriber."""
        self.stop()
        gone = Stanza.presence(None, self._profile.address, "unavailable")
        for jid in self.subscribers:
            self._core.router.route(gone.copy_to(jid))
        self.subscribers.clear()
        self._gone = True

    def _push(self) -> None:
        self._timer = None
        status = self.status()
        if status != self._pushed:
            self._pushed, self._pushed_at = status, self._core.clock.seconds()
        self.subscribers.tell(status)  # who subscribed in between may have been told something else

    def _presence(self, status: Status) -> Stanza:
        show = [element(ns.CLIENT, "show", text=status.show)] if status.show else []
        text = element(ns.CLIENT, "status", text=status.text)
        return Stanza.presence(None, self._profile.address, children=[*show, text])

    # -- what comes --------------------------------------------------------------------

    def receive(self, stanza: Stanza) -> None:
        """A presence for the queue's own address."""
        assert stanza.from_ is not None
        who = stanza.from_.bare
        if stanza.type == "subscribe":
            self._store(partial(self._subscribed, who), queues.subscribe, who, self._core.now())
        elif stanza.type == "unsubscribe":
            self._store(partial(self._unsubscribed, who), queues.unsubscribe, who)
        elif stanza.type == "probe":
            self._probed(stanza.from_)

    def _store(self, then: Callable[[], None], change: Callable[..., Any], *args: object) -> None:
        stored = self._core.database.write(change, self._profile.id, *args)
        stored.addCallback(lambda _: then())
        stored.addErrback(lambda failure: log.failure("a subscription could not be stored", failure=failure))

    def _subscribed(self, who: JID) -> None:
        """RFC 6121 3.1.5: the approval, then the presence."""
        status, route = self.status(), self._core.router.route
        self.subscribers.add(who, status)
        route(Stanza.presence(who, self._profile.jid, "subscribed"))
        route(self._presence(status).copy_to(who))

    def _unsubscribed(self, who: JID) -> None:
        """3.3.3."""
        self.subscribers.discard(who)
        route = self._core.router.route
        route(Stanza.presence(who, self._profile.address, "unavailable"))
        route(Stanza.presence(who, self._profile.jid, "unsubscribed"))

    def dismiss(self, who: JID) -> None:
        """A subscriber was blocked, and is none any more in the store."""
        self._unsubscribed(who)

    def _probed(self, who: JID) -> None:
        """4.3.2."""
        route = self._core.router.route
        if self._gone:  # `unsubscribed` would end a subscription that holds after the next start
            route(Stanza.presence(who, self._profile.address, "unavailable"))
        elif who.bare in self.subscribers:
            route(self._presence(self.status()).copy_to(who))
        else:
            route(Stanza.presence(who.bare, self._profile.jid, "unsubscribed"))

    # -- card and discovery --------------------------------------------------------------

    @disco_info(to=Target.QUEUE)
    def info(self, request: Request) -> Info:
        """What the queue is."""
        return Info((Identity("collaboration", "workgroup", self._profile.title),), FEATURES)

    @iq("get", ns.PING, "ping", to=Target.QUEUE)
    def ping(self, request: Request) -> None:
        """XEP-0199."""

    @iq("get", ns.VCARD, "vCard", to=Target.QUEUE)
    def card(self, request: Request) -> Element:
        """The business card (XEP-0054)."""
        record, settings = self._profile.record, self._profile.settings
        name = self._profile.title
        lines = [("FN", name), ("NICKNAME", name), ("URL", settings.web_page), ("DESC", record.hours)]
        card = element(ns.VCARD, "vCard")
        card.extend(element(ns.VCARD, tag, text=text) for tag, text in lines if text)
        card.append(element(ns.VCARD, "JABBERID", None, text=self._profile.jid.text))
        return card


def _coarse(seconds: float) -> float:
    """The step of minutes that a wait is told as, in seconds."""
    minutes = seconds / 60
    return 60.0 * next((step for step in STEPS if minutes <= step), STEPS[-1])
