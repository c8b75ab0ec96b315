"""Accepting connections on ports that Twisted's endpoints opened.

Owns a duplicate of the port's descriptor. The port itself stays Twisted's: closing it is asked of it, so that
a Unix socket's file goes away with it.
"""

from __future__ import annotations

import errno
import os
import socket
from select import EPOLLIN
from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger

from .connection import Accept
from .tuning import tune

if TYPE_CHECKING:
    from .mux import Mux

ACCEPTS = 32  # connections accepted per turn
PAUSE_SECONDS = 1.0

# Twisted's endpoints ask for 50, which one busy turn of ours can fill; those behind it wait a second for
# their TCP to try again. The system's somaxconn is the limit.
BACKLOG = 1024

# accept(2): descriptors or memory are used up, here or in the system. The connection stays in the backlog.
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_log = Logger(namespace="refserver.net")


@define(eq=False)
class Listener:
    """Accepts for one port; made by `Mux.listen`."""

    _mux: Mux
    _port: IListeningPort
    _socket: socket.socket
    _accept: Accept
    _closed: Deferred[Any] | None = field(default=None, init=False)

    @classmethod
    def take_over(cls, mux: Mux, port: Any, accept: Accept) -> Listener:
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
