"""Who is offered a question next, and what a patron is told about the wait.

Pure functions: duty, load and the time come from the caller. The policies are least busy first (then whoever
has been idle longest), round robin, and everyone at once.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from statistics import median
from typing import Final

from attrs import frozen

from refserver.jid import JID
from refserver.reference.settings import Policy

DEFAULT_DURATION: Final = 300.0
"""What a question is expected to take while the queue has none to learn from, in seconds."""


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

    @property
    def has_room(self) -> bool:
        """Whether one more question fits."""
        return self.load < self.max_chats


def next_librarian(
    duties: Iterable[Duty], policy: Policy = Policy.LEAST_BUSY, passed: Collection[JID] = ()
) -> Duty | None:
    """Whom to offer a question; None: to everyone, or nobody has room.

    `passed` are librarians who let this question pass by.
    """
    if policy is Policy.EVERYONE:
        return None
    free = [duty for duty in duties if duty.has_room and duty.jid not in passed]
    if policy is Policy.ROUND_ROBIN:
        return min(free, key=lambda duty: (duty.idle_since, duty.nick), default=None)
    return min(free, key=lambda duty: (duty.load, duty.idle_since, duty.nick), default=None)


def free_places(duties: Iterable[Duty]) -> int:
    """How many questions could be taken right now."""
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
