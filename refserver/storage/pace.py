"""How often the writer commits: at once when it is quiet, in groups when it is not.

A commit costs a sync to disk and about a millisecond of CPU, however many jobs it holds. So
commits may take a share of the time only: they spend credit, which grows with the time and
up to a bound. Out of credit, the writer rests a little, and the jobs that come meanwhile
share the next commit.
"""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Pace"]

SHARE = 0.25  # of the time may be spent in commits, in the long run
CREDIT = 0.1  # seconds: some fifty commits in a row before the first rest
LONGEST_REST = 0.025  # seconds: half of what a group may wait for its commit


class Pace:
    """Counts what commits cost and tells how long to rest; all in seconds."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._credit = CREDIT
        self._counted = monotonic()

    def spend(self, seconds: float) -> None:
        """A commit took `seconds`."""
        now = self._monotonic()
        self._credit = min(CREDIT, self._credit + (now - self._counted) * SHARE) - seconds
        self._counted = now

    def rest(self) -> float:
        """How long to wait before the next group: 0 while there is credit."""
        # Credit is never owed for longer than one rest: a single slow commit is no reason for many.
        self._credit = max(self._credit, -LONGEST_REST * SHARE)
        return max(0.0, -self._credit / SHARE)
