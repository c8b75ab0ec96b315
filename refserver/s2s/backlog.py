"""Stanzas that wait while a stream is being set up: few enough, small enough, and none forgotten.

Owns the limits, of one pair of domains and of all together. What becomes of the stanzas is way.py's
business.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import define, field

from refserver import ns
from refserver.stanza import Stanza

__all__ = ["Backlog", "Budget"]

MOST_STANZAS: Final = 1_000
MOST_BYTES: Final = 2 << 20
MOST_BYTES_TOGETHER: Final = 16 << 20
OVERHEAD: Final = 1_000  # what one waiting stanza costs beside its bytes, about


@define(eq=False)
class Budget:
    """The bytes that all backlogs together have left."""

    left: int = MOST_BYTES_TOGETHER


@define(eq=False)
class Backlog:
    """The stanzas of one pair of domains, in order: their bytes, and what an error to the sender needs."""

    _budget: Budget
    _most_stanzas: int = MOST_STANZAS
    _most_bytes: int = MOST_BYTES
    _waiting: list[tuple[Stanza, bytes]] = field(factory=list, init=False)
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
        self._bytes += cost
        self._budget.left -= cost
        self._waiting.append((stanza.envelope(), data))
        return True

    def empty(self, take: Callable[[Stanza, bytes], None]) -> None:
        """Hand each stanza's envelope and bytes over, the oldest first, and have none afterwards."""
        waiting, self._waiting = self._waiting, []
        self._budget.left += self._bytes
        self._bytes = 0
        for envelope, data in waiting:
            take(envelope, data)
