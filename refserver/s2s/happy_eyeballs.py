"""Connecting to the first of several addresses that answers (happy eyeballs, RFC 8305 5).

Which addresses take part is resolver.py's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from attrs import define, field
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from refserver.core.ports import Clock
from refserver.net.connection import Accept, Connection
from refserver.net.receiver import Receiver

__all__ = ["Sockets", "connect_first"]

NEXT_SECONDS: Final = 0.25  # RFC 8305 5: the Connection Attempt Delay


class Sockets(Protocol):
    """The part of the multiplexer that connects sockets (net/mux.py)."""

    def connect(self, address: tuple[str, int] | str, accept: Accept, seconds: float) -> Deferred[Connection]:
        """Connect to an IP address and port; errbacks with OSError."""


def connect_first(
    connector: Sockets,
    clock: Clock,
    addresses: Sequence[tuple[str, int]],
    receiver: Receiver,
    seconds: float,
) -> Deferred[Connection]:
    """Connect to one of `addresses`, tried in order, each a quarter of a second after the one before it.

    `receiver` gets what the connection brings. Errbacks with the last attempt's OSError; an attempt
    may take `seconds`. May be cancelled.
    """
    race = _Race(connector, clock, list(addresses), receiver, seconds)
    race.next()
    return race.result


@define(eq=False)
class _Race:
    """Attempts under way; the first to connect ends all others."""

    _connector: Sockets
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
        attempt = maybeDeferred(self._connector.connect, address, self._accept, self._seconds)
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
