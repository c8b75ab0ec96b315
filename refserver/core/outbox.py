"""Stanzas that were sent on a stream and are not confirmed yet: bounded, and none forgotten.

Owns their order, their limits, and which of them are worth sending again. When confirmation is asked for is
acknowledgement.py's business.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from attrs import define, field
from twisted.logger import Logger

from refserver import ns
from refserver.errors import StanzaError
from refserver.stanza import Stanza
from refserver.xml.element import Element

__all__ = ["OVERHEAD", "Budget", "Held", "Window", "parted"]

log = Logger()

MOST_STANZAS: Final = 5_000
MOST_BYTES: Final = 6 << 20
MOST_BYTES_TOGETHER: Final = 32 << 20
OVERHEAD: Final = 1_000  # what one waiting stanza costs beside its bytes, about
RESERVE: Final = MOST_BYTES_TOGETHER // 2  # of the budget: windows leave that to the backlogs


@define(eq=False)
class Budget:
    """The bytes that all backlogs and windows together have left."""

    left: int = MOST_BYTES_TOGETHER


class Held:
    """A stanza without its tree: what an error to the sender needs, and its bytes.

    `data` is b"" if there was no room for them: it cannot be sent again. `again` if it was sent already, on
    a stream that ended before it was confirmed. `number` is its place on the stream. `tracked` is its
    envelope if its sender wants to know what becomes of it.
    """

    __slots__ = ("again", "data", "from_", "id", "kind", "number", "to", "tracked", "type")

    def __init__(self, stanza: Stanza, data: bytes, number: int = 0) -> None:
        self.data = data
        self.number = number
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
        """What it takes from the budget, in bytes."""
        return len(self.data) + OVERHEAD

    @property
    def envelope(self) -> Stanza:
        """What can be answered with an error."""
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
    """What one pair of domains has sent on its stream, oldest first.

    `full` if nothing more may be sent before something is confirmed, `half_full` if what can be spared
    should not be kept.
    """

    _budget: Budget
    _most_stanzas: int = MOST_STANZAS
    _most_bytes: int = MOST_BYTES
    _reserve: int = RESERVE
    full: bool = field(default=False, init=False)
    half_full: bool = field(default=False, init=False)
    _sent: deque[Held] = field(factory=deque, init=False)
    _bytes: int = field(default=0, init=False)

    def __len__(self) -> int:
        return len(self._sent)

    @property
    def size(self) -> int:
        """The bytes of all stanzas together, as far as they are kept."""
        return self._bytes - len(self._sent) * OVERHEAD

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
        tracked = []
        cost, before = 0, len(sent)
        while sent and sent[0].number <= number:
            held = sent.popleft()
            cost += len(held.data) + OVERHEAD
            if held.tracked is not None:
                tracked.append(held)
        self._count(-cost)
        any_at_all = len(sent) != before
        for held in tracked:
            held.settle(None)
        return any_at_all

    def confirm_all(self) -> bool:
        """All stanzas have arrived."""
        return bool(self._sent) and self.confirm(self._sent[-1].number)

    def take_back(self) -> list[Held]:
        """All that is not confirmed, in order and without old presence; there is nothing afterwards."""
        sent = list(self._sent)
        self._sent.clear()
        self._count(-self._bytes)
        return _worth_it(sent)

    def _count(self, cost: int) -> None:
        self._budget.left -= cost
        self._bytes += cost
        stanzas, total = len(self._sent), self._bytes
        self.full = stanzas >= self._most_stanzas or total >= self._most_bytes
        self.half_full = 2 * stanzas >= self._most_stanzas or 2 * total >= self._most_bytes


def parted(held: list[Held]) -> tuple[list[Held], list[Held]]:
    """What goes out on another stream, and what comes back, both in order.

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
