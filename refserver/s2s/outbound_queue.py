"""The queues of stanzas for other servers, one for each pair of one of our domains and one of theirs.

`Pool` has them all, and is the destination of every stanza for another server (RFC 6120 10.4). A queue is
made with the first stanza and is in one of these states:

    resting      no stream; the next stanza begins an attempt
    connecting   an attempt is under way; stanzas wait in the backlog. Within ATTEMPT_SECONDS every
                 target is tried, again and again with growing pauses, so that a restart of the other
                 server is not noticed
    open         the stream stands: what waited has been sent, in order, and what comes is sent at once, as
                 long as not too much is unacknowledged. When the stream ends, what is unacknowledged
                 waits in front of the rest and a new attempt begins: it is sent a second time, but never
                 a third, and comes back if that fails too
    backing off  the attempt failed and gave everything back, unless the peer has opened a stream
                 meanwhile that takes it (XEP-0288). For a while (FIRST_PAUSE seconds, doubled
                 with each failure up to LONGEST_PAUSE, and up to half as much less at random) stanzas come
                 back at once with the same error: nobody waits for what has just failed, and a server
                 that is in trouble is left alone. A stream of its own to us ends the pause, as it does
                 those between the tries of an attempt

Nothing is tried while there is nothing to send.
"""

from __future__ import annotations

import random
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from refserver import ns
from refserver.core.hosts import Hosts
from refserver.core.outbox import OVERHEAD, Budget, Held, parted
from refserver.errors import Cause, Condition, StanzaError, StreamCondition, StreamError, StreamFault
from refserver.jid import JID
from refserver.s2s.acknowledgement import Acknowledgements, BidiLink, Link
from refserver.s2s.attempts import Attempts
from refserver.s2s.connect import Connector
from refserver.s2s.known_servers import KnownServer, KnownServers
from refserver.s2s.outgoing import OutgoingConnection, Unreachable
from refserver.stanza import Stanza

log = Logger()

ATTEMPT_SECONDS: Final = 30.0
FIRST_RETRY: Final = 0.5
FIRST_PAUSE: Final = 5.0
LONGEST_PAUSE: Final = 60.0
DOUBLINGS: Final = 8
MOST_WAITING: Final = 1_000
MOST_WAITING_BYTES: Final = 2 << 20
MOST_QUEUES: Final = 5_000
IDLE_SECONDS: Final = 600.0
FLUSH_CHECK_SECONDS: Final = 0.05

Pair = tuple[str, str]  # our domain, theirs


@define(eq=False)
class Backlog:
    """The stanzas of one queue that wait for a stream, in order; bounded in number and bytes."""

    _budget: Budget
    _most_stanzas: int = MOST_WAITING
    _most_bytes: int = MOST_WAITING_BYTES
    _waiting: deque[Held] = field(factory=deque, init=False)
    _bytes: int = field(default=0, init=False)

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, stanza: Stanza) -> bool:
        """Append a stanza; False if there is no room for it."""
        data = stanza.encode(ns.SERVER)
        cost = len(data) + OVERHEAD
        full = len(self._waiting) >= self._most_stanzas or self._bytes + cost > self._most_bytes
        if full or cost > self._budget.left:
            return False
        self._count(cost)
        self._waiting.append(Held(stanza, data))
        return True

    def put_back(self, held: Sequence[Held]) -> None:
        """Put stanzas in front of all others, in their order, whatever room there is."""
        for each in reversed(held):
            self._count(each.cost)
            self._waiting.appendleft(each)

    def pop(self) -> Held:
        """Remove and return the oldest stanza. Raises IndexError if there is none."""
        held = self._waiting.popleft()
        self._count(-held.cost)
        return held

    def empty(self, take: Callable[[Held], None]) -> None:
        """Remove all stanzas and pass each to `take`, the oldest first."""
        waiting, self._waiting = self._waiting, deque()
        self._count(-self._bytes)
        for held in waiting:
            take(held)

    def _count(self, cost: int) -> None:
        self._bytes += cost
        self._budget.left -= cost


@define(eq=False)
class OutboundQueue:
    """Stanzas from our domain `local` to another server's `remote`. Implements `LinkUser`."""

    _pool: Pool
    local: str
    remote: str
    last_used: float = field(default=0.0, init=False)  # on the reactor's clock
    _counters: KnownServer = field(init=False)
    _backlog: Backlog = field(init=False)
    _acknowledgements: Acknowledgements = field(init=False)
    _link: Link | None = field(default=None, init=False)
    _is_ours: bool = field(default=False, init=False)  # that stream, not the peer's (XEP-0288)
    _attempt: Deferred[None] | None = field(default=None, init=False)
    _end_share: Callable[[], None] = field(default=lambda: None, init=False)
    _nap: IDelayedCall | None = field(default=None, init=False)  # between two tries of an attempt
    _failures: int = field(default=0, init=False)
    _until: float = field(default=0.0, init=False)  # when the pause is over
    _reason: Unreachable = field(factory=lambda: Unreachable(Cause.CLOSED), init=False)

    def __attrs_post_init__(self) -> None:
        pool = self._pool
        self._counters = pool.connector.known_servers.get(self.remote)
        self._backlog = Backlog(pool.budget)
        self._acknowledgements = Acknowledgements(
            JID.parse(self.local), self._counters, pool.budget, pool.clock
        )

    @property
    def resting(self) -> bool:
        """True if nothing is lost when the queue is forgotten."""
        return self._link is None and self._attempt is None

    @property
    def idle(self) -> bool:
        """True if everything was sent and acknowledged."""
        return self._attempt is None and not self._backlog and not self._acknowledgements

    @property
    def connecting(self) -> bool:
        """True if an attempt to connect is under way."""
        return self._attempt is not None

    @property
    def waiting(self) -> int:
        """The number of stanzas that wait for a stream."""
        return len(self._backlog)

    @property
    def unacknowledged(self) -> int:
        """The number of stanzas that were sent and not acknowledged."""
        return len(self._acknowledgements)

    @property
    def pause(self) -> float:
        """The seconds until the next attempt is possible; until then stanzas are returned at once."""
        return 0.0 if self._attempt is not None else max(0.0, self._until - self._pool.clock.seconds())

    @property
    def connection(self) -> OutgoingConnection | None:
        """The open stream, if it is one of ours."""
        link = self._link
        return link if isinstance(link, OutgoingConnection) and link.usable else None

    def send(self, stanza: Stanza) -> None:
        """Send a stanza, now or soon, or return it to its sender. Never raises."""
        self.last_used = now = self._pool.clock.seconds()
        if self._link is not None and not self._link.usable:
            has_room = self._backlog.add(stanza)
            self._link_lost(StreamFault(Cause.CLOSED))
            if not has_room:
                self._return(stanza, _busy())
            return
        if self.resting:
            self._use_bidi_link()
        link = self._link
        if link is not None and not self._backlog and not self._acknowledgements.window.full:
            self._put(link, Held(stanza, stanza.encode(ns.SERVER)))
        elif self.resting and self._until > now:
            self._return(stanza, _error(self._reason))
        elif (self.resting and not self._pool.may_connect(stanza.from_, self.remote)) or (
            not self._backlog.add(stanza)
        ):
            self._return(stanza, _busy())
        elif self.resting:
            self._begin(stanza.from_)

    def heard(self) -> None:
        """End the pause: the other server has opened a stream to us."""
        self._until = 0.0
        if self._nap is not None:
            self._nap.reset(0)

    def look(self) -> bool:
        """Replace a stream whose peer is dead. Return True if something is still unacknowledged."""
        link = self._link
        if link is None:
            return False
        if self._acknowledgements.is_dead():
            link.users.remove(self)
            link.close(StreamError(StreamCondition.CONNECTION_TIMEOUT, "nothing was acknowledged in time"))
            self._link_lost(StreamFault(Cause.NOTHING_ACKNOWLEDGED))
        self._drain()
        return bool(self._acknowledgements)

    def close(self, error: StreamError | None = None) -> None:
        """End the stream or the attempt, and return what waits.

        What is unacknowledged has probably arrived: it is not returned, only tracked stanzas are settled.
        """
        link = self._link
        if link is None:
            if self._attempt is not None:
                self._attempt.cancel()
            return
        ours = self._is_ours
        unacknowledged = self._detach()
        if ours:
            link.close(error)
        refusal = _error(self._reason)
        for held in unacknowledged:
            held.settle(refusal)
        self._backlog.empty(lambda held: self._return(held.envelope, refusal))

    # -- LinkUser -------------------------------------------------------------

    def managed(self, link: Link) -> None:
        if link is self._link:
            self._acknowledgements.managed()

    def confirmed(self, link: Link, number: int) -> None:
        if link is self._link:
            self._acknowledgements.confirmed(number)
            self._drain()

    def ended(self, link: Link, fault: StreamFault) -> None:
        if link is self._link:
            self._link_lost(fault)

    def answered(self, stanza: Stanza) -> bool:
        """Process an iq that answers our ping; False if it does not."""
        ours = self._acknowledgements.answered(stanza)
        self._drain()
        return ours

    # -- streams -----------------------------------------------------------

    def _attach(self, link: Link, *, ours: bool) -> None:
        self._link = link
        self._is_ours = ours
        link.users.append(self)
        self._acknowledgements.begin(link)

    def _use_bidi_link(self) -> None:
        """Use a stream that the peer opened, if there is one."""
        bidi_link = self._pool.bidi_link((self.local, self.remote))
        if bidi_link is not None:
            self._attach(bidi_link, ours=False)

    def _put(self, link: Link, held: Held) -> None:
        try:
            held.number = link.send_bytes(held.data)
        except StanzaError as error:
            self._return(held.envelope, error)
            return
        self._counters.sent += 1
        if self._acknowledgements.sent(held):
            self._pool.unacknowledged.add(self)

    def _drain(self) -> None:
        """Send what waits, as far as the window has room."""
        while self._backlog and not self._acknowledgements.window.full:
            link = self._link
            if link is None or not link.usable:  # we are told when it ends, or the attempt does
                return
            self._put(link, self._backlog.pop())

    def _detach(self) -> list[Held]:
        """Stop using the stream; return what is unacknowledged."""
        link, self._link = self._link, None
        assert link is not None
        if self in link.users:
            link.users.remove(self)
        if self._is_ours:
            self._counters.outgoing -= 1
        return self._acknowledgements.end()

    def _link_lost(self, fault: StreamFault) -> None:
        """Send what the lost stream did not acknowledge once more, on another one, then what waits."""
        ours = self._is_ours
        held = self._detach()
        self._backlog.empty(held.append)
        if ours:
            self._counters.failed(fault)
            self._counters.away = True
            log.info(
                "the stream to {domain} is over: {reason}",
                domain=self.remote,
                reason=self._counters.last_error,
            )
        if held:
            self._send_again(held)

    def _send_again(self, held: list[Held]) -> None:
        lost = _error(Unreachable(Cause.CLOSED))
        sender = held[0].from_
        once, rest = parted(held) if self._pool.may_connect(sender, self.remote) else ([], held)
        if once:
            for each in once:
                each.again = each.number > 0
            self._backlog.put_back(once)
            self._use_bidi_link()
            if self._link is None:
                self._begin(sender)
            self._drain()
        for each in rest:
            self._return(each.envelope, lost)

    # -- attempts ----------------------------------------------------------

    def _begin(self, sender: JID | None) -> None:
        self._attempt = Deferred()  # stands for the real one until that has begun
        self._end_share = self._pool.begin_attempt(sender, self.remote, self._give_up)
        self._reason = Unreachable(Cause.TOO_SLOW)
        reached = Deferred.fromCoroutine(self._reached())
        reached.addTimeout(ATTEMPT_SECONDS, self._pool.clock)
        reached.addBoth(self._tried)
        finished = reached.addCallbacks(self._opened, self._failed)
        finished.addErrback(self._broken)
        if not finished.called:
            self._attempt = finished

    async def _reached(self) -> OutgoingConnection:
        """Return an open stream, after as many tries as it takes.

        Raises `Unreachable` if another try is of no use.
        """
        connector = self._pool.connector
        pause = FIRST_RETRY
        while True:
            try:
                return await connector.connect(self.local, self.remote, connector.established)
            except Unreachable as error:
                self._reason = error
                if error.permanent:
                    raise
            await self._sleep(pause * self._jitter())
            pause *= 2

    async def _sleep(self, seconds: float) -> None:
        """Wait so long, or until the other server opens a stream to us."""
        over: Deferred[None] = Deferred()
        self._nap = self._pool.clock.callLater(seconds, over.callback, None)
        try:
            await over
        finally:
            nap, self._nap = self._nap, None
            if nap.active():
                nap.cancel()

    def _tried(self, result: Any) -> Any:
        self._end_share()
        self._attempt = None
        return result

    def _give_up(self) -> None:
        """End the attempt in favour of somebody who has fewer of them."""
        self._reason = Unreachable(Cause.TOO_MANY, Condition.RESOURCE_CONSTRAINT)
        if self._attempt is not None:
            self._attempt.cancel()

    def _opened(self, connection: OutgoingConnection) -> None:
        self._failures = 0
        self._counters.outgoing_method = connection.method
        self._counters.outgoing += 1
        self._attach(connection, ours=True)
        self._drain()
        self._pool.stands(self.remote)
        log.debug("stream to {domain} is open ({method})", domain=self.remote, method=connection.method)

    def _failed(self, failure: Failure) -> None:
        """Use a stream that the peer has opened meanwhile; else give everything back, and leave the other
        server alone for a while.
        """
        self._use_bidi_link()
        if self._link is not None:
            self._drain()
            return
        error = failure.value
        if isinstance(error, Unreachable):
            self._reason = error
        elif not isinstance(error, TimedOut):
            log.debug("attempt to reach {domain} was given up", domain=self.remote)
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2**self._failures)
        self._failures = min(DOUBLINGS, self._failures + 1)
        self._until = self._pool.clock.seconds() + pause * self._jitter()
        self._counters.failed(self._reason.fault)
        self._counters.away = True
        log.info("no stream to {domain}: {reason}", domain=self.remote, reason=self._counters.last_error)
        refusal = _error(self._reason)
        self._backlog.empty(lambda held: self._return(held.envelope, refusal))

    def _broken(self, failure: Failure) -> None:
        """Return everything after an unexpected exception."""
        log.failure("a stream to {domain} failed", failure=failure, domain=self.remote)
        refusal = StanzaError(Condition.INTERNAL_SERVER_ERROR)
        self._backlog.empty(lambda held: self._return(held.envelope, refusal))

    def _return(self, stanza: Stanza, error: StanzaError) -> None:
        """Return a stanza to its sender with `error`; answers are dropped (RFC 6120 8.3.1)."""
        self._counters.returned += 1
        try:
            self._pool.bounce(stanza, error)
        except Exception:
            log.failure("a {kind} could not be returned", kind=stanza.kind)

    def _jitter(self) -> float:
        return 0.5 + self._pool.random() / 2


@define(eq=False)
class Pool:
    """Implements `Destination` for `router.remote`.

    `bounce` returns a stanza to its sender. `reachable` is called with a domain that is back after a failure
    (see `RemoteReachable`).

    A pair of domains has one stream, so the order of stanzas between two addresses is kept. That may be one
    that the peer opened and takes our stanzas on, too (XEP-0288).
    """

    connector: Connector
    hosts: Hosts
    bounce: Callable[[Stanza, StanzaError], None]
    reachable: Callable[[str], None]
    random: Callable[[], float] = random.random
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


def _error(reason: Unreachable) -> StanzaError:
    return StanzaError(reason.condition, _WORDS.get(reason.condition, ""))


def _busy() -> StanzaError:
    return StanzaError(Condition.RESOURCE_CONSTRAINT, "too much waits for the other server already")


_WORDS: dict[Condition, str] = {
    Condition.REMOTE_SERVER_NOT_FOUND: "there is no XMPP server for that domain",
    Condition.REMOTE_SERVER_TIMEOUT: "the other server cannot be reached now",
}
