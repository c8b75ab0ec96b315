"""What other servers are told only once the database has it for good: one wait for a commit serves all.

Owns the order of the calls. Does not own the writing (storage/), and not what is told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger

__all__ = ["Durable"]

log = Logger()

Call = Callable[[], None]


@define(eq=False)
class Durable:
    """`written` is `Database.written`. However many calls come meanwhile, the writer has one job of ours."""

    _written: Callable[[], Deferred[None] | None]
    _calls: list[Call] = field(factory=list, init=False)
    waits: bool = field(default=False, init=False)  # for the database

    def then(self, call: Call) -> None:
        """Call it as soon as all that was written until now is durable, or has failed; at once if it is."""
        self._calls.append(call)
        if not self.waits:
            self._go_on()

    def _go_on(self) -> None:
        """Make the calls that came until now, after what was written until now."""
        calls, self._calls = self._calls, []
        written = self._written()
        if written is None:
            _make(calls)
        else:
            self.waits = True
            written.addBoth(self._done, calls)

    def _done(self, outcome: Any, calls: list[Call]) -> None:
        """Also where a write has failed: then its sender was told so, and that was what could be done."""
        self.waits = False
        _make(calls)
        if self._calls:
            self._go_on()


def _make(calls: list[Call]) -> None:
    for call in calls:
        try:
            call()
        except Exception:
            log.failure("another server could not be told what is durable")
