"""When the sockets are looked at next: at once, or a moment later so that messages share a wake-up.

On a server with thousands of connections messages come one by one, each a millisecond after the last, and
waking up for each costs several times what its work does. So there, and only there, the next look waits up
to GATHER_SECONDS, as network cards gather packets before they interrupt. Nobody notices 3 ms, and a server
with few connections, few messages, or with so many that they gather by themselves never waits.
"""

from __future__ import annotations

from typing import Final

from attrs import define, field

__all__ = ["Pace"]

GATHER_SECONDS: Final = 0.003
CROWD: Final = 1_000
"""Connections from which on it is worth while."""
BUSY: Final = 250.0
"""Events a second, from which on too."""
FULL: Final = 32
"""Events served in one turn that were enough for a wake-up."""
WINDOW_SECONDS: Final = 0.25


@define(eq=False)
class Pace:
    """Watches how the turns go by."""

    _since: float = field(default=0.0, init=False)
    _served: int = field(default=0, init=False)
    _busy: bool = field(default=False, init=False)

    def pause(self, now: float, served: int, connections: int) -> float:
        """Seconds to wait after a turn that began at `now` and served so many events; 0: none."""
        self._served += served
        passed = now - self._since
        if passed >= WINDOW_SECONDS:
            self._busy = self._served >= BUSY * passed
            self._since, self._served = now, 0
        return GATHER_SECONDS if self._busy and connections >= CROWD and served < FULL else 0.0
