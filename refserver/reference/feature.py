"""The reference feature: all queues of all libraries served here.

Starts a library's queues when the library comes, listens to who comes and goes, forgets what policy no longer
keeps, and takes over changes made by refserverctl. It needs the library's room service to be there before the
library is announced.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Final

from sqlalchemy import Connection
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from refserver.core import hooks
from refserver.core.core import Core
from refserver.core.feature import Feature, on
from refserver.core.hosts import Host
from refserver.jid import JID
from refserver.muc.service import RoomService
from refserver.reference import privacy
from refserver.reference.events import QuestionEvent
from refserver.reference.library import Library
from refserver.reference.profile import Stored, load, load_all
from refserver.reference.queue import Queue
from refserver.reference.relay import RateLimits
from refserver.storage import questions, queues
from refserver.storage.questions import Question

log = Logger()

FORGET_SECONDS: Final = 600.0
"""The time between two looks for what policy no longer keeps."""


class Reference(Feature):
    """Keeps the libraries' queues. `hourly_limit` is how many questions a patron may ask in an hour,
    `domain_limit` how many a server elsewhere may bring to one library; 0 for any number.
    """

    name = "reference"
    after = ("presence", "offline", "library access")

    def __init__(self, core: Core, hourly_limit: int = 20, domain_limit: int = 0) -> None:
        super().__init__(core)
        self._hourly_limit = hourly_limit
        self._limits = RateLimits(domain_limit, core.clock.seconds)
        self._libraries: dict[str, Library] = {}
        self._offices: dict[JID, list[Queue]] = {}  # of each librarian: every presence asks for them
        self._patrons = PatronIndex()
        self._forgetting: IDelayedCall | None = None
        self._coming: dict[str, list[Stored]] = {}  # of the libraries that are announced at the start

    # -- for the server -----------------------------------------------------------------

    def library(self, domain: str) -> Library:
        """The running library of that domain. Raises `KeyError`."""
        return self._libraries[domain]

    def queue(self, jid: JID) -> Queue | None:
        """The running queue of that address."""
        library = self._libraries.get(jid.domainpart)
        found = () if library is None else library.queues.values()
        return next((queue for queue in found if queue.jid == jid), None)

    @staticmethod
    def _queues(*libraries: Library) -> list[Queue]:
        return [queue for library in libraries for queue in library.queues.values()]

    def limit_questions(self, hourly_limit: int, domain_limit: int) -> None:
        """Set how many questions a patron may ask and a server bring in an hour, for all queues at once."""
        self._hourly_limit = hourly_limit
        if domain_limit != self._limits.domain_questions:
            self._limits = RateLimits(domain_limit, self.core.clock.seconds)
        for library in self._libraries.values():
            library.limit(hourly_limit, self._limits)

    @on(hooks.PatronForgotten)
    def patron_forgotten(self, event: hooks.PatronForgotten) -> None:
        """End her subscriptions; the store has forgotten them."""
        for queue in self._queues(*self._libraries.values()):
            if event.patron in queue.presence.subscribers:
                queue.presence.dismiss(event.patron)

    @on(hooks.AccountRemoved)
    def account_removed(self, event: hooks.AccountRemoved) -> None:
        """End the subscriptions of an account that is no more; the store has forgotten them."""
        for queue in self._queues(*self._libraries.values()):
            queue.presence.subscribers.discard(event.account)

    @on(hooks.QueuesChanged)
    def queues_changed(self, event: hooks.QueuesChanged) -> Deferred[None]:
        """Take over the change."""
        return Deferred.fromCoroutine(self.refresh(event.domain))

    async def refresh(self, domain: str) -> None:
        """Take over what was changed in the store: queues, staff, settings of a library."""
        library = self._libraries.get(domain)
        if library is None:
            host = self.core.hosts.get(domain)
            if host is not None:
                self._open(host, await self.core.database.write(_load, domain))
            return
        # By the writer, so that nothing read here is older than the open questions in memory.
        opened = [question.id for question in library.open_questions]
        stored, ended = await self.core.database.write(_load_again, domain, opened)
        self._leave_offices(library)
        library.refresh(stored, ended)
        self._enter_offices(library)
        self._patrons.put(library)

    def stop(self) -> None:
        """The server ends: no more offers and attempts; every question stays as it is."""
        for library in self._libraries.values():
            library.stop()
        if self._forgetting is not None:
            self._forgetting.cancel()
            self._forgetting = None

    # -- libraries ------------------------------------------------------------------------

    @on(hooks.HostsComing)
    def hosts_coming(self, event: hooks.HostsComing) -> None:
        """Read all their queues."""
        found = self.core.database.read_now(load_all)
        self._coming = {domain: found.get(domain, []) for domain in event.domains}

    @on(hooks.HostAdded)
    def host_added(self, event: hooks.HostAdded) -> None:
        """Open the library's queues."""
        if self._forgetting is None:
            self._forget_later()
        found = self._coming.pop(event.host.domain, None)
        if found is None:
            found = self.core.database.read_now(_load, event.host.domain)
        self._open(event.host, found)

    @on(hooks.HostStopping)
    def host_stopping(self, event: hooks.HostStopping) -> None:
        """Tell the subscribers of the library's queues, here and elsewhere, that they are unavailable."""
        library = self._libraries.get(event.host.domain)
        if library is not None:
            library.stop()
            library.say_goodbye()

    @on(hooks.HostRemoved)
    def host_removed(self, event: hooks.HostRemoved) -> None:
        """Close them."""
        library = self._libraries.pop(event.host.domain, None)
        if library is not None:
            self._leave_offices(library)
            self._patrons.remove(library)
            library.stop()

    def _open(self, host: Host, stored: list[Stored]) -> None:
        rooms = self.core.hosts.service(f"rooms.{host.domain}")
        if not isinstance(rooms, RoomService):
            if stored:
                log.error("the library {domain} has queues, but no rooms for their desks", domain=host.domain)
            return
        library = Library(self.core, host, rooms, self._hourly_limit, self._limits)
        self._libraries[host.domain] = library
        library.start(stored)
        library.events.subscribe(partial(self._patrons.follow, library))
        self._enter_offices(library)
        self._patrons.put(library)

    def _enter_offices(self, library: Library) -> None:
        for queue in self._queues(library):
            for librarian in queue.librarians:
                self._offices.setdefault(librarian, []).append(queue)
                self._watch(librarian)

    def _leave_offices(self, library: Library) -> None:
        for queue in library.queues.values():
            for librarian in queue.librarians:
                offices = self._offices[librarian]
                offices.remove(queue)
                if not offices:
                    del self._offices[librarian]
                    self._watch(librarian)

    def _watch(self, account: JID) -> None:
        """Have a librarian's available clients asked each minute: a machine that sleeps has a live socket."""
        liveness = self.core.liveness
        for session in self.core.sessions.of(account).values():
            if account in self._offices and session.presence is not None:
                liveness.watch(session)
            else:
                liveness.unwatch(session)

    @on(hooks.SendersChanged)
    def senders_changed(self, event: hooks.SendersChanged) -> None:
        """End the subscriptions of those who are blocked now; the store has forgotten them."""
        for library in self._libraries.values():
            gate = self.core.hosts.gate_of(library.host.domain)
            if gate is None or event.host not in (None, library.host):
                continue
            for queue in library.queues.values():
                for jid in queue.presence.subscribers.at(event.domain):
                    if gate.blocks(jid):
                        queue.presence.dismiss(jid)

    # -- people -----------------------------------------------------------------------------

    @on(hooks.SessionAvailable)
    def available(self, event: hooks.SessionAvailable) -> None:
        """A librarian gets what waited for her; the contact of a patron's question comes."""
        account = event.session.account
        if account in self._offices:
            self._watch(account)
        for queue in self._offices.get(account, ()):
            queue.librarian_changed(account)
            if event.initial:
                queue.correct_roster(account)
            if event.session.priority >= 0:
                queue.outbox.came(account)
        if event.session.priority >= 0:
            for queue in self._queues(*self._patrons.libraries(account)):
                queue.outbox.came(account)
        if event.initial:
            self._patron_changed(account)

    @on(hooks.SessionAnswering)
    def answering(self, event: hooks.SessionAnswering) -> None:
        """A librarian whose client does not answer is not on duty."""
        account = event.session.account
        for queue in self._offices.get(account, ()):
            queue.librarian_changed(account)
            if event.session.answering and event.session.priority >= 0:
                queue.outbox.came(account)

    @on(hooks.SessionUnavailable)
    def unavailable(self, event: hooks.SessionUnavailable) -> None:
        """A librarian may be gone; the contact of a patron's question goes with the patron's last client."""
        account = event.session.account
        self.core.liveness.unwatch(event.session)
        for queue in self._offices.get(account, ()):
            queue.librarian_changed(account)
        if not self.core.sessions.available(account):
            self._patron_changed(account)

    def _patron_changed(self, account: JID) -> None:
        for queue in self._queues(*self._patrons.libraries(account)):
            queue.roster_entries.patron_changed(account)

    @on(hooks.RemoteReachable)
    def reachable(self, event: hooks.RemoteReachable) -> None:
        """Another server is back: who of it missed something gets it."""
        for queue in self._queues(*self._libraries.values()):
            queue.presence.subscribers.reachable(event.domain)
            queue.outbox.reachable(event.domain)

    # -- forgetting -----------------------------------------------------------------------

    def _forget_later(self) -> None:
        self._forgetting = self.core.clock.callLater(FORGET_SECONDS, self._forget)

    def _forget(self) -> None:
        self._forget_later()
        self.core.run(self._forget_due(self.core.now()), "forgetting failed")

    async def _forget_due(self, now: float) -> None:
        """Forget piece by piece, so that claims and receipts do not wait for all of it."""
        while await self.core.database.read(privacy.is_due, now):
            _report(await self.core.database.write(privacy.forget_due, now))


class PatronIndex:
    """At which libraries a patron has open questions, so that a log-in does not ask all of them."""

    def __init__(self) -> None:
        self._libraries: dict[JID, list[Library]] = {}

    def libraries(self, patron: JID) -> list[Library]:
        """The libraries where the patron has an open question."""
        return [*self._libraries.get(patron, ())]

    def put(self, library: Library) -> None:
        """Take over all open questions of a library."""
        self.remove(library)
        for question in library.open_questions:
            if question.patron is not None:
                self._add(library, question.patron)

    def remove(self, library: Library) -> None:
        """Forget a library."""
        for patron in [patron for patron, found in self._libraries.items() if library in found]:
            self._discard(library, patron)

    def follow(self, library: Library, event: QuestionEvent) -> None:
        """Something has happened to a patron's question."""
        patron = event.question.patron
        if patron is not None and library.open_questions.has_patron(patron):
            self._add(library, patron)
        elif patron is not None:
            self._discard(library, patron)

    def _add(self, library: Library, patron: JID) -> None:
        found = self._libraries.setdefault(patron, [])
        if library not in found:
            found.append(library)

    def _discard(self, library: Library, patron: JID) -> None:
        found = self._libraries.get(patron, [])
        if library in found:
            found.remove(library)
        if not found:
            self._libraries.pop(patron, None)


def _report(forgotten: privacy.Forgotten) -> None:
    if forgotten.links or forgotten.messages:
        log.info(
            "forgotten: {links} patrons, {messages} messages",
            links=forgotten.links,
            messages=forgotten.messages,
        )


def _load(connection: Connection, domain: str) -> list[Stored]:
    return [load(connection, record) for record in queues.all_queues(connection, domain)]


def _load_again(
    connection: Connection, domain: str, opened: Collection[int]
) -> tuple[list[Stored], list[Question]]:
    """Read what is stored now, and those of the questions `opened` that have ended."""
    stored = _load(connection, domain)
    still = {question.id for one in stored for question, _ in one.questions}
    return stored, questions.with_ids(connection, set(opened) - still)
