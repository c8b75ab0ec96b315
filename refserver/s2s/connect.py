"""Connecting to another server: its targets are tried in turn until a stream stands on one.

Of the addresses of one target the first that answers is used (happy eyeballs, RFC 8305 5). Owns the deadlines
of one attempt; trying again is outbound_queue.py's business.
"""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from refserver.core.ports import Clock
from refserver.errors import Cause, Condition, StreamFault
from refserver.net.certificates import ascii_name
from refserver.net.connection import Accept, Connection
from refserver.net.receiver import Receiver
from refserver.s2s.outgoing import OutgoingConnection, OutgoingContext, Unreachable
from refserver.s2s.resolver import NoAnswer, NoSuchServer, Resolver, Target

CONNECT_SECONDS: Final = 10.0
NEGOTIATE_SECONDS: Final = 15.0
NEXT_SECONDS: Final = 0.25  # RFC 8305 5: the Connection Attempt Delay
_CAUSES: Final = {
    errno.ECONNREFUSED: Cause.CONNECTION_REFUSED,
    errno.ETIMEDOUT: Cause.CONNECTION_TIMEOUT,
    errno.EHOSTUNREACH: Cause.NO_ROUTE,
    errno.ENETUNREACH: Cause.NO_ROUTE,
    errno.EHOSTDOWN: Cause.NO_ROUTE,
}

T = TypeVar("T")
Connect = Callable[[tuple[str, int], Accept, float], Deferred[Connection]]  # as `Mux.connect`


@define(eq=False)
class Connector(OutgoingContext):
    """Makes streams to other servers; a peer may send `bytes_per_second` on each, 0 for no limit."""

    clock: IReactorTime
    resolver: Resolver
    bytes_per_second: float = 0

    async def connect(
        self,
        local: str,
        remote: str,
        use: Callable[[OutgoingConnection], Awaitable[T]],
        *,
        verify_only: bool = False,
    ) -> T:
        """Connect to `remote` on behalf of our domain `local`, and return what `use` makes of it.

        Where `use` raises `Unreachable` the next target has its turn. Raises `Unreachable` in the end:
        that of the target with the best chance to be different next time.
        """
        failure: Unreachable | None = None
        for target in await self._targets(remote):
            try:
                connection = OutgoingConnection(
                    self, local, remote, direct_tls=target.direct_tls, verify_only=verify_only
                )
                dialled = await self._connect_to(target, connection)
                dialled.bytes_per_second = self.bytes_per_second
                connection.begin(dialled)
                return await use(connection)
            except Unreachable as error:
                if failure is None or failure.permanent:
                    failure = error
        assert failure is not None, "there is always a target"
        raise failure

    async def established(self, connection: OutgoingConnection) -> OutgoingConnection:
        """Return the connection once stanzas may be sent on it. Raises `Unreachable`, also if it is slow."""
        try:
            await connection.established().addTimeout(NEGOTIATE_SECONDS, self.clock)
        except TimedOut:
            raise Unreachable(Cause.TOO_SLOW) from None
        return connection

    async def _targets(self, remote: str) -> list[Target]:
        try:
            return await self.resolver.targets(remote)
        except NoSuchServer:
            raise _not_found(StreamFault(Cause.NO_SERVER)) from None
        except NoAnswer:
            raise Unreachable(Cause.NO_DNS_ANSWER) from None

    async def _connect_to(self, target: Target, connection: OutgoingConnection) -> Connection:
        try:
            addresses = await self.resolver.addresses(target.host)
            return await connect_first(
                self.mux.connect,
                self.clock,
                [(address, target.port) for address in addresses],
                connection,
                CONNECT_SECONDS,
            )
        except NoSuchServer:
            if target.host == ascii_name(connection.remote):
                raise _not_found(StreamFault(Cause.NO_SERVER)) from None
            raise _not_found(StreamFault(Cause.NO_ADDRESS, target.host)) from None
        except NoAnswer:
            raise Unreachable(StreamFault(Cause.NO_DNS_ANSWER, target.host)) from None
        except OSError as error:
            raise Unreachable(_fault_of(error, target)) from None


def _fault_of(error: OSError, target: Target) -> StreamFault:
    cause = _CAUSES.get(error.errno or 0)
    if cause is None and isinstance(error, TimeoutError):
        cause = Cause.CONNECTION_TIMEOUT
    if cause is None:
        return StreamFault(
            Cause.CONNECTION_FAILED, f"{target}: {(error.strerror or 'no reason given').lower()}"
        )
    return StreamFault(cause, str(target))


def _not_found(fault: StreamFault) -> Unreachable:
    return Unreachable(fault, Condition.REMOTE_SERVER_NOT_FOUND, permanent=True)


def connect_first(
    connect: Connect,
    clock: Clock,
    addresses: Sequence[tuple[str, int]],
    receiver: Receiver,
    seconds: float,
) -> Deferred[Connection]:
    """Connect to one of `addresses`, tried in order, each a quarter of a second after the one before it.

    `receiver` gets what the connection brings. Errbacks with the last attempt's OSError; an attempt
    may take `seconds`. May be cancelled.
    """
    race = _Race(connect, clock, list(addresses), receiver, seconds)
    race.next()
    return race.result


@define(eq=False)
class _Race:
    """Attempts under way; the first to connect ends all others."""

    _connect: Connect
    _clock: Clock
    _left: list[tuple[str, int]]
    _receiver: Receiver
    _seconds: float
    result: Deferred[Connection] = field(init=False)
    _running: set[Deferred[Connection]] = field(factory=set, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)
    _over: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.result = Deferred(lambda _: self._end())

    def next(self) -> None:
        """Start the next attempt, and see to the one after it."""
        self._stop_timer()
        if not self._left or self._over:
            return
        address = self._left.pop(0)
        attempt = maybeDeferred(self._connect, address, self._accept, self._seconds)
        self._running.add(attempt)
        if self._left:
            self._timer = self._clock.callLater(NEXT_SECONDS, self.next)
        attempt.addCallbacks(self._connected, self._failed, (attempt,), {}, (attempt,), {})

    def _accept(self, connection: Connection) -> Receiver | None:
        """The winner gets the receiver; who comes too late is turned away."""
        if self._over:
            return None
        self._over = True
        return self._receiver

    def _connected(self, connection: Connection, attempt: Deferred[Connection]) -> None:
        self._running.discard(attempt)
        if connection.closed or self.result.called:
            return
        self._end()
        self.result.callback(connection)

    def _failed(self, failure: Failure, attempt: Deferred[Connection]) -> None:
        self._running.discard(attempt)
        if self._over:
            return
        if self._left:
            self.next()
        elif not self._running:
            self._end()
            self.result.errback(failure)

    def _end(self) -> None:
        self._over = True
        self._stop_timer()
        for attempt in list(self._running):
            attempt.cancel()

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
