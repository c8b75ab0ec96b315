"""Limits on what strangers may do: a bounded count of acts per key and period."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final

__all__ = ["Quota"]

MOST_KEYS: Final = 20_000


class Quota:
    """Allows each key `limit` acts in any `period` seconds (0: no limit), refilled evenly.

    A key starts with the whole limit in hand. At most `MOST_KEYS` keys are remembered, the
    least recently used are forgotten: memory is bounded whatever strangers do.
    """

    def __init__(self, limit: int, period: float, seconds: Callable[[], float]) -> None:
        self.limit = limit
        self._rate = limit / period
        self._seconds = seconds
        self._keys: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def spend(self, key: Hashable, amount: float = 1) -> bool:
        """Count an act of `key`, or `amount` of what is limited; False if it has less left: none is spent."""
        if not self.limit:
            return True
        now = self._seconds()
        left, then = self._keys.pop(key, (float(self.limit), now))
        left = min(self.limit, left + (now - then) * self._rate)
        allowed = left >= amount
        self._keys[key] = (left - amount if allowed else left, now)
        if len(self._keys) > MOST_KEYS:
            self._keys.popitem(last=False)
        return allowed
