"""Stanzas that wait for a stream: few enough, small enough, and none forgotten.

Owns the limits, of one pair of domains and of all together. What becomes of the stanzas is way.py's
business, and those that were sent and not confirmed are core/outbox.py's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from attrs import define, field

from refserver import ns
from refserver.core.outbox import OVERHEAD, Budget, Held
from refserver.stanza import Stanza

__all__ = ["Backlog"]

MOST_STANZAS: Final = 1_000
MOST_BYTES: Final = 2 << 20


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
