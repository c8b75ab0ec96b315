"""Makes log-ins wait after failures, so that guessing passwords is slow."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final

from cachetools import TTLCache

FREE: Final = 3  # failures that everybody may have: a mistyped password is no attack
LONGEST: Final = 10.0  # seconds
FORGOTTEN: Final = 600.0  # seconds after the last failure
MOST_KEYS: Final = 20_000


class LoginThrottle:
    """Counts failures by address and by account; each beyond `FREE` doubles the wait, up to `LONGEST`.

    It delays, it never locks out: nobody can keep a librarian from her account by failing in her name. A
    success clears the account's failures and not the address's: who has an account cannot guess others'
    passwords faster. At most `MOST_KEYS` keys are remembered.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._failures: TTLCache[Hashable, int] = TTLCache(MOST_KEYS, FORGOTTEN, seconds)

    def failed(self, *keys: Hashable) -> None:
        """Count a failure for each key."""
        for key in keys:
            self._failures[key] = self._failures.get(key, 0) + 1

    def succeeded(self, account: Hashable) -> None:
        """Forget the failures of an account."""
        self._failures.pop(account, None)

    def wait(self, *keys: Hashable) -> float:
        """Seconds that the next attempt has to wait, the longest of all keys'."""
        worst = max((self._failures.get(key, 0) for key in keys), default=0)
        return 0.0 if worst <= FREE else min(LONGEST, 0.25 * 2.0 ** (worst - FREE))
