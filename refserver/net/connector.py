"""Connecting to another server's socket without waiting.

Owns the socket until it is connected. Does not own name resolution (addresses are numeric) nor which address
to try next.
"""

from __future__ import annotations

import errno
import os
import socket
from select import EPOLLOUT
from typing import TYPE_CHECKING

from attrs import define
from twisted.internet.defer import Deferred

from .connection import Accept, Connection
from .tuning import tune

if TYPE_CHECKING:
    from .mux import Mux


@define(eq=False)
class Attempt:
    """One attempt to connect; made by `Mux.connect`."""

    _mux: Mux
    _socket: socket.socket
    _address: tuple[str, int] | str
    _accept: Accept
    _result: Deferred[Connection]

    @classmethod
    def begin(
        cls, mux: Mux, address: tuple[str, int] | str, accept: Accept, seconds: float
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
        """The attempt has succeeded or failed."""
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
        """Nobody answered in time."""
        self._fail(TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)))

    def failed(self) -> None:
        """What takes the result raised: that is logged, and the connection has its own end."""

    def end(self) -> None:
        """The multiplexer stops."""
        self._fail(OSError(errno.ECANCELED, os.strerror(errno.ECANCELED)))

    def cancel(self) -> None:
        """The one who asked does not want it any more."""
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
