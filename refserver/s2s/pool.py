"""All queues to other servers: the destination of every stanza that is not for us.

Owns which queue a stanza takes, and how many there may be. Specification: RFC 6120 10.4.
"""

from __future__ import annotations

import random
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from typing import Final

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from refserver.core.hosts import Hosts
from refserver.core.outbox import Budget
from refserver.errors import Condition, StanzaError, StreamError
from refserver.jid import JID
from refserver.s2s.connect import Connector
from refserver.s2s.known_servers import KnownServers
from refserver.s2s.link import BidiLink, Link
from refserver.s2s.outbound_queue import OutboundQueue
from refserver.s2s.outgoing import OutgoingConnection, at_once
from refserver.stanza import Stanza

__all__ = ["Pair", "Pool"]

MOST_QUEUES: Final = 5_000
MOST_TOGETHER: Final = 1_024
MOST_EACH: Final = 256
IDLE_SECONDS: Final = 600.0

Pair = tuple[str, str]  # our domain, theirs


def _nobody(domain: str) -> None:
    """Nobody wants to know."""


def _drop(stanza: Stanza, connection: OutgoingConnection) -> None:
    """Nobody takes what comes on outgoing streams."""


@define(eq=False)
class Attempts:
    """Counts them; `account` is a bare JID, None for what no account has sent."""

    _together: int = field(default=0, init=False)
    _each: Counter[JID] = field(factory=Counter, init=False)

    def __len__(self) -> int:
        return self._together

    def may_begin(self, account: JID | None) -> bool:
        """Whether there may be one more."""
        return self._together < MOST_TOGETHER and (account is None or self._each[account] < MOST_EACH)

    def begin(self, account: JID | None) -> None:
        """One more."""
        self._together += 1
        if account is not None:
            self._each[account] += 1

    def end(self, account: JID | None) -> None:
        """One less."""
        self._together -= 1
        if account is not None:
            self._each[account] -= 1
            if not self._each[account]:
                del self._each[account]


@define(eq=False)
class Pool:
    """Implements `Destination` for `router.remote`. `bounce` returns a stanza to its sender, `reachable` is
    told the domain that is back after a failure (see `RemoteReachable`), `when_written` calls what it is
    given once all that was written to the database is commit_barrier.

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
    unconfirmed: set[OutboundQueue] = field(factory=set, init=False)  # queues of which something may be so
    _bidi_links: dict[Pair, BidiLink] = field(factory=dict, init=False)
    _closed: bool = field(default=False, init=False)

    @property
    def clock(self) -> IReactorTime:
        """The reactor's."""
        return self.connector.clock

    @property
    def known_servers(self) -> KnownServers:
        """What is known of the others."""
        return self.connector.known_servers

    def deliver(self, stanza: Stanza) -> None:
        """See `Destination`. What does not come from a domain of ours is never passed on."""
        assert stanza.to is not None
        if stanza.from_ is None or not self.hosts.is_local(stanza.from_.domainpart):
            return
        pair = stanza.from_.domainpart, stanza.to.domainpart
        queue = self._queues.get(pair) or self._new_queue(pair)
        if queue is None or self._closed:
            self.bounce(stanza, StanzaError(Condition.RESOURCE_CONSTRAINT))
        else:
            queue.send(stanza)

    def may_connect(self, sender: JID | None) -> bool:
        """Whether one more attempt is possible now for something from `sender`."""
        return self.attempts.may_begin(self.account_of(sender)) and not self._closed

    def account_of(self, sender: JID | None) -> JID | None:
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
        """Whether an iq of another server's answers a ping of ours; then it is dealt with."""
        if stanza.from_ is None or stanza.to is None:
            return False
        queue = self._queues.get((stanza.to.domainpart, stanza.from_.domainpart))
        return queue is not None and queue.answered(stanza)

    def add_bidi_link(self, pair: Pair, bidi_link: BidiLink) -> None:
        """Stanzas of a pair may go over a stream that the other server opened."""
        self._bidi_links[pair] = bidi_link

    def bidi_link(self, pair: Pair) -> Link | None:
        """The stream of the other server's that takes stanzas of a pair; none when everything ends."""
        bidi_link = None if self._closed else self._bidi_links.get(pair)
        return bidi_link if bidi_link is not None and bidi_link.carries(*pair) else None

    def remove_bidi_link(self, bidi_link: Link) -> None:
        """That stream is over."""
        self._bidi_links = {pair: each for pair, each in self._bidi_links.items() if each is not bidi_link}

    def heard_from(self, remote: str) -> None:
        """Another server has opened a stream to us: nobody has to wait for it any longer."""
        for queue in self._queues.values():
            if queue.remote == remote:
                queue.heard()
        self.stands(remote)

    def stands(self, remote: str) -> None:
        """A stream to or from another server stands and is ready: tell who waits for that, once."""
        counters = self.known_servers.get(remote)
        if counters.away:
            counters.away = False
            self.reachable(remote)

    def close_idle(self) -> None:
        """Close the streams on which nothing was sent for IDLE_SECONDS."""
        before = self.clock.seconds() - IDLE_SECONDS
        for queue in self._queues.values():
            if queue.last_used < before and queue.idle:
                queue.close()

    def look(self) -> None:
        """Once a second: see to the streams on which something waits for confirmation."""
        for queue in list(self.unconfirmed):
            if not queue.look():
                self.unconfirmed.discard(queue)

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
