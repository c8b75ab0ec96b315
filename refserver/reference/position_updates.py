"""Tells patrons in the line how far they have come: only when it has changed, and once a minute at most."""

from __future__ import annotations

from typing import Final

from twisted.internet.interfaces import IDelayedCall

from refserver.core.ports import Clock
from refserver.reference.duty import OnDuty, Waits
from refserver.reference.events import Asked, QuestionEvent
from refserver.reference.open_questions import OpenQuestions
from refserver.reference.profile import QueueProfile
from refserver.reference.relay import MessageRelay
from refserver.storage.questions import Question

SECONDS: Final = 60.0
"""The least time between two lines for one patron."""


class PositionUpdates:
    """The positions that the patrons of one queue were told."""

    def __init__(
        self,
        clock: Clock,
        profile: QueueProfile,
        open_questions: OpenQuestions,
        on_duty: OnDuty,
        waits: Waits,
        relay: MessageRelay,
    ) -> None:
        self._clock = clock
        self._profile = profile
        self._open = open_questions
        self._on_duty = on_duty
        self._waits = waits
        self._relay = relay
        self._told: dict[int, tuple[int, float]] = {}
        self._timer: IDelayedCall | None = None

    def told(self, question: Question, position: int) -> None:
        """A patron has just been told a position."""
        self._told[question.number] = position, self._clock.seconds()

    def handle(self, event: QuestionEvent) -> None:
        """React to an event."""
        if isinstance(event, Asked) and event.question.queue_id == self._profile.id:
            self.told(event.question, event.position)
        self.update()

    def update(self) -> None:
        """Tell those who have moved up, or look again when they may be told."""
        self.stop()
        waiting = self._open.line(self._profile.id)
        numbers = {question.number for question in waiting}
        self._told = {number: told for number, told in self._told.items() if number in numbers}
        if self._on_duty:
            self._tell(waiting)

    def stop(self) -> None:
        """Tell nobody any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tell(self, waiting: list[Question]) -> None:
        now = self._clock.seconds()
        next_look: float | None = None
        for position, question in enumerate(waiting, 1):
            before, at = self._told.setdefault(question.number, (position, now))
            if position >= before or question.patron is None:
                continue
            if now - at >= SECONDS:
                text = self._profile.texts_for(question).place(position, self._waits.of(position))
                self._relay.tell_patron(question.patron, text)
                self.told(question, position)
            elif next_look is None or at + SECONDS < next_look:
                next_look = at + SECONDS
        if next_look is not None:
            self._timer = self._clock.callLater(max(0.0, next_look - now), self.update)
