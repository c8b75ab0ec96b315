"""All outbound queues: the destination of every stanza for another server (RFC 6120 10.4)."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Final

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from refserver.core.hosts import Hosts
from refserver.core.outbox import Budget
from refserver.errors import Condition, StanzaError, StreamError
from refserver.jid import JID
from refserver.s2s.acknowledgement import BidiLink, Link
from refserver.s2s.connect import Connector
from refserver.s2s.known_servers import KnownServers
from refserver.s2s.outbound_queue import OutboundQueue
from refserver.s2s.outgoing import OutgoingConnection, at_once
from refserver.stanza import Stanza

MOST_QUEUES: Final = 5_000
IDLE_SECONDS: Final = 600.0
MOST_OF_ACCOUNTS: Final = 1_024
MOST_OF_ONE_ACCOUNT: Final = 256
MOST_OF_QUEUES: Final = 1_024
MOST_TO_ONE_SITE: Final = 64
FLUSH_CHECK_SECONDS: Final = 0.05

GiveUp = Callable[[], None]
Pair = tuple[str, str]  # our domain, theirs


def _nobody(domain: str) -> None:
    """Ignore that a server is back."""


def _drop(stanza: Stanza, connection: OutgoingConnection) -> None:
    """Ignore what comes on outgoing streams."""


@define(eq=False)
class Shares:
    """At most `total` tasks are under way, and at most `each` for one owner.

    When all places are taken, an owner still gets one if another owner has at least two more: the oldest task
    of the owner who has most is given up. So a few owners whose tasks never end cannot keep others out.
    """

    total: int
    each: int
    _tasks: dict[Hashable, list[GiveUp]] = field(factory=dict, init=False)
    _count: int = field(default=0, init=False)

    def __len__(self) -> int:
        return self._count

    def may_take(self, owner: Hashable) -> bool:
        """True if `take` would find a place."""
        held = len(self._tasks.get(owner, ()))
        return held < self.each and (self._count < self.total or self._most() > held + 1)

    def take(self, owner: Hashable, give_up: GiveUp) -> None:
        """Take a place, where `may_take`. `give_up` ends the task early; the task calls `release` then."""
        if self._count >= self.total:
            self._tasks[max(self._tasks, key=lambda each: len(self._tasks[each]))][0]()
        self._tasks.setdefault(owner, []).append(give_up)
        self._count += 1

    def release(self, owner: Hashable, give_up: GiveUp) -> None:
        """Give a place back: the task has ended."""
        tasks = self._tasks[owner]
        tasks.remove(give_up)
        self._count -= 1
        if not tasks:
            del self._tasks[owner]

    def _most(self) -> int:
        return max(map(len, self._tasks.values()), default=0)


@define(eq=False)
class Attempts:
    """The attempts to connect to other servers that are under way.

    An attempt costs sockets and queries, and lasts ATTEMPT_SECONDS where nobody answers. Accounts share one
    set of places, each with a bound. Queues, rooms and components have another set, so that no account keeps
    a queue from its patrons; there one site, which is all domains with the same last two labels, has a bound.
    """

    _accounts: Shares = field(factory=lambda: Shares(MOST_OF_ACCOUNTS, MOST_OF_ONE_ACCOUNT))
    _queues: Shares = field(factory=lambda: Shares(MOST_OF_QUEUES, MOST_TO_ONE_SITE))

    def __len__(self) -> int:
        return len(self._accounts) + len(self._queues)

    def may_begin(self, account: JID | None, remote: str) -> bool:
        """True if there may be one more for `account`, or for a queue if that is None, to `remote`."""
        shares, owner = self._shares(account, remote)
        return shares.may_take(owner)

    def begin(self, account: JID | None, remote: str, give_up: Callable[[], None]) -> Callable[[], None]:
        """Count one more, which `give_up` ends early; return what is to be called at its end."""
        shares, owner = self._shares(account, remote)
        shares.take(owner, give_up)
        return lambda: shares.release(owner, give_up)

    def _shares(self, account: JID | None, remote: str) -> tuple[Shares, Hashable]:
        if account is not None:
            return self._accounts, account
        return self._queues, ".".join(remote.split(".")[-2:])


@define(eq=False)
class Pool:
    """Implements `Destination` for `router.remote`.

    `bounce` returns a stanza to its sender. `reachable` is called with a domain that is back after a failure
    (see `RemoteReachable`). `when_written` is `CommitBarrier.then`.

    A pair of domains has one stream, so the order of stanzas between two addresses is kept. That may be one
    that the peer opened and takes our stanzas on, too (XEP-0288).
    """

    connector: Connector
    hosts: Hosts
    bounce: Callable[[Stanza, StanzaError], None]
    random: Callable[[], float] = random.random
    came: Callable[[Stanza, OutgoingConnection], None] = _drop
    reachable: Callable[[str], None] = _nobody
    when_written: Callable[[Callable[[], None]], None] = at_once
    budget: Budget = field(factory=Budget)
    attempts: Attempts = field(factory=Attempts, init=False)
    _queues: OrderedDict[Pair, OutboundQueue] = field(factory=OrderedDict, init=False)
    unacknowledged: set[OutboundQueue] = field(factory=set, init=False)  # queues that may have such stanzas
    _bidi_links: dict[Pair, BidiLink] = field(factory=dict, init=False)
    _retired: set[Pair] = field(factory=set, init=False)
    _closed: bool = field(default=False, init=False)

    @property
    def clock(self) -> IReactorTime:
        """The reactor's clock."""
        return self.connector.clock

    @property
    def known_servers(self) -> KnownServers:
        """The counters of other servers."""
        return self.connector.known_servers

    def deliver(self, stanza: Stanza) -> None:
        # What does not come from a domain of ours is not passed on (no relay).
        assert stanza.to is not None
        if stanza.from_ is None or not self.hosts.is_local(stanza.from_.domainpart):
            stanza.settle(StanzaError(Condition.NOT_ALLOWED, "this domain is not served here"))
            return
        pair = stanza.from_.domainpart, stanza.to.domainpart
        queue = self._queues.get(pair) or self._new_queue(pair)
        if queue is None or self._closed:
            self.bounce(stanza, StanzaError(Condition.RESOURCE_CONSTRAINT))
        else:
            queue.send(stanza)

    def may_connect(self, sender: JID | None, remote: str) -> bool:
        """True if one more attempt is possible now for something from `sender` to the domain `remote`."""
        return not self._closed and self.attempts.may_begin(self._account_of(sender), remote)

    def begin_attempt(
        self, sender: JID | None, remote: str, give_up: Callable[[], None]
    ) -> Callable[[], None]:
        """Count an attempt, which `give_up` ends early; return what is to be called at its end."""
        return self.attempts.begin(self._account_of(sender), remote, give_up)

    def _account_of(self, sender: JID | None) -> JID | None:
        """The account that a stanza of ours is from; None if it is from a queue, a room or the server."""
        host = None if sender is None or not sender.localpart else self.hosts.get(sender.domainpart)
        if sender is None or host is None or host.find(sender.localpart) is not None:
            return None
        return sender.bare

    def connection(self, local: str, remote: str) -> OutgoingConnection | None:
        """The open stream of a pair, if it is one of ours."""
        queue = self._queues.get((local, remote))
        return None if queue is None else queue.connection

    def answered(self, stanza: Stanza) -> bool:
        """Process an iq that answers a ping of ours; False if it does not."""
        if stanza.from_ is None or stanza.to is None:
            return False
        queue = self._queues.get((stanza.to.domainpart, stanza.from_.domainpart))
        return queue is not None and queue.answered(stanza)

    def add_bidi_link(self, pair: Pair, bidi_link: BidiLink) -> None:
        """Let stanzas of a pair go over a stream that the other server opened."""
        self._bidi_links[pair] = bidi_link

    def bidi_link(self, pair: Pair) -> Link | None:
        """The stream opened by the other server that takes stanzas of a pair; None when the server stops."""
        bidi_link = None if self._closed else self._bidi_links.get(pair)
        return bidi_link if bidi_link is not None and bidi_link.carries(*pair) else None

    def remove_bidi_link(self, bidi_link: Link) -> None:
        """Forget a stream that is over."""
        self._bidi_links = {pair: each for pair, each in self._bidi_links.items() if each is not bidi_link}

    def heard_from(self, remote: str) -> None:
        """End all pauses: another server has opened a stream to us."""
        for queue in self._queues.values():
            if queue.remote == remote:
                queue.heard()
        self.stands(remote)

    def stands(self, remote: str) -> None:
        """Call `reachable`, once after each failure: a stream to or from another server is ready."""
        counters = self.known_servers.get(remote)
        if counters.away:
            counters.away = False
            self.reachable(remote)

    def look(self) -> None:
        """Once a second: replace dead streams, and end the queues of domains that are not ours any more."""
        for queue in list(self.unacknowledged):
            if not queue.look():
                self.unacknowledged.discard(queue)
        if self._retired:
            self._end_retired()

    def retire(self, is_gone: Callable[[str], bool]) -> None:
        """End the queues of our domains for which `is_gone`, each as soon as all is sent and acknowledged."""
        self._retired.update(pair for pair in self._queues if is_gone(pair[0]))
        self._end_retired()

    def _end_retired(self) -> None:
        for pair in list(self._retired):
            queue = self._queues.get(pair)
            if queue is None or self.hosts.is_local(queue.local):
                self._retired.discard(pair)
            elif queue.idle:
                queue.close()
                del self._queues[pair]
                self._retired.discard(pair)

    def close_idle(self) -> None:
        """Close the streams on which nothing was sent for IDLE_SECONDS."""
        before = self.clock.seconds() - IDLE_SECONDS
        for queue in self._queues.values():
            if queue.last_used < before and queue.idle:
                queue.close()

    async def flush(self, seconds: float) -> None:
        """Wait until everything was sent and acknowledged, at most so long."""
        deadline = self.clock.seconds() + seconds
        while not all(queue.idle for queue in self) and self.clock.seconds() < deadline:
            pause: Deferred[None] = Deferred()
            self.clock.callLater(FLUSH_CHECK_SECONDS, pause.callback, None)
            await pause

    def close_all(self, error: StreamError) -> None:
        """End everything: the server stops. What waits is returned."""
        self._closed = True
        for queue in list(self._queues.values()):
            queue.close(error)

    def __iter__(self) -> Iterator[OutboundQueue]:
        return iter(list(self._queues.values()))

    def _new_queue(self, pair: Pair) -> OutboundQueue | None:
        """A new queue; None where there are too many and none can be forgotten."""
        if len(self._queues) >= MOST_QUEUES:
            resting = next((known for known, queue in self._queues.items() if queue.resting), None)
            if resting is None:
                return None
            del self._queues[resting]
        queue = self._queues[pair] = OutboundQueue(self, *pair)
        return queue
