"""The open questions of one library as last committed: a view of the store, never its master.

Rebuilt from the store at start. Each event puts its question here, so that typing, presence, the line and
the load of librarians can be answered without asking the store.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

from cachetools import LRUCache

from refserver.jid import JID
from refserver.reference.states import OPEN, UNCLAIMED, State
from refserver.storage.questions import Question

FINISHED_KEPT: Final = 1000


class OpenQuestions:
    """Open questions by number, patron and owner; for a while also the newest finished one of each patron.

    Also the load of each librarian over all queues of the library: the questions she owns or is offered, and
    offers to her that are being stored (`plan_offer`).
    """

    def __init__(self) -> None:
        self._by_number: dict[int, Question] = {}
        self._by_patron: dict[tuple[int, JID], Question] = {}
        self._patrons: Counter[JID] = Counter()
        self._words: dict[int, str] = {}
        self._loads: Counter[JID] = Counter()
        self._planned: dict[int, JID | None] = {}
        self._finished: LRUCache[tuple[int, JID], Question] = LRUCache(FINISHED_KEPT)

    def put(self, question: Question, words: str | None = None) -> None:
        """Note what became of a question; a finished one is open no more. `words` are its first."""
        self._take_out(question.number)
        if question.state not in OPEN:
            self._words.pop(question.number, None)
            if question.patron is not None:
                self._finished[question.queue_id, question.patron] = question
            return
        self._by_number[question.number] = question
        self._loads.update(_busy_with(question))
        if question.patron is not None:
            self._by_patron[question.queue_id, question.patron] = question
            self._patrons[question.patron] += 1
        if words is not None:
            self._words[question.number] = words

    def _take_out(self, number: int) -> None:
        before = self._by_number.pop(number, None)
        if before is None:
            return
        for librarian in _busy_with(before):
            _subtract(self._loads, librarian)
        if before.patron is not None:
            self._by_patron.pop((before.queue_id, before.patron), None)
            _subtract(self._patrons, before.patron)

    def remove(self, question: Question) -> None:
        """Forget a question, of which the store knows nothing more that concerns us."""
        self._take_out(question.number)
        self._words.pop(question.number, None)

    # -- finding ---------------------------------------------------------------------

    def words(self, question: Question) -> str:
        """The first message of an open question."""
        return self._words.get(question.number, "")

    def numbered(self, number: int) -> Question | None:
        """The open question of that number."""
        return self._by_number.get(number)

    def of_patron(self, queue_id: int, patron: JID) -> Question | None:
        """The open question of a patron at a queue."""
        return self._by_patron.get((queue_id, patron))

    def latest_of(self, queue_id: int, patron: JID) -> Question | None:
        """The open question of a patron, else the newest finished one, if that was not long ago."""
        return self._by_patron.get((queue_id, patron)) or self._finished.get((queue_id, patron))

    def has_patron(self, patron: JID) -> bool:
        """True if the patron has an open question at any queue."""
        return patron in self._patrons

    def of_owner(self, librarian: JID) -> list[Question]:
        """The questions a librarian has claimed, in all queues."""
        if not self._loads[librarian]:
            return []
        return [question for question in self if question.owner == librarian]

    def of_queue(self, queue_id: int) -> list[Question]:
        """The open questions of one queue."""
        return [question for question in self if question.queue_id == queue_id]

    def line(self, queue_id: int) -> list[Question]:
        """The questions that wait at a queue, first come first."""
        waiting = (question for question in self.of_queue(queue_id) if question.state in UNCLAIMED)
        return sorted(waiting, key=lambda question: (question.place, question.number))

    def position(self, question: Question) -> int:
        """The place in the line, from 1; 0 when it does not wait."""
        numbers = [waiting.number for waiting in self.line(question.queue_id)]
        return numbers.index(question.number) + 1 if question.number in numbers else 0

    def __iter__(self) -> Iterator[Question]:
        return iter(list(self._by_number.values()))

    def __len__(self) -> int:
        return len(self._by_number)

    # -- load --------------------------------------------------------------------------

    def load(self, librarian: JID) -> int:
        """The number of questions a librarian has or is offered, in all queues."""
        return self._loads[librarian] + sum(to == librarian for to in self._planned.values())

    def plan_offer(self, question: Question, librarian: JID | None) -> None:
        """An offer to `librarian` (None: to everyone, or its end) is being stored."""
        self._planned[question.number] = librarian

    def end_plan(self, question: Question) -> None:
        """The offer is stored, or was refused."""
        self._planned.pop(question.number, None)

    def is_planned(self, question: Question) -> bool:
        """True while an offer of the question is being stored."""
        return question.number in self._planned

    def offered_to(self, question: Question) -> JID | None:
        """Whom the question is, or is about to be, offered to."""
        return self._planned.get(question.number, question.offered_to)


def _subtract(counter: Counter[JID], jid: JID) -> None:
    counter[jid] -= 1
    if counter[jid] <= 0:
        del counter[jid]


def _busy_with(question: Question) -> Iterable[JID]:
    """Whose time a question takes: its owner's, or hers to whom it is offered."""
    who = question.offered_to if question.state == State.OFFERED else question.owner
    return () if who is None else (who,)
