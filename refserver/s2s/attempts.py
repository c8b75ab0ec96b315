"""How many attempts to reach other servers are under way, and whose they are.

An attempt costs sockets and queries, and lasts half a minute where nobody answers. So there is a bound for
all together, and one for each account: who writes to many servers that do not answer keeps nobody else from
reaching his. A queue or a room has as many people on other servers as it has, and only the common bound.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from attrs import define, field

from refserver.jid import JID

__all__ = ["Attempts"]

MOST_TOGETHER: Final = 1_024
MOST_EACH: Final = 256


@define(eq=False)
class Attempts:
    """Counts them; `account` is a bare JID, None for what no account has sent."""

    _together: int = field(default=0, init=False)
    _each: Counter[JID] = field(factory=Counter, init=False)

    def __len__(self) -> int:
        return self._together

    def may_begin(self, account: JID | None) -> bool:
        """Whether there may be one more."""
        return self._together < MOST_TOGETHER and (account is None or self._each[account] < MOST_EACH)

    def begin(self, account: JID | None) -> None:
        """One more."""
        self._together += 1
        if account is not None:
            self._each[account] += 1

    def end(self, account: JID | None) -> None:
        """One less."""
        self._together -= 1
        if account is not None:
            self._each[account] -= 1
            if not self._each[account]:
                del self._each[account]
