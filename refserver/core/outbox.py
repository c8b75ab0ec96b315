"""The windows of stanzas sent on a stream and not acknowledged yet (XEP-0198): numbered and bounded.

`Window` is one stream's, to a client or to another server. `Outbox` is the window of a client's session,
with the questions that the client owes an answer to. Nothing here knows the reactor or the clock: times are
passed in.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from attrs import define, field
from twisted.logger import Logger

from refserver import ns
from refserver.errors import StanzaError
from refserver.jid import JID
from refserver.stanza import Stanza
from refserver.stream.management import Management
from refserver.xml.element import Element, element

log = Logger()

MOST_STANZAS: Final = 5_000
MOST_BYTES: Final = 6 << 20
MOST_BYTES_TOGETHER: Final = 32 << 20
OVERHEAD: Final = 1_000  # what one waiting stanza costs beside its bytes, about
KEEP_ALL: Final = -(1 << 62)  # as the reserve of a window that never drops a stanza's bytes
ASK_STANZAS: Final = 32  # sent to a client behind the last acknowledgement: it is asked at once
ASK_BYTES: Final = 32_768
RESERVE: Final = MOST_BYTES_TOGETHER // 2  # of the budget: windows leave that to the backlogs


@define(eq=False)
class Budget:
    """The bytes that all backlogs and windows together have left."""

    left: int = MOST_BYTES_TOGETHER


class Held:
    """A stanza without its tree: what an error to the sender needs, and its bytes.

    `data` is b"" if there was no room for them: it cannot be sent again. `again` if it was sent already, on
    a stream that ended before it was confirmed. `number` is its place on the stream, `at` when it was sent
    first. `tracked` is its envelope if its sender wants to know what becomes of it.
    """

    __slots__ = ("again", "at", "data", "from_", "id", "kind", "number", "to", "tracked", "type")

    def __init__(self, stanza: Stanza, data: bytes, number: int = 0, at: float = 0.0) -> None:
        self.data = data
        self.number = number
        self.at = at
        self.again = False
        self.kind = stanza.kind
        self.to = stanza.to
        self.from_ = stanza.from_
        get = stanza.element.attrib.get
        self.type = get("type", "")
        self.id = get("id", "")
        self.tracked = stanza.envelope() if type(stanza) is not Stanza else None

    @property
    def cost(self) -> int:
        """The bytes it takes from the budget."""
        return len(self.data) + OVERHEAD

    @property
    def envelope(self) -> Stanza:
        """The stanzas that can be answered with an error."""
        if self.tracked is not None:
            return self.tracked
        attributes = {name: value for name, value in (("type", self.type), ("id", self.id)) if value}
        return Stanza(self.kind, Element(f"{{{ns.CLIENT}}}{self.kind}", attributes), self.to, self.from_)

    def settle(self, error: StanzaError | None) -> None:
        """As `Stanza.settle`: tell who wants to know what became of it."""
        if self.tracked is not None:
            try:
                self.tracked.settle(error)
            except Exception:
                log.failure("who tracks a {kind} could not be told", kind=self.kind)


@define(eq=False)
class Window:
    """The stanzas that one pair of domains has sent on its stream, oldest first.

    `full` if nothing more may be sent before something is confirmed, `half_full` if what can be spared
    should not be kept.
    """

    _budget: Budget
    _most_stanzas: int = MOST_STANZAS
    _most_bytes: int = MOST_BYTES
    _reserve: int = RESERVE
    full: bool = field(default=False, init=False)
    half_full: bool = field(default=False, init=False)
    _sent: list[Held] = field(factory=list, init=False)
    _bytes: int = field(default=0, init=False)

    def __len__(self) -> int:
        return len(self._sent)

    @property
    def overdrawn(self) -> bool:
        """True if all windows and backlogs of the budget have more than it allows."""
        return self._budget.left < 0

    @property
    def size(self) -> int:
        """The bytes of all stanzas together, as far as they are kept."""
        return self._bytes - len(self._sent) * OVERHEAD

    def __iter__(self) -> Iterator[Held]:
        return iter(self._sent)

    def add(self, held: Held) -> None:
        """Remember a stanza that was sent. If all together have too much already, its bytes are not kept: it
        can still be returned to its sender.
        """
        cost = len(held.data) + OVERHEAD
        if self._budget.left - cost < self._reserve:
            held.data = b""
            cost = OVERHEAD
        self._sent.append(held)
        self._count(cost)

    def confirm(self, number: int) -> bool:
        """All stanzas up to the `number`-th have arrived: tell who wants to know. Whether there were any."""
        sent = self._sent
        count = cost = 0
        for held in sent:
            if held.number > number:
                break
            count += 1
            cost += len(held.data) + OVERHEAD
        if not count:
            return False
        arrived = sent[:count]
        del sent[:count]
        self._count(-cost)
        for held in arrived:
            held.settle(None)
        return True

    def confirm_all(self) -> bool:
        """All stanzas have arrived."""
        return bool(self._sent) and self.confirm(self._sent[-1].number)

    def take_back(self) -> list[Held]:
        """All that is not confirmed, in order and without old presence; there is nothing afterwards."""
        return _worth_it(self.empty())

    def empty(self) -> list[Held]:
        """All that is not confirmed, in order; there is nothing afterwards."""
        sent, self._sent = self._sent, []
        self._count(-self._bytes)
        return sent

    def _count(self, cost: int) -> None:
        self._budget.left -= cost
        self._bytes += cost
        stanzas, total = len(self._sent), self._bytes
        self.full = stanzas >= self._most_stanzas or total >= self._most_bytes
        self.half_full = 2 * stanzas >= self._most_stanzas or 2 * total >= self._most_bytes


class Outbox:
    """The stanzas that one session's client was sent and has not acknowledged.

    With XEP-0198 (`management.on`) every stanza is held until the client's count covers it; without, only
    tracked stanzas are, until the client has answered a ping (XEP-0199) that was sent behind them. Whatever
    it answers, it has read what came before. `asked_at` is since when the oldest question is open, None if
    the client owes no answer. `resume_id` names the stream for `<resume/>`, "" if it cannot be resumed.
    """

    __slots__ = ("_pings", "_unasked", "_unasked_bytes", "asked_at", "management", "resume_id", "window")

    def __init__(self, budget: Budget) -> None:
        self.management = Management()
        self.window = Window(budget, reserve=KEEP_ALL)
        self.resume_id = ""
        self.asked_at: float | None = None
        self._pings: list[tuple[str, int, float]] = []  # their ids, what they stand behind, and since when
        self._unasked = 0
        self._unasked_bytes = 0

    @property
    def full(self) -> bool:
        """True if the session must be given up: it, or all together, have too much unacknowledged."""
        return self.window.full or self.window.overdrawn

    @property
    def much_unasked(self) -> bool:
        """True if so much was sent that the client is to be asked now."""
        much = self._unasked_bytes >= ASK_BYTES or self._unasked >= ASK_STANZAS
        return much and not (self.management.on and self.asked_at is not None)

    def hold(self, stanza: Stanza, to: JID | None, data: bytes, now: float) -> None:
        """Keep a stanza that was sent as `data`, to `to` if that is not its own address."""
        management = self.management
        management.sent += 1
        held = Held(stanza, data, management.sent, now)
        if to is not None:
            held.to = to
        self._unasked += 1
        self._unasked_bytes += len(data)
        self.window.add(held)

    def question(self, domain: JID, client: JID, now: float) -> bytes:
        """The request for an acknowledgement; b"" while the client owes one and was not sent much since."""
        if self.asked_at is not None and not self.much_unasked:
            return b""
        if self.asked_at is None:
            self.asked_at = now
        self._unasked = self._unasked_bytes = 0
        if self.management.on:
            return self.management.request()
        ping = Stanza.iq("get", client, domain, payload=element(ns.PING, "ping"))
        self._pings.append((ping.id, self.management.sent, now))
        return ping.wire()

    def acknowledged(self, number: int) -> None:
        """The client has handled everything up to the `number`-th stanza."""
        self._pings = [ping for ping in self._pings if ping[1] > number]
        self.asked_at = self._pings[0][2] if self._pings else None
        self.window.confirm(number)

    def answered(self, id: str) -> bool:
        """Take the answer to a ping; False if none with that id is open."""
        for ping, number, _ in self._pings:
            if ping == id:
                self.acknowledged(number)
                return True
        return False

    def cut(self, now: float) -> None:
        """The connection is gone: an answer to what was asked on it cannot come, but is still owed."""
        self.management.asked = False
        if self.asked_at is None:
            self.asked_at = now

    def resumed(self) -> list[bytes]:
        """The stanzas to send again on another connection, in order; nothing is owed there yet."""
        self.management.asked = False
        self.asked_at = None
        self._pings.clear()
        return [held.data for held in self.window]


def parted(held: list[Held]) -> tuple[list[Held], list[Held]]:
    """The stanzas that go out on another stream, and those that come back, both in order.

    Back comes what was sent twice, and what has no bytes. And what is tracked behind something tracked that
    comes back, between the same two addresses: its sender tries all of it again, in this order.
    """
    once: list[Held] = []
    rest: list[Held] = []
    blocked = set()
    for each in held:
        pair = each.from_, each.to
        if each.again or not each.data or (each.tracked is not None and pair in blocked):
            rest.append(each)
            if each.tracked is not None:
                blocked.add(pair)
        else:
            once.append(each)
    return once, rest


def _worth_it(sent: list[Held]) -> list[Held]:
    """Without presence to a bare address that a newer one from the same sender follows.

    Presence to full addresses enters and leaves rooms: each counts.
    """
    newer: set[tuple[object, object]] = set()
    kept = []
    for held in reversed(sent):
        if (
            held.kind == "presence"
            and held.type in ("", "unavailable")
            and held.to is not None
            and held.to.is_bare
        ):
            pair = held.from_, held.to
            if pair in newer:
                held.settle(None)  # it has been outlived
                continue
            newer.add(pair)
        kept.append(held)
    kept.reverse()
    return kept
