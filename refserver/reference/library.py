"""One library in this process's memory: its queues, its open questions, the verbs on them.

The library is the unit of ownership (docs/decisions/0012-ownership.md): nothing here knows of another
library.
"""

from __future__ import annotations

from collections.abc import Iterable

from refserver.core.core import Core
from refserver.core.hosts import Host
from refserver.jid import JID
from refserver.muc.service import RoomService
from refserver.reference.events import Ended, Events, ReturnCause, Returned
from refserver.reference.open_questions import OpenQuestions
from refserver.reference.people import Absences, Reach
from refserver.reference.profile import Stored
from refserver.reference.queue import Queue
from refserver.reference.relay import RateLimits
from refserver.reference.remote_clients import RemoteClients
from refserver.reference.service import ReferenceService
from refserver.reference.states import UNCLAIMED, State
from refserver.storage.questions import Question


class Library:
    """One library's queues and questions. `hourly_limit` and `limits` are those of `Reference`."""

    def __init__(
        self, core: Core, host: Host, rooms: RoomService, hourly_limit: int, limits: RateLimits
    ) -> None:
        self._core = core
        self.host = host
        self._rooms = rooms
        self._hourly_limit = hourly_limit
        self._limits = limits
        self.queues: dict[int, Queue] = {}
        self.open_questions = OpenQuestions()
        self.events = Events(self.open_questions)
        self.reach = Reach(core)
        self.remote_clients = RemoteClients(core, self._is_needed, self._client_changed)
        self.absences = Absences(
            core,
            self.reach,
            self.open_questions,
            self.events.publish,
            self._give_back,
            self._return_seconds,
            self.remote_clients,
        )
        self.service = ReferenceService(
            core, host.domain, self.open_questions, self.events, self.absences.is_away
        )
        self.events.subscribe(self.absences.handle)
        host.staff = self.librarians

    # -- life ------------------------------------------------------------------------------

    def start(self, stored: Iterable[Stored]) -> None:
        """Open the queues."""
        for one in stored:
            self._open(one)
        self.absences.start()

    def _open(self, stored: Stored) -> None:
        for question, words in stored.questions:
            self.open_questions.put(question, words)
        queue = Queue(self._core, self, self._rooms, stored, self._hourly_limit, self._limits)
        self.queues[stored.record.id] = queue
        queue.start()

    def refresh(self, stored: Iterable[Stored], ended: Iterable[Question]) -> None:
        """Take over what was changed in the store: queues, staff, settings, questions that were `ended`."""
        owners = {question.number: question.owner for question in self.open_questions}
        found = {one.record.id: one for one in stored}
        # All of it is in memory before anything follows from it.
        for one in found.values():
            self._take_over(one)
        for id, one in found.items():
            if id in self.queues:
                self.queues[id].refresh(one)
            else:
                self._open(one)
        for question in ended:
            self.events.publish(Ended(question, owners.get(question.number)))
        for question in self.open_questions:
            owner = owners.get(question.number)
            now = self.open_questions.numbered(question.number)
            if owner is not None and now is not None and now.state in UNCLAIMED:
                self.events.publish(Returned(now, owner, ReturnCause.OFFICE_ENDED))
        for gone in self.queues.keys() - found.keys():
            self.queues.pop(gone).remove()
            for question in self.open_questions.of_queue(gone):
                self.open_questions.remove(question)
        for queue in self.queues.values():
            queue.update()

    def _take_over(self, stored: Stored) -> None:
        """Take over the questions of one queue."""
        now = {question.number for question, _ in stored.questions}
        for question in self.open_questions.of_queue(stored.record.id):
            if question.number not in now:
                self.open_questions.remove(question)
        for question, words in stored.questions:
            self.open_questions.put(question, words)

    def stop(self) -> None:
        """The server ends: nothing is begun any more."""
        self.absences.stop()
        self.remote_clients.stop()
        for queue in self.queues.values():
            queue.stop()

    def say_goodbye(self) -> None:
        """Tell the subscribers of all queues that nobody is there any more."""
        for queue in self.queues.values():
            queue.presence.leave()

    def limit(self, hourly_limit: int, limits: RateLimits) -> None:
        """Set how many questions a patron may ask, and a server bring, in an hour."""
        self._hourly_limit, self._limits = hourly_limit, limits
        for queue in self.queues.values():
            queue.patron_chat.hourly_limit = hourly_limit
            queue.relay.limits = limits

    # -- who and where -----------------------------------------------------------------------

    def librarians(self) -> set[JID]:
        """Those who work for the library, at any of its desks."""
        return {jid for queue in self.queues.values() for jid in queue.librarians}

    def queue_of(self, number: int, asked: Queue) -> Queue:
        """The queue that has the open question of that number now; else the one that was `asked`."""
        question = self.open_questions.numbered(number)
        return asked if question is None else self.queues.get(question.queue_id, asked)

    def heard_of(self, domain: str) -> None:
        """Something has come from another server: what waits for its people is tried again."""
        for queue in self.queues.values():
            queue.outbox.reachable(domain)

    def _client_changed(self, librarian: JID) -> None:
        for queue in self.queues.values():
            if librarian in queue.profile.librarians:
                queue.librarian_changed(librarian)

    def _is_needed(self, librarian: JID) -> bool:
        return self.absences.is_at_desk(librarian) or bool(self.open_questions.of_owner(librarian))

    # -- absences ------------------------------------------------------------------------------

    def _return_seconds(self, question: Question) -> float:
        queue = self.queues.get(question.queue_id)
        return 0.0 if queue is None else queue.profile.settings.return_minutes * 60

    def _give_back(self, question: Question) -> None:
        if question.owner is None or question.state != State.CLAIMED:
            return
        giving = self.service.give_back(question, question.owner, ReturnCause.ABSENT)
        self._core.run(giving, "a question could not be given back")
