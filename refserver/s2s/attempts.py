"""How many attempts to reach other servers are under way, and whose they are.

An attempt costs sockets and queries, and lasts half a minute where nobody answers. So there is a bound for
all together, and one for each sender: an account that writes to many servers that do not answer keeps nobody
else from reaching his.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from attrs import define, field

from refserver.jid import JID

__all__ = ["Attempts"]

MOST_TOGETHER: Final = 512
MOST_EACH: Final = 128


@define(eq=False)
class Attempts:
    """Counts them; `sender` is whoever sent the stanza that an attempt began with."""

    _together: int = field(default=0, init=False)
    _each: Counter[JID | None] = field(factory=Counter, init=False)

    def __len__(self) -> int:
        return self._together

    def may_begin(self, sender: JID | None) -> bool:
        """Whether there may be one more."""
        return self._together < MOST_TOGETHER and self._each[_who(sender)] < MOST_EACH

    def begin(self, sender: JID | None) -> None:
        """One more."""
        self._together += 1
        self._each[_who(sender)] += 1

    def end(self, sender: JID | None) -> None:
        """One less."""
        self._together -= 1
        who = _who(sender)
        self._each[who] -= 1
        if not self._each[who]:
            del self._each[who]


def _who(sender: JID | None) -> JID | None:
    return None if sender is None else sender.bare
