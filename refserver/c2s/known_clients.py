"""Who has logged in from where lately: they alone may be answered faster than strangers.

An account whose verifiers are at hand is answered a moment sooner than one that has to be
looked up, and so would betray itself to anybody who measures.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from refserver.jid import JID

__all__ = ["KnownClients"]

MOST_KEPT: Final = 20_000


class KnownClients:
    """Pairs of an account and an address; the least recently used of `MOST_KEPT` are forgotten."""

    def __init__(self) -> None:
        self._pairs: OrderedDict[tuple[JID, str], None] = OrderedDict()

    def add(self, account: JID, source: str) -> None:
        """The account has logged in from there."""
        self._pairs[account, source] = None
        self._pairs.move_to_end((account, source))
        if len(self._pairs) > MOST_KEPT:
            self._pairs.popitem(last=False)

    def __contains__(self, pair: tuple[JID, str]) -> bool:
        return pair in self._pairs
