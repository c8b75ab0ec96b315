"""Calls that are made once all that was written to the database before them is committed.

An acknowledgement to a peer may cover only what survives a crash. All calls that come during one commit
share one wait for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger

log = Logger()

Call = Callable[[], None]


@define(eq=False)
class CommitBarrier:
    """`written` is `Database.written`; the writer has at most one job of this barrier at a time."""

    _written: Callable[[], Deferred[None] | None]
    _calls: list[Call] = field(factory=list, init=False)
    waits: bool = field(default=False, init=False)  # for the database

    def then(self, call: Call) -> None:
        """Make the call when all that was written until now is committed or has failed; now if it is."""
        self._calls.append(call)
        if not self.waits:
            self._go_on()

    def _go_on(self) -> None:
        """Make the waiting calls after the commit of what was written until now."""
        calls, self._calls = self._calls, []
        written = self._written()
        if written is None:
            _make(calls)
        else:
            self.waits = True
            written.addBoth(self._done, calls)

    def _done(self, outcome: Any, calls: list[Call]) -> None:
        """Make the calls, also where a write has failed: its sender was told so."""
        self.waits = False
        _make(calls)
        if self._calls:
            self._go_on()


def _make(calls: list[Call]) -> None:
    for call in calls:
        try:
            call()
        except Exception:
            log.failure("a call behind a commit failed")
