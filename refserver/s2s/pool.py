"""All ways to other servers: the destination of every stanza that is not for us.

Owns which way a stanza takes, and how many there may be. Specification: RFC 6120 10.4.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from refserver.core.hosts import Hosts
from refserver.core.outbox import Budget
from refserver.errors import Condition, StanzaError, StreamError
from refserver.jid import JID
from refserver.s2s.attempts import Attempts
from refserver.s2s.lane import Carrier, Lane
from refserver.s2s.outgoing import OutgoingConnection, at_once
from refserver.s2s.reaching import Reach
from refserver.s2s.remotes import Remotes
from refserver.s2s.way import Way
from refserver.stanza import Stanza

__all__ = ["Pair", "Pool"]

MOST_WAYS: Final = 5_000
IDLE_SECONDS: Final = 600.0

Pair = tuple[str, str]  # our domain, theirs


def _nobody(domain: str) -> None:
    """Nobody wants to know."""


def _drop(stanza: Stanza, connection: OutgoingConnection) -> None:
    """Nobody takes what comes on outgoing streams."""


@define(eq=False)
class Pool:
    """Implements `Destination` for `router.remote`. `bounce` returns a stanza to its sender, `reachable` is
    told the domain that is back after a failure (see `RemoteReachable`), `when_written` calls what it is
    given once all that was written to the database is durable.

    A pair of domains has one stream, so the order of stanzas between two addresses is kept. That may be one
    that the peer opened and takes our stanzas on, too (XEP-0288).
    """

    reach: Reach
    hosts: Hosts
    bounce: Callable[[Stanza, StanzaError], None]
    random: Callable[[], float] = random.random
    came: Callable[[Stanza, OutgoingConnection], None] = _drop
    reachable: Callable[[str], None] = _nobody
    when_written: Callable[[Callable[[], None]], None] = at_once
    budget: Budget = field(factory=Budget)
    attempts: Attempts = field(factory=Attempts, init=False)
    _ways: OrderedDict[Pair, Way] = field(factory=OrderedDict, init=False)
    unconfirmed: set[Way] = field(factory=set, init=False)  # ways of which something may be so
    _carriers: dict[Pair, Carrier] = field(factory=dict, init=False)
    _closed: bool = field(default=False, init=False)

    @property
    def clock(self) -> IReactorTime:
        """The reactor's."""
        return self.reach.clock

    @property
    def remotes(self) -> Remotes:
        """What is known of the others."""
        return self.reach.remotes

    def deliver(self, stanza: Stanza) -> None:
        """See `Destination`. What does not come from a domain of ours is never passed on."""
        assert stanza.to is not None
        if stanza.from_ is None or not self.hosts.is_local(stanza.from_.domainpart):
            return
        pair = stanza.from_.domainpart, stanza.to.domainpart
        way = self._ways.get(pair) or self._new_way(pair)
        if way is None or self._closed:
            self.bounce(stanza, StanzaError(Condition.RESOURCE_CONSTRAINT))
        else:
            way.send(stanza)

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
        way = self._ways.get((local, remote))
        return None if way is None else way.connection

    def answered(self, stanza: Stanza) -> bool:
        """Whether an iq of another server's answers a ping of ours; then it is dealt with."""
        if stanza.from_ is None or stanza.to is None:
            return False
        way = self._ways.get((stanza.to.domainpart, stanza.from_.domainpart))
        return way is not None and way.answered(stanza)

    def carry(self, pair: Pair, carrier: Carrier) -> None:
        """Stanzas of a pair may go over a stream that the other server opened."""
        self._carriers[pair] = carrier

    def carrier(self, pair: Pair) -> Lane | None:
        """The stream of the other server's that takes stanzas of a pair; none when everything ends."""
        carrier = None if self._closed else self._carriers.get(pair)
        return carrier if carrier is not None and carrier.carries(*pair) else None

    def carry_no_more(self, carrier: Lane) -> None:
        """That stream is over."""
        self._carriers = {pair: each for pair, each in self._carriers.items() if each is not carrier}

    def heard_from(self, remote: str) -> None:
        """Another server has opened a stream to us: nobody has to wait for it any longer."""
        for way in self._ways.values():
            if way.remote == remote:
                way.heard()
        self.stands(remote)

    def stands(self, remote: str) -> None:
        """A stream to or from another server stands and is ready: tell who waits for that, once."""
        counters = self.remotes.get(remote)
        if counters.away:
            counters.away = False
            self.reachable(remote)

    def close_idle(self) -> None:
        """Close the streams on which nothing was sent for IDLE_SECONDS."""
        before = self.clock.seconds() - IDLE_SECONDS
        for way in self._ways.values():
            if way.last_used < before and way.idle:
                way.close()

    def look(self) -> None:
        """Once a second: see to the streams on which something waits for confirmation."""
        for way in list(self.unconfirmed):
            if not way.look():
                self.unconfirmed.discard(way)

    def close_all(self, error: StreamError) -> None:
        """End everything: the server stops. What waits is returned."""
        self._closed = True
        for way in list(self._ways.values()):
            way.close(error)

    def __iter__(self) -> Iterator[Way]:
        return iter(list(self._ways.values()))

    def _new_way(self, pair: Pair) -> Way | None:
        """A new way; None where there are too many and none can be forgotten."""
        if len(self._ways) >= MOST_WAYS:
            resting = next((known for known, way in self._ways.items() if way.resting), None)
            if resting is None:
                return None
            del self._ways[resting]
        way = self._ways[pair] = Way(self, *pair)
        return way
