"""Offers what waits: to one librarian, after a while to everyone, again when duty changes.

Owns the timers and the decisions' timing; who comes next is duty.py's, the states are the store's. A
decision is made on what is committed, plus the offers still being stored.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Final

from attrs import define
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from refserver.core.core import Core
from refserver.jid import JID
from refserver.reference import events
from refserver.reference.duty import OnDuty, next_librarian
from refserver.reference.events import Events
from refserver.reference.open_questions import OpenQuestions
from refserver.reference.profile import QueueProfile
from refserver.reference.service import ReferenceService
from refserver.reference.settings import Policy
from refserver.reference.states import State
from refserver.storage.questions import Question

log = Logger()

AGAIN_SECONDS: Final = 10.0
"""After an offer that could not be stored."""


@define(eq=False, slots=False)
class Offers:
    """The offers of one queue. Hears the events of all queues: a librarian has one load for all of them."""

    _core: Core
    _profile: QueueProfile
    _open: OpenQuestions
    _on_duty: OnDuty
    _service: ReferenceService
    _events: Events

    def __attrs_post_init__(self) -> None:
        self._timers: dict[int, IDelayedCall] = {}
        self._passed: dict[int, set[JID]] = {}
        self._announced: set[int] = set()
        self._again: IDelayedCall | None = None
        self._stopped = False

    def handle(self, event: events.QuestionEvent) -> None:
        question = event.question
        if question.queue_id == self._profile.id:
            if isinstance(event, events.Released | events.Returned):  # it goes to others first
                self._passed.setdefault(question.number, set()).add(event.librarian)
            elif isinstance(event, events.Closed):
                self._on_duty.was_busy(event.librarian)
            elif isinstance(event, events.Offered) and question.offered_to is not None:
                self._set_timer(question, self._profile.settings.offer_seconds)
        self.update()

    def update(self) -> None:
        """Look at everything that waits; to be called also when the duty has changed."""
        if self._stopped or self._again is not None:
            return
        line = self._open.line(self._profile.id)
        waiting = {question.number for question in line}
        for number in [number for number in self._timers if number not in waiting]:
            self._timers.pop(number).cancel()
        self._announced &= waiting
        self._passed = {number: who for number, who in self._passed.items() if number in waiting}
        for question in line:
            if not self._open.is_planned(question):
                self._consider(question)

    def stop(self) -> None:
        """No more offers: the server ends, and every question stays as it is."""
        self._stopped = True
        if self._again is not None:
            self._again.cancel()
            self._again = None
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _consider(self, question: Question) -> None:
        if not self._on_duty:
            if question.state == State.OFFERED:
                self._run(self._service.withdraw(question), question)
        elif question.state == State.WAITING:
            self._offer(question)
        elif question.offered_to is not None:
            if question.offered_to not in self._on_duty:
                self._offer(question)
            elif question.number not in self._timers:  # after a start
                settings, now = self._profile.settings, self._core.now()
                left = (question.offered_at or 0.0) + settings.offer_seconds - now
                self._set_timer(question, min(max(0.0, left), settings.offer_seconds))

    def _offer(self, question: Question) -> None:
        policy, passed = self._profile.settings.dispatch, self._passed.get(question.number, ())
        chosen = next_librarian(self._on_duty.duties(), policy, passed)
        if chosen is not None:
            self._on_duty.was_busy(chosen.jid)
            self._run(self._service.offer(question, chosen.jid), question, chosen.jid)
        elif policy is Policy.EVERYONE or question.state == State.OFFERED:
            self._run(self._service.offer(question, None), question)
        elif question.number not in self._announced:
            self._announced.add(question.number)
            self._events.publish(events.AllBusy(question))

    def _run(
        self, doing: Coroutine[Deferred[Any], Any, Any], question: Question, librarian: JID | None = None
    ) -> None:
        done = Deferred.fromCoroutine(doing)
        done.addErrback(self._not_stored, question, librarian)

    def _not_stored(self, failure: Failure, question: Question, librarian: JID | None) -> None:
        """Take back what was prepared, and try again later: until then nothing is offered."""
        log.failure("an offer could not be stored", failure=failure)
        if self._again is None and not self._stopped:
            self._again = self._core.clock.callLater(AGAIN_SECONDS, self._try_again)
        if librarian is not None:
            now = self._open.numbered(question.number) or question
            self._events.publish(events.OfferEnded(now, librarian))

    def _try_again(self) -> None:
        self._again = None
        self.update()

    # -- widening -----------------------------------------------------------------------

    def _set_timer(self, question: Question, seconds: float) -> None:
        if self._stopped:
            return
        old = self._timers.pop(question.number, None)
        if old is not None:
            old.cancel()
        self._timers[question.number] = self._core.clock.callLater(seconds, self._widen, question.number)

    def _widen(self, number: int) -> None:
        self._timers.pop(number, None)
        question = self._open.numbered(number)
        if (
            question is not None
            and question.state == State.OFFERED
            and question.offered_to is not None
            and not self._open.is_planned(question)
        ):
            self._run(self._service.widen(question), question)
