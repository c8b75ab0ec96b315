"""Offers what waits: to one librarian, after a while to everyone, again when duty changes.

Owns the timers and the decisions' timing; who comes next is dispatch.py's, the states are
the store's. A decision is made on what is committed, plus the offers still being written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IDelayedCall

from refserver.jid import JID
from refserver.reference import answering
from refserver.reference.dispatch import Policy, expected_wait, next_librarian
from refserver.reference.states import State
from refserver.storage.questions import Question

if TYPE_CHECKING:
    from refserver.reference.queue import Queue

__all__ = ["Offers"]


class Offers:
    """The offers of one queue."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._timers: dict[int, IDelayedCall] = {}
        self._writing: dict[int, JID | None] = {}
        self._passed: dict[int, set[JID]] = {}
        self._announced: set[int] = set()
        self._busy: dict[JID, float] = {}
        self._stopped = False

    # -- for the others ---------------------------------------------------------------

    def update(self) -> None:
        """Look at everything that waits; to be called whenever a question or the duty has changed."""
        if self._stopped:
            return
        line = self._queue.board.line()
        waiting = {question.number for question in line}
        for number in [number for number in self._timers if number not in waiting]:
            self._timers.pop(number).cancel()
        self._announced &= waiting
        self._passed = {number: who for number, who in self._passed.items() if number in waiting}
        for question in line:
            if question.number not in self._writing:
                self._consider(question)

    def stop(self) -> None:
        """No more offers: the server ends, and every question stays as it is."""
        self._stopped = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def passed_by(self, question: Question, librarian: JID) -> None:
        """Somebody gave a question back: it goes to others first."""
        self._passed.setdefault(question.number, set()).add(librarian)

    def was_busy(self, librarian: JID) -> None:
        """Somebody was offered a question, or ended one: from now on she is idle again."""
        self._busy[librarian] = self._queue.core.now()

    def last_busy(self, librarian: JID) -> float:
        """When that was, 0 if never."""
        return self._busy.get(librarian, 0.0)

    def under_way_to(self, librarian: JID) -> int:
        """How many offers to a librarian are being written."""
        return sum(to == librarian for to in self._writing.values())

    def wait(self, position: int) -> float | None:
        """Seconds until the question at a place in the line will likely be taken; None: nobody is on duty."""
        line, duties = self._queue.board.line(), self._queue.desk.duties()
        if duties and self._has_place(line[position - 1 : position]):
            return 0.0
        ahead = position - self._has_place(line[: position - 1])
        return expected_wait(ahead, duties, self._queue.durations)

    def _has_place(self, questions: Iterable[Question]) -> int:
        """How many of these are being offered to somebody, whose load counts them already."""
        return sum(
            self._writing.get(question.number, question.offered_to) is not None for question in questions
        )

    # -- deciding -----------------------------------------------------------------------

    def _consider(self, question: Question) -> None:
        if not self._queue.desk.duties():
            if question.state == State.OFFERED:
                self._write(question, None, answering.withdraw)
        elif question.state == State.WAITING:
            self._offer(question)
        elif question.offered_to is not None:
            if not self._queue.desk.is_on_duty(question.offered_to):
                self._offer(question)
            elif question.number not in self._timers:
                self._set_timer(question)

    def _offer(self, question: Question) -> None:
        policy, now = self._queue.settings.dispatch, self._queue.core.now()
        passed = self._passed.get(question.number, ())
        chosen = next_librarian(self._queue.desk.duties(), policy, passed)
        if chosen is not None:
            self.was_busy(chosen.jid)
            self._write(question, chosen.jid, answering.offer, chosen.jid, now)
        elif policy is Policy.EVERYONE or question.state == State.OFFERED:
            self._write(question, None, answering.offer, None, now)
        elif question.number not in self._announced:
            self._announced.add(question.number)
            self._queue.desk.announce(question, ())  # all have enough to do; whoever wants may take it

    def _write(
        self, question: Question, to: JID | None, verb: Callable[..., Question | None], *args: object
    ) -> None:
        self._writing[question.number] = to
        written = self._queue.core.database.write(verb, question.id, *args)
        written.addBoth(self._written, question.number)
        written.addCallback(self._offered)
        self._queue.watch(written)

    def _written(self, result: Any, number: int) -> Any:
        self._writing.pop(number, None)
        return result

    def _offered(self, question: Question | None) -> None:
        if question is None or self._stopped:
            return  # somebody has taken it meanwhile
        self._queue.board.put(question)
        if question.state == State.OFFERED:
            if question.offered_to is None:
                self._queue.desk.announce(question, [duty.jid for duty in self._queue.desk.duties()])
            else:
                self._queue.desk.announce(question, [question.offered_to])
                self._tell(question, question.offered_to)
                self._set_timer(question)
        self._queue.changed()

    def _tell(self, question: Question, librarian: JID) -> None:
        text = self._queue.staff_texts.offered(
            question.number, self._queue.guest(question), self._queue.board.words(question)
        )
        self._queue.courier.tell_staff(question.number, librarian, text)

    # -- widening -----------------------------------------------------------------------

    def _set_timer(self, question: Question) -> None:
        old = self._timers.pop(question.number, None)
        if old is not None:
            old.cancel()
        offered_at = question.offered_at or 0.0
        due = offered_at + self._queue.settings.offer_seconds - self._queue.core.now()
        timer = self._queue.core.clock.callLater(max(0.0, due), self._widen, question.number)
        self._timers[question.number] = timer

    def _widen(self, number: int) -> None:
        self._timers.pop(number, None)
        question = self._queue.board.numbered(number)
        if question is not None and question.state == State.OFFERED and number not in self._writing:
            self._write(question, None, answering.widen)
