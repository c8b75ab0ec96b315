"""The open questions of one queue as last committed: a view of the store, never its master.

Rebuilt from the store at start; every verb's result is put here after its commit, so that
chat states, presence and the line can be answered without asking the store.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from typing import Final

from refserver.jid import JID
from refserver.reference.states import OPEN, UNCLAIMED, State
from refserver.storage.questions import Question

__all__ = ["OpenQuestions"]

FINISHED_KEPT: Final = 1000


class OpenQuestions:
    """Open questions by number, patron and owner; and for a while, whose the newest finished ones were."""

    def __init__(self, questions: Iterable[tuple[Question, str]] = ()) -> None:
        self._by_number: dict[int, Question] = {}
        self._loads: Counter[JID] = Counter()
        self._finished: OrderedDict[JID, Question] = OrderedDict()
        self._by_patron: dict[JID, Question] = {}
        self._words: dict[int, str] = {}
        for question, words in questions:
            self.put(question, words)

    def put(self, question: Question, words: str | None = None) -> None:
        """Note what became of a question; a finished one is open no more. `words` are its first."""
        before = self._by_number.pop(question.number, None)
        if before is not None:
            self._loads.subtract(_busy_with(before))
            if before.patron is not None:
                self._by_patron.pop(before.patron, None)
        if question.state not in OPEN:
            self._finish(question)
            return
        self._by_number[question.number] = question
        self._loads.update(_busy_with(question))
        if question.patron is not None:
            self._by_patron[question.patron] = question
        if words is not None:
            self._words[question.number] = words

    def _finish(self, question: Question) -> None:
        self._words.pop(question.number, None)
        if question.patron is not None:
            self._finished.pop(question.patron, None)
            self._finished[question.patron] = question
            if len(self._finished) > FINISHED_KEPT:
                self._finished.popitem(last=False)

    def words(self, question: Question) -> str:
        """The first message of an open question."""
        return self._words.get(question.number, "")

    def numbered(self, number: int) -> Question | None:
        """The open question of that number."""
        return self._by_number.get(number)

    def of_patron(self, patron: JID) -> Question | None:
        """The open question of a patron."""
        return self._by_patron.get(patron)

    def latest_of(self, patron: JID) -> Question | None:
        """The open question of a patron, else the newest finished one, if that was not long ago."""
        return self._by_patron.get(patron) or self._finished.get(patron)

    def of_owner(self, librarian: JID) -> list[Question]:
        """The questions a librarian has claimed."""
        return [question for question in self if question.owner == librarian]

    def load(self, librarian: JID) -> int:
        """How many questions a librarian has, or is offered."""
        return self._loads[librarian]

    def line(self) -> list[Question]:
        """The questions that wait, first come first."""
        waiting = (question for question in self if question.state in UNCLAIMED)
        return sorted(waiting, key=lambda question: (question.place, question.number))

    def position(self, question: Question) -> int:
        """The place in the line, from 1; 0 when it does not wait."""
        numbers = [waiting.number for waiting in self.line()]
        return numbers.index(question.number) + 1 if question.number in numbers else 0

    def __iter__(self) -> Iterator[Question]:
        return iter(list(self._by_number.values()))

    def __len__(self) -> int:
        return len(self._by_number)


def _busy_with(question: Question) -> tuple[JID, ...]:
    """Whose time a question takes: its owner's, or hers to whom it is offered."""
    who = question.offered_to if question.state == State.OFFERED else question.owner
    return () if who is None else (who,)
