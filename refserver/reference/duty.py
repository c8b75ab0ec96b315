"""Who is on duty at one queue, and how long its patrons will likely wait."""

from __future__ import annotations

from collections.abc import Iterable

from refserver.core.ports import Clock
from refserver.jid import JID
from refserver.reference.dispatch import Duty, expected_wait
from refserver.reference.events import Closed, QuestionEvent
from refserver.reference.open_questions import OpenQuestions
from refserver.reference.profile import QueueProfile
from refserver.reference.states import Outcome
from refserver.storage.questions import Question


class OnDuty:
    """The librarians on duty at one queue: those in its desk room who are neither away nor busy."""

    def __init__(self, profile: QueueProfile, open_questions: OpenQuestions, clock: Clock) -> None:
        self._profile = profile
        self._open = open_questions
        self._clock = clock
        self._nicks: dict[JID, str] = {}
        self._idle_since: dict[JID, float] = {}

    def __contains__(self, librarian: JID) -> bool:
        return librarian in self._nicks

    def __len__(self) -> int:
        return len(self._nicks)

    def add(self, librarian: JID, nick: str) -> None:
        """She is on duty, under the nickname that she has at the desk."""
        if librarian not in self._nicks:
            self._idle_since[librarian] = max(self._idle_since.get(librarian, 0.0), self._clock.seconds())
        self._nicks[librarian] = nick

    def remove(self, librarian: JID) -> None:
        """She is on duty no more."""
        self._nicks.pop(librarian, None)

    def was_busy(self, librarian: JID) -> None:
        """She was offered a question, or has ended one: from now on she is idle."""
        self._idle_since[librarian] = self._clock.seconds()

    def duties(self) -> list[Duty]:
        """Who is on duty, by nickname. Load counts her questions at all queues of the library."""
        found = [
            Duty(jid, nick, self._open.load(jid), librarian.max_chats, self._idle_since[jid])
            for jid, nick in self._nicks.items()
            if (librarian := self._profile.librarians.get(jid)) is not None
        ]
        return sorted(found, key=lambda duty: duty.nick)


class Waits:
    """The expected waits at one queue."""

    def __init__(self, profile: QueueProfile, open_questions: OpenQuestions, on_duty: OnDuty) -> None:
        self._profile = profile
        self._open = open_questions
        self._on_duty = on_duty

    def of(self, position: int) -> float | None:
        """Seconds until the question at a place in the line will likely be taken; None: nobody is on duty."""
        line, duties = self._open.line(self._profile.id), self._on_duty.duties()
        if duties and self._offered(line[position - 1 : position]):
            return 0.0
        ahead = position - self._offered(line[: position - 1])
        return expected_wait(ahead, duties, self._profile.durations)

    def _offered(self, questions: Iterable[Question]) -> int:
        """How many of these are being offered to somebody, whose load counts them already."""
        return sum(self._open.offered_to(question) is not None for question in questions)

    def handle(self, event: QuestionEvent) -> None:
        """Learn how long questions take."""
        question = event.question
        counts = isinstance(event, Closed) and question.outcome != Outcome.SPAM
        if counts and question.closed_at is not None and question.claimed_at is not None:
            self._profile.durations.append(max(0.0, question.closed_at - question.claimed_at))
