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

from twisted.internet.defer import Deferred, DeferredLock, maybeDeferred
from twisted.internet.endpoints import UNIXServerEndpoint
from twisted.internet.interfaces import IListeningPort
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
    """The socket at `path` as a part of the server; requests act on `server`."""

    def __init__(self, path: Path, server: RunningServer, reactor: Any) -> None:
        self._path = UnixPath(path)
        self._server = server
        self._reactor = reactor
        self._kinds: Mapping[str, type[Request]] = {}
        self._ports: list[IListeningPort] = []
        self._one_at_a_time = DeferredLock()
        self.connections: set[_Connection] = set()

    def start(self) -> None:
        """Listen. A socket that a killed server left is in nobody's way: the data folder is locked.

        Raises `CannotStart`.
        """
        _remove_stale(self._path.path)
        self._kinds = load_requests()
        self._server.started = self._server.core.now()
        endpoint = UNIXServerEndpoint(self._reactor, self._path.name, mode=_ONLY_OWNER)
        factory = Factory.forProtocol(lambda: _Connection(self))
        factory.noisy = False
        before = os.umask(0o777 & ~_ONLY_OWNER)  # the socket is never open to others, not for a moment
        try:
            listening = endpoint.listen(factory)
        finally:
            os.umask(before)
        failures: list[Failure] = []
        listening.addCallbacks(self._ports.append, failures.append)
        if failures:
            raise CannotStart(
                f"cannot listen for refserverctl on {self._path.path}: {failures[0].getErrorMessage()}. "
                "Is the data folder on a file system that has sockets, and ours to write to?"
            )

    async def stop(self) -> None:
        """Take no more requests; those under way are executed and answered first."""
        while self._ports:
            await maybeDeferred(self._ports.pop().stopListening)
        async with self._one_at_a_time:
            pass
        for connection in list(self.connections):
            connection.end()
        self._path.close()

    async def answer(self, line: bytes) -> bytes:
        """Execute the request in a line; return the line that answers it. Never raises."""
        try:
            request = decode(line, self._kinds)
            async with self._one_at_a_time:
                return ok(await self._execute(request))
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


class _Connection(LineReceiver):
    """One refserverctl: lines in, a line out for each, in order."""

    delimiter = b"\n"
    MAX_LENGTH = _LONGEST_REQUEST

    def __init__(self, control: Control) -> None:
        self._control = control

    def connectionMade(self) -> None:
        self._control.connections.add(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._control.connections.discard(self)

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
