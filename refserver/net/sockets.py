"""Sockets that listen, and sockets that are being connected.

A `Listener` accepts on a duplicate of the descriptor of a port that a Twisted endpoint opened. The port stays
Twisted's: closing it is asked of it, so that a Unix socket's file goes away with it. An `Attempt` owns its
socket until it is connected; addresses are numeric, and the caller decides which one is tried next.

A client that vanishes (a laptop closed, a lost network) says nothing. So the kernel probes silent connections
(RFC 9293 3.8.4) and gives up on what nobody acknowledges (RFC 5482), at no cost a connection: nobody is seen
online for minutes who is not.
"""

from __future__ import annotations

import errno
import os
import socket
from select import EPOLLIN, EPOLLOUT
from typing import Any, Final, Protocol

from attrs import define, field
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger

from .connection import Accept, Connection, Expiring, Poller, Source

SILENT_SECONDS: Final = 90  # before the first probe
PROBE_SECONDS: Final = 15  # between probes
PROBES: Final = 4  # unanswered, and the connection is over
UNACKNOWLEDGED_SECONDS: Final = 60  # how long sent data may stay without an answer


def tune(sock: socket.socket) -> None:
    """Set the options of a TCP socket; connections accepted from it inherit them."""
    if sock.family == socket.AF_UNIX:
        return
    # We write once a turn: there is nothing for Nagle's algorithm to join.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, SILENT_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, PROBE_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_SECONDS * 1000)


ACCEPTS = 32  # connections accepted per turn
PAUSE_SECONDS = 1.0

# Twisted's endpoints ask for 50, which one busy turn of ours can fill; those behind it wait a second for
# their TCP to try again. The system's somaxconn is the limit.
BACKLOG = 1024

# accept(2): descriptors or memory are used up, here or in the system. The connection stays in the backlog.
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_log = Logger(namespace="refserver.net")


class SocketPoller(Poller, Protocol):
    """The side of the multiplexer that its listening and connecting sockets call."""

    def attach(self, sock: socket.socket, address: Any) -> Connection: ...
    def introduce(self, connection: Connection, accept: Accept) -> None: ...
    def discard(self, source: Source, sock: socket.socket) -> None: ...
    def unexpire(self, what: Expiring) -> None: ...


@define(eq=False)
class Listener:
    """Accepts for one port; made by `Mux.listen`."""

    _mux: SocketPoller
    _port: IListeningPort
    _socket: socket.socket
    _accept: Accept
    _closed: Deferred[Any] | None = field(default=None, init=False)

    @classmethod
    def take_over(cls, mux: SocketPoller, port: Any, accept: Accept) -> Listener:
        """Stop `port` from accepting and do it in its place."""
        port.stopReading()
        sock = socket.socket(fileno=os.dup(port.fileno()))
        sock.setblocking(False)
        sock.listen(BACKLOG)
        tune(sock)  # accepted sockets inherit it
        return cls(mux, port, sock, accept)

    def close(self) -> Deferred[Any]:
        """Accept no more; fires when the port is closed."""
        if self._closed is None:
            self._mux.unexpire(self)
            self._mux.discard(self, self._socket)
            self._closed = maybeDeferred(self._port.stopListening)
            self._closed.addErrback(lambda failure: _log.failure("closing a port failed", failure))
        return self._closed

    def fileno(self) -> int:
        """The descriptor we accept from."""
        return self._socket.fileno()

    def ready(self, event: int) -> None:
        """Accept what waits, up to ACCEPTS."""
        for _ in range(ACCEPTS):
            try:
                sock, address = self._socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in EXHAUSTED:
                    continue  # that connection is gone already (accept(2): ECONNABORTED and network errors)
                _log.error("cannot accept connections: {error}; waiting", error=os.strerror(error.errno or 0))
                self._pause()
                return
            sock.setblocking(False)
            self._mux.introduce(self._mux.attach(sock, address), self._accept)

    def failed(self) -> None:
        """Try again later."""
        self._pause()

    def end(self) -> None:
        """The multiplexer stops."""
        self.close()

    def expired(self) -> None:
        """The pause is over: accept again."""
        self._mux.watch(self, EPOLLIN)

    def _pause(self) -> None:
        """Leave connections in the backlog for a while: without descriptors accepting would only spin."""
        self._mux.watch(self, 0)
        self._mux.expire(self, PAUSE_SECONDS)


@define(eq=False)
class Attempt:
    """One attempt to connect; made by `Mux.connect`."""

    _mux: SocketPoller
    _socket: socket.socket
    _address: tuple[str, int] | str
    _accept: Accept
    _result: Deferred[Connection]

    @classmethod
    def begin(
        cls, mux: SocketPoller, address: tuple[str, int] | str, accept: Accept, seconds: float
    ) -> Deferred[Connection]:
        """Start connecting; the result is as `Mux.connect` promises."""
        sock = open_socket(address)
        result: Deferred[Connection] = Deferred(lambda _: attempt.cancel())
        attempt = cls(mux, sock, address, accept, result)
        code = sock.connect_ex(address)
        if code in (0, errno.EINPROGRESS):
            mux.register(attempt, EPOLLOUT)
            mux.expire(attempt, seconds)
        else:
            sock.close()
            result.errback(OSError(code, os.strerror(code)))
        return result

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    def ready(self, event: int) -> None:
        """Find out whether the attempt has succeeded."""
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._fail(OSError(code, os.strerror(code)))
            return
        self._mux.unexpire(self)
        self._mux.ignore(self)
        connection = self._mux.attach(self._socket, self._address)
        self._mux.introduce(connection, self._accept)
        self._result.callback(connection)

    def expired(self) -> None:
        """Fail with TimeoutError: nobody answered in time."""
        self._fail(TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)))

    def failed(self) -> None:
        """Do nothing: the receiver of the result raised; the connection ends by itself."""

    def end(self) -> None:
        """The multiplexer stops."""
        self._fail(OSError(errno.ECANCELED, os.strerror(errno.ECANCELED)))

    def cancel(self) -> None:
        """Give the attempt up: its caller does not want it any more."""
        self._mux.unexpire(self)
        self._mux.discard(self, self._socket)

    def _fail(self, error: OSError) -> None:
        self.cancel()
        self._result.errback(error)


def open_socket(address: tuple[str, int] | str) -> socket.socket:
    """A non-blocking stream socket of the family that `address` needs."""
    if isinstance(address, str):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    else:
        sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_STREAM)
    tune(sock)
    sock.setblocking(False)
    return sock
