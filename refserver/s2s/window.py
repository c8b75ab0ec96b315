"""Stanzas that were sent on a stream and are not confirmed yet: bounded, and none forgotten.

Owns their order, their limits, and which of them are worth sending again. When confirmation is asked for is
confirming.py's business.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from attrs import define, field
from twisted.logger import Logger

from refserver.s2s.backlog import MOST_BYTES_TOGETHER, OVERHEAD, Budget, Held
from refserver.stanza import Stanza

__all__ = ["Window"]

log = Logger()

MOST_STANZAS: Final = 5_000
MOST_BYTES: Final = 6 << 20
RESERVE: Final = MOST_BYTES_TOGETHER // 2  # of the budget: windows leave that to the backlogs


@define(eq=False)
class Window:
    """What one pair of domains has sent on its stream, oldest first."""

    _budget: Budget
    _most_stanzas: int = MOST_STANZAS
    _most_bytes: int = MOST_BYTES
    _reserve: int = RESERVE
    _sent: deque[Held] = field(factory=deque, init=False)
    _bytes: int = field(default=0, init=False)

    def __len__(self) -> int:
        return len(self._sent)

    @property
    def full(self) -> bool:
        """Whether nothing more may be sent before something is confirmed."""
        return len(self._sent) >= self._most_stanzas or self._bytes >= self._most_bytes

    @property
    def half_full(self) -> bool:
        """Whether what can be spared should not be kept."""
        return 2 * len(self._sent) >= self._most_stanzas or 2 * self._bytes >= self._most_bytes

    def add(self, number: int, envelope: Stanza, data: bytes, again: bool) -> None:
        """Remember a stanza that was sent as the `number`-th. If all together have too much already, its
        bytes are not kept: it can still be returned to its sender.
        """
        if self._budget.left - len(data) - OVERHEAD < self._reserve:
            data = b""
        held = Held(envelope, data, again, number)
        self._sent.append(held)
        self._count(held.cost)

    def confirm(self, number: int) -> bool:
        """All stanzas up to the `number`-th have arrived: tell who wants to know. Whether there were any."""
        sent = self._sent
        before = len(sent)
        while sent and sent[0].number <= number:
            held = sent.popleft()
            self._count(-held.cost)
            try:
                held.envelope.settle(None)
            except Exception:
                log.failure("who tracks a stanza could not be told")
        return len(sent) != before

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
        self._bytes += cost
        self._budget.left -= cost


def _worth_it(sent: list[Held]) -> list[Held]:
    """Without presence to a bare address that a newer one from the same sender follows.

    Presence to full addresses enters and leaves rooms: each counts.
    """
    newer: set[tuple[object, object]] = set()
    kept = []
    for held in reversed(sent):
        envelope = held.envelope
        if (
            envelope.kind == "presence"
            and envelope.type in ("", "unavailable")
            and envelope.to is not None
            and envelope.to.is_bare
        ):
            pair = envelope.from_, envelope.to
            if pair in newer:
                envelope.settle(None)
                continue
            newer.add(pair)
        kept.append(held)
    kept.reverse()
    return kept
