"""Tells if patrons and librarians can be reached, and which librarians are away from their questions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

from attrs import define
from twisted.internet.interfaces import IDelayedCall

from refserver.components.service import Component
from refserver.core.core import Core
from refserver.jid import JID
from refserver.reference import events
from refserver.reference.open_questions import OpenQuestions
from refserver.reference.remote_clients import RemoteClients
from refserver.reference.states import State
from refserver.storage.questions import Question

AWAY_SECONDS: Final = 60.0
"""A librarian who is gone for so long is away from her questions."""
TELL_SECONDS: Final = 120.0
"""The desk is told after this time, or when the patron writes and she is away."""
ELSEWHERE_SECONDS: Final = 600.0
"""A librarian elsewhere, at no desk, whose client knows no pings, is there so long after she wrote."""


@define(eq=False, slots=False)
class Reach:
    """Tells who is an account here, who has a client here, and who is elsewhere."""

    _core: Core

    def is_local(self, jid: JID) -> bool:
        """True if a bare JID is an account's address here."""
        host = self._core.hosts.get(jid.domainpart)
        return host is not None and host.find(jid.localpart) is None

    def is_elsewhere(self, jid: JID) -> bool:
        """True if a bare JID belongs to another server, or to a component: it may be away for long."""
        if self._core.hosts.get(jid.domainpart) is not None:
            return False
        service = self._core.hosts.service(jid.domainpart)
        return service is None or isinstance(service, Component)

    def has_client(self, jid: JID) -> bool:
        """True if a client here takes messages for a bare JID, and has not left us without an answer."""
        sessions = self._core.sessions.of(jid).values()
        return any(session.priority >= 0 and session.answering for session in sessions)

    def is_reachable(self, jid: JID) -> bool:
        """True if a message can be sent now: to a client here, or to another server."""
        return self.has_client(jid) or not self.is_local(jid)

    def is_present(self, jid: JID) -> bool:
        """True if somebody is there; of accounts elsewhere we are not told, so we think the best."""
        return bool(self._core.sessions.available(jid)) or not self.is_local(jid)


class Absences:
    """Knows since when the owners of one library's questions are gone.

    A librarian is there while she has a client that takes messages, and is at a desk or has written in a
    question's chat since she left it. The clients of one on another server are asked (remote_clients.py); if
    that tells nothing she is there at the desk, or for a while after she has written. Who is gone for a
    minute is away: `is_away`. Then the desk is told (`OwnerAway`), and after the time that the queue sets
    `give_back` is called. `return_seconds` gives that time, 0: never.
    """

    def __init__(
        self,
        core: Core,
        reach: Reach,
        open_questions: OpenQuestions,
        publish: Callable[[events.QuestionEvent], None],
        give_back: Callable[[Question], None],
        return_seconds: Callable[[Question], float],
        remote_clients: RemoteClients,
    ) -> None:
        self._clock = core.clock
        self._reach = reach
        self._open = open_questions
        self._publish = publish
        self._give_back = give_back
        self._return_seconds = return_seconds
        self.remote_clients = remote_clients
        self._at_desks: Counter[JID] = Counter()
        self._wrote_at: dict[JID, float] = {}  # since she left the last desk
        self._gone_since: dict[JID, float] = {}
        self._told: set[int] = set()
        self._returning: set[int] = set()
        self._timer: IDelayedCall | None = None

    def start(self) -> None:
        """Look at everybody who owns a question."""
        for question in self._open:
            if question.owner is not None:
                self.look_at(question.owner)

    def stop(self) -> None:
        """Look at nobody any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- signs of life ------------------------------------------------------------------

    def at_desk(self, librarian: JID, here: bool) -> None:
        """She has come to a desk of the library, or has left one."""
        self._at_desks[librarian] += 1 if here else -1
        if not here:
            self._wrote_at.pop(librarian, None)
        self.look_at(librarian)

    def is_at_desk(self, librarian: JID) -> bool:
        """True if she is at any desk of the library."""
        return self._at_desks[librarian] > 0

    def wrote(self, client: JID, address: JID) -> None:
        """A librarian's client has written or typed something to one of our addresses."""
        librarian = client.bare
        self.remote_clients.watch(client, address)
        self._wrote_at[librarian] = self._clock.seconds()
        self.look_at(librarian)

    def look_at(self, librarian: JID) -> None:
        """Her presence has changed, or the questions that she owns."""
        questions = self._open.of_owner(librarian)
        if not questions:
            self._gone_since.pop(librarian, None)
            if not self._at_desks[librarian]:
                self._wrote_at.pop(librarian, None)
            return
        gone_since, now = self._since(librarian), self._clock.seconds()
        if gone_since is None or max(gone_since, self._gone_since.get(librarian, now)) > now:
            self._gone_since.pop(librarian, None)  # what was a guess is known better now
            ids = {question.id for question in questions}
            self._told -= ids
            self._returning -= ids
        if gone_since is not None:
            self._gone_since.setdefault(librarian, gone_since)
            self._set_timer()

    def _since(self, librarian: JID) -> float | None:
        """Since when she is gone, on the reactor's clock; None: she is there."""
        now, is_local = self._clock.seconds(), self._reach.is_local(librarian)
        if not self._reach.has_client(librarian) if is_local else self.remote_clients.all_silent(librarian):
            return now
        if self._at_desks[librarian] > 0:
            return None
        wrote_at = self._wrote_at.get(librarian)
        if wrote_at is None:
            return now
        if is_local or self.remote_clients.answers(librarian):
            return None
        return wrote_at + ELSEWHERE_SECONDS

    def is_away(self, librarian: JID) -> bool:
        """True if she has been gone for a minute."""
        since = self._gone_since.get(librarian)
        return since is not None and self._clock.seconds() - since >= AWAY_SECONDS

    # -- what follows -----------------------------------------------------------------------

    def handle(self, event: events.QuestionEvent) -> None:
        question = event.question
        if isinstance(event, events.Said) and question.owner is not None and self.is_away(question.owner):
            self._tell(question)
        elif not isinstance(event, events.Said | events.OwnerAway):
            self._told.discard(question.id)
            self._returning.discard(question.id)
            if question.owner is not None and question.state == State.CLAIMED:
                if isinstance(event, events.Taken | events.Answered):
                    self._wrote_at[question.owner] = self._clock.seconds()
                self.look_at(question.owner)

    def _tell(self, question: Question) -> None:
        if question.id not in self._told:
            self._told.add(question.id)
            self._publish(events.OwnerAway(question))

    def _dues(self, question: Question, since: float) -> list[float]:
        """When the desk is to be told, and when the question waits again."""
        told = [] if question.id in self._told else [since + TELL_SECONDS]
        seconds = self._return_seconds(question)
        return [*told, since + seconds] if seconds and question.id not in self._returning else told

    def _owned(self) -> list[tuple[Question, float]]:
        return [
            (question, since)
            for librarian, since in list(self._gone_since.items())
            for question in self._open.of_owner(librarian)
            if question.state == State.CLAIMED
        ]

    def _set_timer(self) -> None:
        self.stop()
        dues = [due for question, since in self._owned() for due in self._dues(question, since)]
        if dues:
            soon = max(0.0, min(dues) - self._clock.seconds())
            self._timer = self._clock.callLater(soon, self._check)

    def _check(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        for question, since in self._owned():
            if now >= since + TELL_SECONDS:
                self._tell(question)
            seconds = self._return_seconds(question)
            if seconds and now >= since + seconds and question.id not in self._returning:
                self._returning.add(question.id)
                self._give_back(question)
        self._set_timer()
