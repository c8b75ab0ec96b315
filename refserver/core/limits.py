"""Limits on what strangers may do: a bounded count of acts per key and period."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final

MOST_KEYS: Final = 20_000


class Quota:
    """Allows each key `limit` acts in any `period` seconds (0: no limit), refilled evenly.

    A key starts with the whole limit in hand. At most `MOST_KEYS` keys are remembered, the
    least recently used are forgotten: memory is bounded whatever strangers do.
    """

    def __init__(self, limit: int, period: float, seconds: Callable[[], float]) -> None:
        self.limit = limit
        self._all = float(limit)
        self._rate = limit / period
        self._seconds = seconds
        self._keys: OrderedDict[Hashable, list[float]] = OrderedDict()  # what is left, and when it was

    def spend(self, key: Hashable, amount: float = 1) -> bool:
        """Count an act of `key`, or `amount` of what is limited; False if it has less left: none is spent."""
        if not self.limit:
            return True
        now, keys = self._seconds(), self._keys
        known = keys.get(key)
        if known is None:
            known = keys[key] = [self._all, now]
            if len(keys) > MOST_KEYS:
                keys.popitem(last=False)
        else:
            keys.move_to_end(key)
        left = min(self._all, known[0] + (now - known[1]) * self._rate)
        allowed = left >= amount
        known[0] = left - amount if allowed else left
        known[1] = now
        return allowed
