"""When clients are asked what they have received, and which of them do not answer.

One timer serves all sessions that wait equally long, so that a stanza costs none. A client that was sent
something tracked is asked at the end of the turn; one that was sent anything else with XEP-0198 on, some
seconds later or after so many stanzas. A session that answers nothing for UNANSWERED_SECONDS is not
`answering` until it does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

from refserver.core.outbox import Budget, Outbox
from refserver.core.ports import Clock

AGAIN_SECONDS: Final = 0.1  # between an answer and the next question about what is tracked
ASK_SECONDS: Final = 3.0  # how long other stanzas may wait for a question
UNANSWERED_SECONDS: Final = 60.0
PROBE_SECONDS: Final = 60.0
MOST_BYTES: Final = 128 << 20  # unacknowledged, of all sessions together

LATER, END_OF_TURN = 1, 2
"""The values of `Listening.ask_due`: when a session is to be asked; 0 for not at all."""

T = TypeVar("T")


class Listening(Protocol):
    """A session, as seen from here."""

    answering: bool
    ask_due: int
    outbox: Outbox | None

    @property
    def ended(self) -> bool:
        """True if its client is not there any more and will not come back."""

    def ask(self) -> None:
        """Ask the client for an acknowledgement, unless it owes one."""


S = TypeVar("S", bound=Listening)


class _Delay(Generic[T]):
    """Calls `due` with each item `seconds` after it was added; one timer for all."""

    def __init__(self, clock: Clock, seconds: float, due: Callable[[T], None]) -> None:
        self._clock = clock
        self._seconds = seconds
        self._due = due
        self._items: deque[tuple[float, T]] = deque()
        self._timed = False

    def add(self, item: T) -> None:
        self._items.append((self._clock.seconds() + self._seconds, item))
        if not self._timed:
            self._timed = True
            self._clock.callLater(self._seconds, self._fire)

    def _fire(self) -> None:
        items, now = self._items, self._clock.seconds()
        for _ in range(len(items)):  # what is added meanwhile has its own time
            if items[0][0] > now:
                break
            self._due(items.popleft()[1])
        self._timed = bool(items)
        if items:
            self._clock.callLater(max(0.0, items[0][0] - now), self._fire)


class Liveness(Generic[S]):
    """Asks sessions, and tells by `changed` which of them stopped or began to answer."""

    def __init__(self, clock: Clock, changed: Callable[[S], None]) -> None:
        self.now = clock.seconds
        self.call_later = clock.callLater
        self.budget = Budget(MOST_BYTES)
        self._changed = changed
        self._turn: _Delay[S] = _Delay(clock, 0.0, self._ask)
        self._again: _Delay[S] = _Delay(clock, AGAIN_SECONDS, self._ask)
        self._later: _Delay[S] = _Delay(clock, ASK_SECONDS, self._ask)
        self._owed: _Delay[tuple[S, float]] = _Delay(clock, UNANSWERED_SECONDS, self._unanswered)
        self._watched: set[S] = set()
        self._rounding = False
        self._rounds: _Delay[None] = _Delay(clock, PROBE_SECONDS, self._probe)

    def watch(self, session: S) -> None:
        """Ask the client at least once a minute, whether it was sent something or not, until `unwatch`."""
        if not self._rounding:
            self._rounding = True
            self._rounds.add(None)
        self._watched.add(session)

    def unwatch(self, session: S) -> None:
        """Ask the client only about what it was sent."""
        self._watched.discard(session)

    # -- what sessions call --------------------------------------------------

    def sent(self, session: S, tracked: bool) -> None:
        """The client was sent something that it has to acknowledge."""
        due = END_OF_TURN if tracked else LATER
        if session.ask_due < due:
            session.ask_due = due
            (self._turn if tracked else self._later).add(session)

    def asked(self, session: S, at: float) -> None:
        """The client was asked, or its connection was lost, at that time."""
        self._owed.add((session, at))

    def answered(self, session: S) -> None:
        """The client has answered: ask about the rest soon."""
        if not session.answering:
            session.answering = True
            self._changed(session)
        if session.outbox is not None and session.outbox.window and not session.ask_due:
            session.ask_due = END_OF_TURN
            self._again.add(session)

    # -- timers --------------------------------------------------------------

    def _ask(self, session: S) -> None:
        session.ask_due = 0
        if not session.ended and session.outbox is not None and session.outbox.window:
            session.ask()

    def _unanswered(self, asked: tuple[S, float]) -> None:
        session, at = asked
        outbox = session.outbox
        if session.answering and not session.ended and outbox is not None and outbox.asked_at == at:
            session.answering = False
            self._changed(session)

    def _probe(self, _: None) -> None:
        for session in tuple(self._watched):
            if session.ended:
                self._watched.discard(session)
            else:
                session.ask()
        self._rounding = bool(self._watched)
        if self._rounding:
            self._rounds.add(None)
