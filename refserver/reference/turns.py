"""What follows a verb once it is committed: who is told what, and which views change.

The adapters call these after their transactions; nothing here decides or stores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from refserver.jid import JID
from refserver.reference.answering import Taken
from refserver.reference.states import Outcome, State
from refserver.storage.questions import Question

if TYPE_CHECKING:
    from refserver.reference.queue import Queue

__all__ = ["Turns"]

SILENT = (Outcome.SPAM, Outcome.PRACTICE)
"""Outcomes of which the patron is not told."""


class Turns:
    """The consequences of verbs in one queue."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def taken(self, taken: Taken) -> None:
        """A question has an owner, or another one than before."""
        queue, question = self._queue, taken.question
        assert question.owner is not None
        queue.board.put(question)
        nick = queue.nick_of(question.owner)
        queue.entries.show(question)
        queue.courier.recount(question, taken.said)
        queue.courier.tell_staff(
            question.number, question.owner, queue.staff_texts.yours(question.number, queue.guest(question))
        )
        texts = queue.texts_for(question)
        if taken.before is None:
            queue.courier.tell_of(question, texts.with_you(nick), question.claimed_at)
        else:
            queue.entries.hide(question, taken.before)
            told = queue.staff_texts.taken_over(question.number, nick)
            queue.courier.tell_staff(question.number, taken.before, told)
            queue.courier.tell_of(question, texts.takes_over(nick), question.claimed_at)
        queue.desk.say(queue.staff_texts.claimed(question.number, nick))
        queue.changed()

    def released(self, question: Question, librarian: JID, reason: str) -> None:
        """A question waits again."""
        queue = self._queue
        queue.board.put(question)
        queue.offers.passed_by(question, librarian)
        queue.entries.hide(question, librarian)
        queue.desk.say(queue.staff_texts.released(question.number, queue.nick_of(librarian), reason))
        queue.courier.tell_of(question, queue.texts_for(question).released())
        queue.changed()

    def ended(self, question: Question, librarian: JID) -> None:
        """A question was closed, referred or parked."""
        queue = self._queue
        queue.board.put(question)
        queue.offers.was_busy(librarian)
        counts = question.outcome != Outcome.SPAM
        if counts and question.closed_at is not None and question.claimed_at is not None:
            queue.durations.append(question.closed_at - question.claimed_at)
        queue.courier.tell_staff(
            question.number, librarian, queue.staff_texts.ended(question.number, question.state)
        )
        queue.entries.hide(question, librarian)
        texts = queue.texts_for(question)
        if question.outcome not in SILENT:
            parked = question.state == State.PARKED
            queue.courier.tell_of(question, texts.parked() if parked else texts.closed())
        queue.changed()

    def spam(self, question: Question, librarian: JID) -> None:
        """A question was closed as spam; who asked it learns of that by getting no answer any more."""
        self.ended(question, librarian)
        texts, nick = self._queue.staff_texts, self._queue.nick_of(librarian)
        self._queue.desk.say(texts.blocked(question.number, nick))

    def reopened(self, taken: Taken) -> None:
        """A question is open again, and somebody's."""
        queue, question = self._queue, taken.question
        assert question.owner is not None
        queue.board.put(question, taken.said[0].body if taken.said else "")
        queue.entries.show(question)
        text = queue.staff_texts.reopened(question.number, queue.guest(question))
        queue.courier.tell_staff(question.number, question.owner, text)
        queue.courier.tell_of(question, queue.texts_for(question).with_you(queue.nick_of(question.owner)))
        queue.changed()

    def abandoned(self, question: Question) -> None:
        """The patron gave up."""
        queue = self._queue
        queue.board.put(question)
        queue.desk.say(queue.staff_texts.abandoned(question.number))
        queue.changed()

    def undelivered(self, question: Question, text: str) -> None:
        """Something that was said could not be delivered: tell her whose question it is, else the desk."""
        queue = self._queue
        if question.owner is not None and question.state == State.CLAIMED:
            queue.courier.tell_staff(question.number, question.owner, text)
        else:
            queue.desk.tell(text)
