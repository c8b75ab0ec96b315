"""Tells patrons in the line how far they have come: only when it has changed, and once a minute at most."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.internet.interfaces import IDelayedCall

from refserver.storage.questions import Question

if TYPE_CHECKING:
    from refserver.reference.queue import Queue

__all__ = ["PositionUpdates"]

SECONDS: Final = 60.0
"""The least time between two lines for one patron."""


class PositionUpdates:
    """The positions that patrons were told."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._told: dict[int, tuple[int, float]] = {}
        self._timer: IDelayedCall | None = None

    def told(self, question: Question, position: int) -> None:
        """A patron has just been told a position."""
        self._told[question.number] = position, self._queue.core.clock.seconds()

    def update(self) -> None:
        """Tell those who have moved up, or look again when they may be told."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting = self._queue.board.line()
        numbers = {question.number for question in waiting}
        self._told = {number: told for number, told in self._told.items() if number in numbers}
        if self._queue.desk.duties():
            self._tell(waiting)

    def stop(self) -> None:
        """Tell nobody any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tell(self, waiting: list[Question]) -> None:
        now = self._queue.core.clock.seconds()
        next_look: float | None = None
        for position, question in enumerate(waiting, 1):
            before, at = self._told.setdefault(question.number, (position, now))
            if position >= before or question.patron is None:
                continue
            if now - at >= SECONDS:
                text = self._queue.texts_for(question).place(position, self._queue.offers.wait(position))
                self._queue.courier.tell_patron(question.patron, text)
                self.told(question, position)
            elif next_look is None or at + SECONDS < next_look:
                next_look = at + SECONDS
        if next_look is not None:
            self._timer = self._queue.core.clock.callLater(next_look - now, self.update)
