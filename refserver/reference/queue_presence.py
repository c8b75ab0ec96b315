"""The queue as a contact: subscriptions, presence, business card, discovery (RFC 6121 3, XEP-0054, 0030).

Everybody who asks may subscribe. What subscribers see is who can answer and how soon. It is
pushed when it has changed, not more often than every few seconds, and minutes are told in
coarse steps: counts that only flicker are nobody's news.

Each subscriber is told what is new to him, once. Those on one other server are told in batches: the next
one leaves when that server has confirmed the last, and tells what is true by then. So a library with
thousands of subscribers elsewhere never has more on the way to a server than that server takes, and a
server that is away costs one batch each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field, frozen
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from refserver import ns
from refserver.core.core import Core
from refserver.core.iqs import Request, Target, disco_info, iq
from refserver.errors import StanzaError
from refserver.jid import JID
from refserver.payloads.disco import Identity, Info
from refserver.reference.duty import OnDuty, Waits
from refserver.reference.events import QuestionEvent
from refserver.reference.open_questions import OpenQuestions
from refserver.reference.profile import QueueProfile
from refserver.stanza import Stanza, Tracked
from refserver.storage import queues
from refserver.xml.element import Element, element

if TYPE_CHECKING:
    from refserver.core.core import Core

BATCH: Final = 200
"""Subscribers of one domain who are told at once."""
PATIENCE_SECONDS: Final = 120.0
"""A batch of which nothing was heard for so long holds the next one up no more."""


@frozen
class Status:
    """A presence as subscribers see it: the value of show ("" for available), and the text."""

    show: str
    text: str


@define(eq=False)
class _Part:
    """The subscribers of one domain, each with what he was told last; None: not known."""

    told: dict[JID, Status | None] = field(factory=dict)
    held_until: float = 0.0  # on the reactor's clock: a batch is under way


@define(eq=False, slots=False)
class Subscribers:
    """All subscribers of one queue. `presence` makes what a status looks like, without `to`."""

    _core: Core
    _presence: Callable[[Status], Stanza]

    def __attrs_post_init__(self) -> None:
        self._parts: dict[str, _Part] = {}
        self._status: Status | None = None

    def __contains__(self, jid: JID) -> bool:
        part = self._parts.get(jid.domainpart)
        return part is not None and jid in part.told

    def __iter__(self) -> Iterator[JID]:
        return (jid for part in list(self._parts.values()) for jid in list(part.told))

    def __len__(self) -> int:
        return sum(len(part.told) for part in self._parts.values())

    def at(self, domain: str) -> list[JID]:
        """Those at one domain."""
        part = self._parts.get(domain)
        return [] if part is None else list(part.told)

    def add(self, jid: JID, told: Status | None = None) -> None:
        """A bare JID has subscribed, and was told a status."""
        self._parts.setdefault(jid.domainpart, _Part()).told[jid] = told

    def update(self, jids: Iterable[JID]) -> None:
        """Those who had subscribed before this server was started."""
        for jid in jids:
            self.add(jid)

    def discard(self, jid: JID) -> None:
        """He has unsubscribed."""
        part = self._parts.get(jid.domainpart)
        if part is not None:
            part.told.pop(jid, None)
            if not part.told:
                del self._parts[jid.domainpart]

    def clear(self) -> None:
        """Nobody is told anything any more."""
        self._parts.clear()

    def tell(self, status: Status) -> None:
        """Tell everybody who was told something else."""
        self._status = status
        for domain in list(self._parts):
            self._next_batch(domain)

    def reachable(self, domain: str) -> None:
        """Another server is back: who of it missed something is told now."""
        part = self._parts.get(domain)
        if part is not None:
            part.held_until = 0.0
            self._next_batch(domain)

    def _next_batch(self, domain: str) -> None:
        part, status, now = self._parts.get(domain), self._status, self._core.clock.seconds()
        if part is None or status is None or now < part.held_until:
            return
        batch = list(islice((jid for jid, told in part.told.items() if told != status), BATCH))
        if not batch:
            return
        part.told.update(dict.fromkeys(batch, status))
        part.held_until = now + PATIENCE_SECONDS
        presence, route = self._presence(status), self._core.router.route
        for jid in batch[:-1]:
            route(presence.copy_to(jid))
        last, settled = presence.copy_to(batch[-1]), partial(self._settled, domain, status, batch)
        if self._core.hosts.is_local(domain):
            route(last)
            settled(None)
        else:
            route(Tracked(last, settled))

    def _settled(self, domain: str, status: Status, batch: list[JID], error: StanzaError | None) -> None:
        """A batch has arrived, or has come back. What came back is told again with the next change."""
        part = self._parts.get(domain)
        if part is None:
            return
        part.held_until = 0.0
        if error is None:
            self._core.clock.callLater(0, self._next_batch, domain)
        else:
            part.told.update({jid: None for jid in batch if part.told.get(jid) == status})


log = Logger()

FIRST_PUSH_SECONDS: Final = 1.0
"""The time from a change to the push: what changes together is pushed once."""
PUSH_SECONDS: Final = 5.0
"""The least time between two pushes."""
STEPS: Final = (1, 2, 3, 5, 10, 15, 20, 30, 45, 60)
"""Minutes of waiting that are told."""

FEATURES: Final = (ns.VCARD, ns.PING, ns.RECEIPTS, ns.CHATSTATES, ns.MARKERS, ns.CORRECT, ns.OOB)


@define(eq=False, slots=False)
class QueuePresence:
    """The queue as it is seen from outside."""

    _core: Core
    _profile: QueueProfile
    _open: OpenQuestions
    _on_duty: OnDuty
    _waits: Waits

    def __attrs_post_init__(self) -> None:
        self._pushed: Status | None = None
        self._gone = False
        self._pushed_at = float("-inf")
        self._timer: IDelayedCall | None = None
        self.subscribers = Subscribers(self._core, self._presence)

    # -- presence --------------------------------------------------------------------

    def status(self) -> Status:
        """The status that is true now."""
        texts, hours, now = self._profile.patron_texts, self._profile.hours, self._core.now()
        if not self._on_duty:
            closed = not hours.is_open(now)
            return Status("xa", texts.unstaffed(hours.next_opening(now) if closed else None))
        wait = self._waits.of(len(self._open.line(self._profile.id)) + 1) or 0.0
        if wait <= 0:
            return Status("", texts.free(len(self._on_duty)))
        return Status("away", texts.busy(_coarse(wait)))

    def handle(self, event: QuestionEvent) -> None:
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
            self._store(partial(self.dismiss, who), queues.unsubscribe, who)
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

    def dismiss(self, who: JID) -> None:
        """End a subscription that is none any more in the store (3.3.3)."""
        self.subscribers.discard(who)
        route = self._core.router.route
        route(Stanza.presence(who, self._profile.address, "unavailable"))
        route(Stanza.presence(who, self._profile.jid, "unsubscribed"))

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
        """Describe the queue."""
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
