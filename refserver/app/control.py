"""The socket on which a running server takes requests of refserverctl: in the data folder, mode 600.

Each request is one transaction, and the running server acts on it before it is answered. The requests are in
refserver/app/commands.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.endpoints import UNIXServerEndpoint
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure

from refserver.app.commands import Refused, Request, ServerRequest, load_requests
from refserver.app.commands.request import decode, ok, refused
from refserver.app.data import UnixPath
from refserver.app.parts import CannotStart, Part, RunningServer
from refserver.storage.errors import StorageError

log = Logger()

_LONGEST_REQUEST: Final = 64 * 1024
_ONLY_OWNER: Final = 0o600


class Control(Part):
    """The socket as a part of the server. `path` is the socket's, `server` what requests act on.

    `reactor` is the process' own unless given.
    """

    def __init__(self, path: Path, server: RunningServer, *, reactor: Any = None) -> None:
        self._path = UnixPath(path)
        self._server = server
        self._reactor = reactor
        self._kinds: Mapping[str, type[Request]] = {}
        self._port: IListeningPort | None = None
        self._one_at_a_time = DeferredLock()
        self._connections: set[_Connection] = set()

    def start(self) -> None:
        """Listen. A socket that a killed server left is in nobody's way: the data folder is locked.

        Raises `CannotStart`.
        """
        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = reactor
        _remove_stale(self._path.path)
        self._kinds = load_requests()
        self._server.started = self._server.core.now()
        endpoint = UNIXServerEndpoint(self._reactor, self._path.name, mode=_ONLY_OWNER)
        before = os.umask(0o777 & ~_ONLY_OWNER)  # the socket is never open to others, not for a moment
        try:
            listening = endpoint.listen(_Door(self))
        finally:
            os.umask(before)
        failures: list[Failure] = []
        listening.addCallbacks(self._listening, failures.append)
        if failures:
            raise CannotStart(
                f"cannot listen for refserverctl on {self._path.path}: {failures[0].getErrorMessage()}. "
                "Is the data folder on a file system that has sockets, and ours to write to?"
            )

    async def stop(self) -> None:
        """Take no more requests; those under way are executed and answered first."""
        if self._port is not None:
            await _waiting(self._port.stopListening())
            self._port = None
        await self._one_at_a_time.acquire()
        self._one_at_a_time.release()
        for connection in list(self._connections):
            connection.end()
        self._path.close()

    @property
    def waiting(self) -> int:
        """The number of requests that wait for the one that is being executed."""
        return len(self._one_at_a_time.waiting)

    async def answer(self, line: bytes) -> bytes:
        """Execute the request in a line; return the line that answers it. Never raises."""
        try:
            request = decode(line, self._kinds)
            await self._one_at_a_time.acquire()
            try:
                return ok(await self._execute(request))
            finally:
                self._one_at_a_time.release()
        except Refused as error:
            return refused(str(error))
        except StorageError as error:
            return refused(str(error) or type(error).__name__)
        except Exception:
            log.failure("a request of refserverctl failed")
            return refused("the server failed at this; its log says more")

    async def _execute(self, request: Request) -> Any:
        if isinstance(request, ServerRequest):
            return request.answer(self._server)
        core = self._server.core
        work = core.database.write if request.writes else core.database.read
        done = await work(request.run, core.now())
        try:
            return await request.apply(self._server, done)
        except Exception:
            log.failure("a change could not be applied: {words}", words=request.words)
            raise Refused(
                "this was stored, but the running server could not act on it: "
                "restart it; its log says why it failed"
            ) from None

    def _listening(self, port: IListeningPort) -> None:
        self._port = port

    def connected(self, connection: _Connection) -> None:
        """Remember a connection."""
        self._connections.add(connection)

    def lost(self, connection: _Connection) -> None:
        """Forget a connection."""
        self._connections.discard(connection)


class _Door(Factory):
    noisy = False

    def __init__(self, control: Control) -> None:
        self._control = control

    def buildProtocol(self, addr: IAddress | None) -> _Connection:
        return _Connection(self._control)


class _Connection(LineReceiver):
    """One refserverctl: lines in, a line out for each, in order."""

    delimiter = b"\n"
    MAX_LENGTH = _LONGEST_REQUEST

    def __init__(self, control: Control) -> None:
        self._control = control

    def connectionMade(self) -> None:
        self._control.connected(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._control.lost(self)

    def lineReceived(self, line: bytes) -> None:
        answered = Deferred.fromCoroutine(self._control.answer(line))
        answered.addCallback(self._send)
        answered.addErrback(lambda failure: log.failure("an answer could not be sent", failure=failure))

    def end(self) -> None:
        """Hang up, when all answers are sent."""
        if self.transport is not None:
            self.transport.loseConnection()

    def _send(self, line: bytes) -> None:
        if self.transport is not None:
            self.transport.write(line)


def _remove_stale(path: Path) -> None:
    try:
        is_socket = stat.S_ISSOCK(path.lstat().st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise CannotStart(f"{path} is in the way: it is no socket; move it elsewhere")
    path.unlink()


async def _waiting(maybe: Any) -> None:
    if isinstance(maybe, Deferred):
        await maybe
