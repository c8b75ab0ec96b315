"""The reference feature: all queues of all libraries served here.

Starts a library's queues when the library comes, listens to who comes and goes, forgets what
policy no longer keeps, and takes over changes made by refserverctl. It needs the library's
room service to be there before the library is announced.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from sqlalchemy import Connection
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from refserver.core.core import Core
from refserver.core.feature import Feature, on
from refserver.core.hooks import (
    HostAdded,
    HostRemoved,
    HostsComing,
    QueuesChanged,
    RemoteReachable,
    SendersChanged,
    SessionAvailable,
    SessionUnavailable,
)
from refserver.core.hosts import Host
from refserver.jid import JID
from refserver.muc.service import RoomService
from refserver.reference import privacy
from refserver.reference.loading import load_all
from refserver.reference.queue import Queue, Stored, load
from refserver.reference.rate_limits import RateLimits
from refserver.storage import conversations, queues

__all__ = ["Reference"]

log = Logger()

FORGET_SECONDS: Final = 600.0
"""How often it is looked for what policy no longer keeps."""


class Reference(Feature):
    """Keeps the queues. `hourly_limit` is how many questions a patron may ask in an hour, `domain_limit` how
    many a server elsewhere may bring to one library; 0 for any number.
    """

    name = "reference"
    after = ("presence", "offline", "library access")

    def __init__(self, core: Core, hourly_limit: int = 20, domain_limit: int = 0) -> None:
        super().__init__(core)
        self.hourly_limit = hourly_limit
        self.restraint = RateLimits(domain_limit, core.clock.seconds)
        self._queues: dict[JID, Queue] = {}
        self._desks: dict[JID, list[Queue]] = {}  # of each librarian: every presence asks for them
        self._forgetting: IDelayedCall | None = None
        self._recovered = False
        self._coming: dict[str, list[Stored]] = {}  # of the libraries that are announced at the start

    # -- for the server -----------------------------------------------------------------

    def queue(self, jid: JID) -> Queue | None:
        """The running queue of that address."""
        return self._queues.get(jid)

    def limit_questions(self, hourly_limit: int, domain_limit: int) -> None:
        """Set how many questions a patron may ask and a server bring in an hour, for all queues at once."""
        self.hourly_limit = hourly_limit
        if domain_limit != self.restraint.domain_questions:
            self.restraint = RateLimits(domain_limit, self.core.clock.seconds)
        for queue in self._queues.values():
            queue.hourly_limit = hourly_limit
            queue.restraint = self.restraint

    async def refresh(self, domain: str) -> None:
        """Take over what was changed in the store: queues, staff, settings of a library."""
        host = self.core.hosts.get(domain)
        if host is None:
            return
        # By the writer, so that nothing read here is older than what is already on the boards.
        stored = {one.record.jid: one for one in await self.core.database.write(_load, domain)}
        for jid in [jid for jid in self._queues if jid.domainpart == domain and jid not in stored]:
            self._close(jid).remove()
        for jid, one in stored.items():
            if jid in self._queues:
                queue = self._queues[jid]
                self._leave_desks(queue)
                queue.refresh(one)
                self._enter_desks(queue)
            else:
                self._open(host, one)

    @on(QueuesChanged)
    def queues_changed(self, event: QueuesChanged) -> Deferred[None]:
        """Take over the change."""
        return Deferred.fromCoroutine(self.refresh(event.domain))

    def stop(self) -> None:
        """The server ends. To be called before the clients' streams are closed."""
        for queue in self._queues.values():
            queue.stop()
        if self._forgetting is not None:
            self._forgetting.cancel()
            self._forgetting = None

    # -- libraries ------------------------------------------------------------------------

    @on(HostsComing)
    def hosts_coming(self, event: HostsComing) -> None:
        """Read all their queues."""
        self._recover()
        found = self.core.database.read_now(load_all)
        self._coming = {domain: found.get(domain, []) for domain in event.domains}

    @on(HostAdded)
    def host_added(self, event: HostAdded) -> None:
        """Open the library's queues."""
        event.host.staff = partial(_staff, event.host)
        self._recover()
        found = self._coming.pop(event.host.domain, None)
        if found is None:
            found = self.core.database.read_now(_load, event.host.domain)
        for stored in found:
            self._open(event.host, stored)

    @on(HostRemoved)
    def host_removed(self, event: HostRemoved) -> None:
        """Close them."""
        for jid in [jid for jid in self._queues if jid.domainpart == event.host.domain]:
            self._close(jid).stop()

    def _recover(self) -> None:
        """Once, before anything is read: what a crash has left is put in order."""
        if not self._recovered:
            self._recovered = True
            self.core.database.write_now(conversations.recover)
            self._forget_later()

    def _open(self, host: Host, stored: Stored) -> None:
        rooms = self.core.hosts.service(f"rooms.{host.domain}")
        if not isinstance(rooms, RoomService):
            log.error("the library {domain} has queues, but no rooms for their desks", domain=host.domain)
            return
        queue = Queue(self.core, host, rooms, stored, self.hourly_limit, self.restraint)
        self._queues[stored.record.jid] = queue
        self._enter_desks(queue)
        queue.start()

    def _close(self, jid: JID) -> Queue:
        queue = self._queues.pop(jid)
        self._leave_desks(queue)
        return queue

    def _enter_desks(self, queue: Queue) -> None:
        for librarian in queue.librarians:
            self._desks.setdefault(librarian, []).append(queue)

    def _leave_desks(self, queue: Queue) -> None:
        for librarian in queue.librarians:
            desks = self._desks[librarian]
            desks.remove(queue)
            if not desks:
                del self._desks[librarian]

    @on(SendersChanged)
    def senders_changed(self, event: SendersChanged) -> None:
        """Who is blocked gets no presence of a queue either; the store has forgotten them."""
        for queue in self._queues.values():
            gate = self.core.hosts.gate_of(queue.jid.domainpart)
            if gate is not None and event.host in (None, queue.host):
                for jid in queue.contact.subscribers.at(event.domain):
                    if gate.blocks(jid):
                        queue.contact.dismiss(jid)

    # -- people -----------------------------------------------------------------------------

    @on(SessionAvailable)
    def available(self, event: SessionAvailable) -> None:
        """A librarian gets what waited for her; the contact of a patron's question comes."""
        account = event.session.account
        for queue in self._desks.get(account, ()):
            if event.initial:
                queue.run(queue.entries.correct(account))
            if event.session.priority >= 0:
                queue.run(queue.give_rest_to(account))
        if event.initial:
            self._patron_changed(account)

    @on(SessionUnavailable)
    def unavailable(self, event: SessionUnavailable) -> None:
        """The contact of a patron's question goes, with the patron's last client."""
        if not self.core.sessions.available(event.session.account):
            self._patron_changed(event.session.account)

    def _patron_changed(self, account: JID) -> None:
        for queue in [queue for queue in self._queues.values() if queue.board.of_patron(account)]:
            queue.entries.patron_changed(account)

    @on(RemoteReachable)
    def reachable(self, event: RemoteReachable) -> None:
        """Another server is back: who of it missed something gets it."""
        for queue in self._queues.values():
            queue.contact.subscribers.reachable(event.domain)
            queue.owed.reachable(event.domain)

    # -- forgetting -----------------------------------------------------------------------

    def _forget_later(self) -> None:
        self._forgetting = self.core.clock.callLater(FORGET_SECONDS, self._forget)

    def _forget(self) -> None:
        self._forget_later()
        forgetting = Deferred.fromCoroutine(self._forget_due(self.core.now()))
        forgetting.addErrback(lambda failure: log.failure("forgetting failed", failure=failure))

    async def _forget_due(self, now: float) -> None:
        """Forget piece by piece, so that claims and receipts do not wait for all of it."""
        while await self.core.database.read(privacy.is_due, now):
            _report(await self.core.database.write(privacy.forget_due, now))


def _report(forgotten: privacy.Forgotten) -> None:
    if forgotten.links or forgotten.messages:
        log.info(
            "forgotten: {links} patrons, {messages} messages",
            links=forgotten.links,
            messages=forgotten.messages,
        )


def _staff(host: Host) -> set[JID]:
    """Who works for a library, at any of its desks."""
    return {jid for queue in host.addresses.values() if isinstance(queue, Queue) for jid in queue.librarians}


def _load(connection: Connection, domain: str) -> list[Stored]:
    return [load(connection, record) for record in queues.all_queues(connection, domain)]
