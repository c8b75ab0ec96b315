"""Both ends of a loopback connection, for the tests of the multiplexer.

The server's end is refserver's, on the real reactor. The client's is a blocking socket of the standard
library, used in a thread, so that nothing of ours is on both ends.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory
from twisted.internet.threads import deferToThread

from refserver.net.connection import Connection
from refserver.net.mux import Mux
from refserver.net.sockets import Listener
from refserver.net.tls import TLSState

reactor: Any = _reactor
SECONDS = 10.0

T = TypeVar("T")


@define(eq=False)
class Recorder:
    """A receiver that keeps what it is told, and lets a test wait for it."""

    _connection: Connection | None = None
    data: bytearray = field(factory=bytearray)
    reads: list[bytes] = field(factory=list)
    reason: str = ""
    losses: int = 0
    is_secure: bool = False
    on_data: Callable[[bytes], object] = lambda data: None
    on_lost: Callable[[str], object] = lambda reason: None
    on_secured: Callable[[], object] = lambda: None
    _waiting: list[tuple[Callable[[], bool], Deferred[None]]] = field(factory=list)

    @property
    def connection(self) -> Connection:
        assert self._connection is not None
        return self._connection

    @connection.setter
    def connection(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def tls(self) -> TLSState:
        assert self.connection.tls is not None
        return self.connection.tls

    def received(self, data: bytes) -> None:
        self.data += data
        self.reads.append(data)
        self._tell()
        self.on_data(data)

    def secured(self) -> None:
        self.is_secure = True
        self._tell()
        self.on_secured()

    def lost(self, reason: str) -> None:
        self.reason = reason
        self.losses += 1
        self._tell()
        self.on_lost(reason)

    def until(self, condition: Callable[[], bool]) -> Deferred[None]:
        """Fires once `condition` holds after something was received, secured or lost."""
        waiting: Deferred[None] = Deferred()
        waiting.addTimeout(SECONDS, reactor)
        self._waiting.append((condition, waiting))
        reactor.callLater(0, self._tell)
        return waiting

    def until_lost(self) -> Deferred[None]:
        return self.until(lambda: self.losses > 0)

    def until_received(self, count: int) -> Deferred[None]:
        return self.until(lambda: len(self.data) >= count)

    def _tell(self) -> None:
        for entry in list(self._waiting):
            condition, waiting = entry
            if condition() and entry in self._waiting:
                self._waiting.remove(entry)
                reactor.callLater(0, waiting.callback, None)


@define(eq=False)
class Door:
    """A listening port and the receivers of what came in through it."""

    port: int
    listener: Listener
    recorders: list[Recorder] = field(factory=list)

    def dial(self) -> socket.socket:
        """A blocking client socket, connected."""
        return socket.create_connection(("127.0.0.1", self.port), SECONDS)


async def open_door(
    mux: Mux, prepare: Callable[[Connection, Recorder], object] = lambda connection, recorder: None
) -> Door:
    """Listen on a free port; `prepare` may set up each new connection and its recorder."""
    port = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(Factory())

    def accept(connection: Connection) -> Recorder:
        recorder = Recorder(connection)
        door.recorders.append(recorder)
        prepare(connection, recorder)
        return recorder

    door = Door(port.getHost().port, mux.listen(port, accept))
    return door


def adopt(mux: Mux, sock: socket.socket, recorder: Recorder) -> Connection:
    """Serve a connected socket."""
    sock.setblocking(False)
    connection = mux.attach(sock, sock.getpeername())
    connection.receiver = recorder
    return connection


def meet(
    mux: Mux, send_buffer: int = 0, receive_buffer: int = 0
) -> tuple[Connection, Recorder, socket.socket]:
    """A TCP connection: our end, its recorder, and the client's socket."""
    client = socket.socket()
    if receive_buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.settimeout(SECONDS)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client.connect(listening.getsockname())
        ours, _ = listening.accept()
    if send_buffer:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    recorder = Recorder()
    recorder.connection = connection = adopt(mux, ours, recorder)
    return connection, recorder, client


def in_thread(call: Callable[[], T]) -> Deferred[T]:
    """Run a client's blocking calls beside the reactor."""
    return deferToThread(call)


async def until(condition: Callable[[], bool]) -> None:
    """Let the reactor turn until `condition` holds; fails after SECONDS."""
    deadline = reactor.seconds() + SECONDS
    while not condition():
        assert reactor.seconds() < deadline, "waited in vain"
        await turn()


def turn() -> Deferred[None]:
    """One turn of the reactor."""
    turned: Deferred[None] = Deferred()
    reactor.callLater(0.001, turned.callback, None)
    return turned


def read_exactly(sock: socket.socket, count: int) -> bytes:
    """Read `count` bytes, or fewer if the peer ends before."""
    data = bytearray()
    while len(data) < count and (piece := sock.recv(min(65536, count - len(data)))):
        data += piece
    return bytes(data)


def read_to_end(sock: socket.socket) -> bytes:
    """All until the peer ends."""
    data = bytearray()
    while piece := sock.recv(65536):
        data += piece
    return bytes(data)
