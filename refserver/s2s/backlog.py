"""Stanzas that wait for a stream: few enough, small enough, and none forgotten.

Owns the limits, of one pair of domains and of all together. What becomes of the stanzas is way.py's
business, and those that were sent and not confirmed are window.py's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from attrs import define, field
from twisted.logger import Logger

from refserver import ns
from refserver.errors import StanzaError
from refserver.stanza import Stanza
from refserver.xml.element import Element

__all__ = ["OVERHEAD", "Backlog", "Budget", "Held"]

log = Logger()

MOST_STANZAS: Final = 1_000
MOST_BYTES: Final = 2 << 20
MOST_BYTES_TOGETHER: Final = 32 << 20
OVERHEAD: Final = 1_000  # what one waiting stanza costs beside its bytes, about


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
class Backlog:
    """The stanzas of one pair of domains, in order."""

    _budget: Budget
    _most_stanzas: int = MOST_STANZAS
    _most_bytes: int = MOST_BYTES
    _waiting: deque[Held] = field(factory=deque, init=False)
    _bytes: int = field(default=0, init=False)

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, stanza: Stanza) -> bool:
        """Let a stanza wait; False if there is no room for it."""
        data = stanza.encode(ns.SERVER)
        cost = len(data) + OVERHEAD
        full = len(self._waiting) >= self._most_stanzas or self._bytes + cost > self._most_bytes
        if full or cost > self._budget.left:
            return False
        self._count(cost)
        self._waiting.append(Held(stanza, data))
        return True

    def put_back(self, held: Sequence[Held]) -> None:
        """Let stanzas wait in front of all others, in their order. There is always room: it was theirs."""
        for each in reversed(held):
            self._count(each.cost)
            self._waiting.appendleft(each)

    def pop(self) -> Held:
        """The oldest one, which waits no longer. Raises IndexError if there is none."""
        held = self._waiting.popleft()
        self._count(-held.cost)
        return held

    def empty(self, take: Callable[[Held], None]) -> None:
        """Hand all that waits over, the oldest first; what comes meanwhile is not handed over."""
        waiting, self._waiting = self._waiting, deque()
        self._count(-self._bytes)
        for held in waiting:
            take(held)

    def _count(self, cost: int) -> None:
        self._bytes += cost
        self._budget.left -= cost
