"""How long log-ins wait after failures, so that guessing passwords is slow for everyone who tries."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final

__all__ = ["LoginThrottle"]

FREE: Final = 3  # failures that everybody may have: a mistyped password is no attack
LONGEST: Final = 10.0  # seconds
FORGOTTEN: Final = 600.0  # seconds after the last failure
MOST_KEYS: Final = 20_000


class LoginThrottle:
    """Counts failures by address and by account; each beyond `FREE` doubles the wait, up to `LONGEST`.

    It delays, it never locks out: nobody can keep a librarian from her account by failing in her name.
    At most `MOST_KEYS` keys are remembered.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._failures: OrderedDict[Hashable, tuple[int, float]] = OrderedDict()

    def failed(self, *keys: Hashable) -> None:
        """Count a failure for each key."""
        now = self._seconds()
        for key in keys:
            count = self._count(key, now)
            self._failures.pop(key, None)
            self._failures[key] = (count + 1, now)
        while len(self._failures) > MOST_KEYS:
            self._failures.popitem(last=False)

    def succeeded(self, *keys: Hashable) -> None:
        """Forget the failures of each key."""
        for key in keys:
            self._failures.pop(key, None)

    def wait(self, *keys: Hashable) -> float:
        """Seconds that the next attempt has to wait, the longest of all keys'."""
        now = self._seconds()
        worst = max((self._count(key, now) for key in keys), default=0)
        return 0.0 if worst <= FREE else min(LONGEST, 0.25 * 2.0 ** (worst - FREE))

    def _count(self, key: Hashable, now: float) -> int:
        count, last = self._failures.get(key, (0, now))
        return count if now - last < FORGOTTEN else 0
