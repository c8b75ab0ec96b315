"""The multiplexer: all client and server connections behind one reader of the reactor.

Owns the epoll object in which our sockets are, the loop that serves the ready ones, the flush at the end of
it and the once-a-second tick. Does not own what a connection does (connection.py) nor any other descriptor:
DNS, HTTP, threads and timers stay with the reactor. Why not Twisted's transports:
docs/decisions/0003-multiplexer.md.

One turn: the reactor finds our epoll object readable, `doRead` asks it for up to EVENTS ready sockets, reads
each once, and then writes what all of that queued, once per connection. Watching is level-triggered, so what
was left is found again in the next turn, after the reactor's own timers, threads and descriptors had theirs.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from typing import Any, Protocol

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IListeningPort, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from .connection import Accept, Connection, Expiring, Source
from .sockets import Attempt, Listener

EVENTS = 128
CONNECT_SECONDS = 30.0
HANDSHAKES = 8  # a step with a signature costs from 0.1 ms (P-256) to 1 ms (RSA 2048)
TICK_SECONDS = 1.0
RATE_SECONDS = 0.1
STOP_SECONDS = 5.0

_log = Logger(namespace="refserver.net")


class Reactor(Protocol):
    """The methods of a reactor that are used (IReactorFDSet and IReactorTime)."""

    def addReader(self, reader: IReadDescriptor) -> None: ...
    def removeReader(self, reader: IReadDescriptor) -> None: ...
    def seconds(self) -> float: ...
    def callLater(self, delay: float, callable: Callable[..., Any], *args: Any) -> IDelayedCall: ...


@implementer(IReadDescriptor)
@define(eq=False)
class Mux:
    """Serves many sockets as one reader of `reactor`."""

    _reactor: Reactor
    now: float = field(default=0.0, init=False)  # the reactor's clock at the start of this turn
    connections: int = field(default=0, init=False)  # open, closing ones included
    _epoll: select.epoll = field(factory=select.epoll, init=False)
    _sources: dict[int, Source] = field(factory=dict, init=False)
    _dirty: list[Connection] = field(factory=list, init=False)
    _closed: list[socket.socket] = field(factory=list, init=False)
    _draining: bool = field(default=False, init=False)
    _handshakes: int = field(default=0, init=False)
    _throttled: set[Connection] = field(factory=set, init=False)
    _deadlines: dict[Expiring, float] = field(factory=dict, init=False)
    _subscribers: list[Callable[[], None]] = field(factory=list, init=False)
    _calls: dict[str, IDelayedCall] = field(factory=dict, init=False)
    _stopped: Deferred[None] | None = field(default=None, init=False)

    # -- what the program calls

    def start(self) -> None:
        """Join the reactor."""
        self.now = self._reactor.seconds()
        self._reactor.addReader(self)
        self._calls["tick"] = self._reactor.callLater(TICK_SECONDS, self._tick)

    def listen(self, port: IListeningPort, accept: Accept) -> Listener:
        """Accept connections of `port`, which some Twisted endpoint opened, in its place.

        `accept` gets each new connection and returns its receiver, or None to turn it away.
        """
        listener = Listener.take_over(self, port, accept)
        self.register(listener, select.EPOLLIN)
        return listener

    def connect(
        self, address: tuple[str, int] | str, accept: Accept, seconds: float = CONNECT_SECONDS
    ) -> Deferred[Connection]:
        """Connect to an IP address and port, or to a Unix socket's path.

        `accept` gets the connection as in `listen`, before anything is read; then the Deferred fires with it.
        Errbacks with OSError: refused, unreachable, TimeoutError after `seconds`. May be cancelled.
        """
        return Attempt.begin(self, address, accept, seconds)

    def tick(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` once a second; returns what ends that."""
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)

    def stop(self, seconds: float = STOP_SECONDS) -> Deferred[None]:
        """Close everything in order and leave the reactor; after `seconds` what is left is cut off."""
        if self._stopped is None:
            self._stopped = Deferred()
            self._calls["stop"] = self._reactor.callLater(seconds, self._cut_off)
            for source in list(self._sources.values()):
                source.end()
            self._leave_when_empty()
        return self._stopped

    # -- what the reactor calls

    def fileno(self) -> int:
        """The descriptor of the epoll object, readable when a socket is ready."""
        return self._epoll.fileno()

    def logPrefix(self) -> str:
        """The name under which Twisted logs what escapes."""
        return "refserver.net"

    def doRead(self) -> None:
        """Serve the sockets that are ready, then write what that queued."""
        self.now = self._reactor.seconds()
        sources = self._sources
        self._draining = True
        self._handshakes = 0
        for fd, event in self._epoll.poll(0, EVENTS):
            source = sources.get(fd)
            if source is None:
                continue
            try:
                source.ready(event)
            except Exception:
                self._failed(source)
        self._flush()

    def connectionLost(self, reason: Failure) -> None:
        """Drop everything: the reactor is going away."""
        self._cut_off()

    # -- what connections and listeners call

    def attach(self, sock: socket.socket, address: Any) -> Connection:
        """A connection for a non-blocking socket."""
        connection = Connection(self, sock, address)
        self.register(connection, select.EPOLLIN)
        self.connections += 1
        return connection

    def introduce(self, connection: Connection, accept: Accept) -> None:
        """Let `accept` choose the receiver of a new connection."""
        try:
            receiver = accept(connection)
        except Exception:
            _log.failure("a new connection was not taken")
            receiver = None
        if receiver is None:
            connection.abort("refused")
        else:
            connection.receiver = receiver

    def register(self, source: Source, mask: int) -> None:
        """Have `source` called for the events in `mask`."""
        fd = source.fileno()
        self._epoll.register(fd, mask)
        self._sources[fd] = source

    def watch(self, source: Source, mask: int) -> None:
        """Change the events a registered source is called for."""
        self._epoll.modify(source.fileno(), mask)

    def ignore(self, source: Source) -> None:
        """Call `source` no more, until it is registered again."""
        fd = source.fileno()
        if self._sources.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def discard(self, source: Source, sock: socket.socket) -> None:
        """Forget `source` and close its socket.

        While events are being served the descriptor is kept until all are, or a socket accepted meanwhile
        could get its number, and the remaining events of this one.
        """
        self.ignore(source)
        if self._draining:
            self._closed.append(sock)
        else:
            sock.close()

    def release(self, connection: Connection, sock: socket.socket) -> None:
        """Forget a connection that is over."""
        self.discard(connection, sock)
        self.connections -= 1
        self._deadlines.pop(connection, None)
        self._throttled.discard(connection)

    def mark(self, connection: Connection) -> None:
        """Flush `connection` at the end of this turn."""
        if not self._dirty and not self._draining:
            self._reactor.callLater(0, self._flush)
        self._dirty.append(connection)

    def expire(self, what: Expiring, seconds: float) -> None:
        """Call `what.expired()` after `seconds`, rounded up to the next tick."""
        self._deadlines[what] = self._reactor.seconds() + seconds

    def unexpire(self, what: Expiring) -> None:
        """Cancel the deadline of `what`."""
        self._deadlines.pop(what, None)

    def may_shake(self) -> bool:
        """True if this turn has time for another step of a TLS handshake; if not, epoll reports it again."""
        self._handshakes += 1
        return self._handshakes <= HANDSHAKES

    def throttle(self, connection: Connection) -> None:
        """Stop reading from `connection`, which has used up its rate, until it may again."""
        if connection.refill(self.now) or connection in self._throttled:
            return
        connection.throttled(True)
        if not self._throttled:
            self._calls["rate"] = self._reactor.callLater(RATE_SECONDS, self._refill)
        self._throttled.add(connection)

    # -- turns and ticks

    def _flush(self) -> None:
        self._draining = True
        while self._dirty:
            dirty, self._dirty = self._dirty, []
            for connection in dirty:
                try:
                    connection.flush()
                except Exception:
                    self._failed(connection)
        self._draining = False
        for sock in self._closed:
            sock.close()
        self._closed.clear()
        self._leave_when_empty()

    def _failed(self, source: Source) -> None:
        """Log the exception being handled and have `source` clean up."""
        _log.failure("a connection's receiver failed")
        try:
            source.failed()
        except Exception:
            _log.failure("a receiver failed to take the loss of its connection")

    def _tick(self) -> None:
        self._calls["tick"] = self._reactor.callLater(TICK_SECONDS, self._tick)
        self.now = self._reactor.seconds()
        for what in [what for what, deadline in self._deadlines.items() if deadline <= self.now]:
            del self._deadlines[what]
            self._guard(what.expired)
        for callback in tuple(self._subscribers):
            self._guard(callback)
        self._leave_when_empty()

    def _guard(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception:
            _log.failure("a tick's subscriber failed")

    def _refill(self) -> None:
        self.now = self._reactor.seconds()
        for connection in [each for each in self._throttled if each.refill(self.now)]:
            self._throttled.discard(connection)
            connection.throttled(False)
        if self._throttled:
            self._calls["rate"] = self._reactor.callLater(RATE_SECONDS, self._refill)

    # -- the end

    def _cut_off(self) -> None:
        for source in list(self._sources.values()):
            if isinstance(source, Connection):
                source.abort("stopped")
            else:
                source.end()
        self._flush()

    def _leave_when_empty(self) -> None:
        if self._stopped is None or self.connections or self._epoll.closed:
            return
        self._reactor.removeReader(self)
        self._epoll.close()
        for call in self._calls.values():
            if call.active():
                call.cancel()
        self._stopped.callback(None)
