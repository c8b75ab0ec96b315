"""The librarians on duty at one queue, whom to offer a question next, and how long patrons will likely wait.

The policies are least busy first (then whoever has been idle longest), round robin, and everyone at once.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from statistics import median
from typing import Final

from attrs import define, frozen

from refserver.core.ports import Clock
from refserver.jid import JID
from refserver.reference.events import Closed, QuestionEvent
from refserver.reference.open_questions import OpenQuestions
from refserver.reference.profile import QueueProfile
from refserver.reference.settings import Policy
from refserver.reference.states import Outcome
from refserver.storage.questions import Question

DEFAULT_DURATION: Final = 300.0
"""The seconds that a question is expected to take while the queue has none to learn from."""


@frozen
class Duty:
    """A librarian on duty: how many questions she has, how many she may have, idle since when (seconds).

    `idle_since` is when she was last offered or gave up a question, or came on duty.
    """

    jid: JID
    nick: str
    load: int
    max_chats: int
    idle_since: float

    def __str__(self) -> str:
        return f"{self.nick} {self.load}/{self.max_chats}"


def next_librarian(
    duties: Iterable[Duty], policy: Policy = Policy.LEAST_BUSY, passed: Collection[JID] = ()
) -> Duty | None:
    """Whom to offer a question; None: to everyone, or nobody has room.

    `passed` are librarians who let this question pass by.
    """
    if policy is Policy.EVERYONE:
        return None
    free = [duty for duty in duties if duty.load < duty.max_chats and duty.jid not in passed]
    if policy is Policy.ROUND_ROBIN:
        return min(free, key=lambda duty: (duty.idle_since, duty.nick), default=None)
    return min(free, key=lambda duty: (duty.load, duty.idle_since, duty.nick), default=None)


def free_places(duties: Iterable[Duty]) -> int:
    """The number of questions that could be taken right now."""
    return sum(max(0, duty.max_chats - duty.load) for duty in duties)


def expected_wait(position: int, duties: Collection[Duty], durations: Sequence[float]) -> float | None:
    """Seconds until the question at `position` (from 1) is likely to be claimed; None: nobody is on duty.

    0 when there is room for it now. Else places become free one after the other, each after
    the median of the last `durations` divided by the number of places.
    """
    if not duties:
        return None
    behind = position - free_places(duties)
    if behind <= 0:
        return 0.0
    places = max(1, sum(duty.max_chats for duty in duties))
    typical = median(durations) if durations else DEFAULT_DURATION
    return math.ceil(behind * typical / places)


@define(eq=False, slots=False)
class OnDuty:
    """The librarians on duty at one queue: those in its desk room who are neither away nor busy."""

    _profile: QueueProfile
    _open: OpenQuestions
    _clock: Clock

    def __attrs_post_init__(self) -> None:
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
        """The librarians on duty, by nickname. Load counts her questions at all queues of the library."""
        found = [
            Duty(jid, nick, self._open.load(jid), librarian.max_chats, self._idle_since[jid])
            for jid, nick in self._nicks.items()
            if (librarian := self._profile.librarians.get(jid)) is not None
        ]
        return sorted(found, key=lambda duty: duty.nick)


@define(eq=False, slots=False)
class Waits:
    """The expected waits at one queue."""

    _profile: QueueProfile
    _open: OpenQuestions
    _on_duty: OnDuty

    def of(self, position: int) -> float | None:
        """Seconds until the question at a place in the line will likely be taken; None: nobody is on duty."""
        line, duties = self._open.line(self._profile.id), self._on_duty.duties()
        if duties and self._offered(line[position - 1 : position]):
            return 0.0
        ahead = position - self._offered(line[: position - 1])
        return expected_wait(ahead, duties, self._profile.durations)

    def _offered(self, questions: Iterable[Question]) -> int:
        """The number of those that are being offered to somebody, whose load counts them already."""
        return sum(self._open.offered_to(question) is not None for question in questions)

    def handle(self, event: QuestionEvent) -> None:
        """Learn how long questions take."""
        question = event.question
        counts = isinstance(event, Closed) and question.outcome != Outcome.SPAM
        if counts and question.closed_at is not None and question.claimed_at is not None:
            self._profile.durations.append(max(0.0, question.closed_at - question.claimed_at))
