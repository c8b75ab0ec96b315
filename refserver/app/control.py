"""The running server's door for operators: a unix socket in the data folder, mode 600.

Owns the socket, and that each verb is one transaction whose changes hold at once. What the verbs are is
refserver/app/verbs; what a change means for the running server is given (`apply`).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.endpoints import UNIXServerEndpoint
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure

from refserver.app.data_folder import SOCKET
from refserver.app.server import CannotStart
from refserver.app.unix_path import UnixPath
from refserver.app.verbs import Done, LiveVerb, Refused, Verb
from refserver.app.verbs.changes import Change
from refserver.app.verbs.status import ShowStatus
from refserver.app.verbs.verb import Running, moment
from refserver.app.verbs.wire import decode, ok, refused
from refserver.core.core import Core
from refserver.muc.service import RoomService
from refserver.storage.engine import Database
from refserver.storage.errors import StorageError

__all__ = ["SOCKET", "Control"]

log = Logger()

_LONGEST_REQUEST: Final = 64 * 1024
_ONLY_OWNER: Final = 0o600


class Control:
    """Implements `Part`. `path` is the socket's; `apply` lets a durable change hold in this process.

    `running` knows what is not in the store; `figures` adds to what `status` tells of the running server.
    `reactor` is the process' own unless given.
    """

    def __init__(
        self,
        path: Path,
        core: Core,
        database: Database,
        apply: Callable[[Change], Awaitable[None] | None],
        *,
        running: Running,
        figures: Callable[[], Mapping[str, object]] = dict,
        reactor: Any = None,
    ) -> None:
        self._path = UnixPath(path)
        self._core = core
        self._database = database
        self._apply = apply
        self._running = running
        self._figures = figures
        self._reactor = reactor
        self._port: IListeningPort | None = None
        self._started = 0.0
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
        self._started = self._core.now()
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
        """Take no more verbs; those under way are done and answered first."""
        if self._port is not None:
            await _waiting(self._port.stopListening())
            self._port = None
        await self._one_at_a_time.acquire()
        self._one_at_a_time.release()
        for connection in list(self._connections):
            connection.end()
        self._path.close()

    def reload(self) -> None:
        """Nothing to read again."""

    @property
    def waiting(self) -> int:
        """How many verbs wait for the one that is being done."""
        return len(self._one_at_a_time.waiting)

    async def answer(self, line: bytes) -> bytes:
        """Do what a line asks for; the line that answers it. Never raises."""
        try:
            verb = decode(line)
            await self._one_at_a_time.acquire()
            try:
                return ok(await self._do(verb))
            finally:
                self._one_at_a_time.release()
        except Refused as error:
            return refused(str(error))
        except StorageError as error:
            return refused(str(error) or type(error).__name__)
        except Exception:
            log.failure("a verb of refserverctl failed")
            return refused("the server failed at this; its log says more")

    async def _do(self, verb: Verb) -> Any:
        if isinstance(verb, LiveVerb):
            return verb.answer(self._running)
        work = self._database.write if verb.writes else self._database.read
        done: Done = await work(verb.run, self._core.now())
        for change in done.changes:
            await self._apply_now(change)
        return self._own_figures() | done.data if isinstance(verb, ShowStatus) else done.data

    async def _apply_now(self, change: Change) -> None:
        try:
            waiting = self._apply(change)
            if waiting is not None:
                await waiting
        except Exception:
            log.failure("a change could not be applied: {change}", change=type(change).__name__)
            raise Refused(
                "this was stored, but the running server could not take it up: "
                "restart it; its log says why it failed"
            ) from None

    def _own_figures(self) -> dict[str, object]:
        return {
            "running": True,
            "process": os.getpid(),
            "since": moment(self._started),
            "uptime": round(self._core.now() - self._started),
            "sessions": len(self._core.sessions),
            "rooms": sum(len(service) for service in self._room_services()),
            "s2s_streams": 0,
            **self._figures(),
        }

    def _room_services(self) -> list[RoomService]:
        hosts = self._core.hosts
        services = (hosts.service(domain) for host in hosts for domain in hosts.services_of(host))
        return [service for service in services if isinstance(service, RoomService)]

    def _listening(self, port: IListeningPort) -> None:
        self._port = port

    def connected(self, connection: _Connection) -> None:
        """Somebody has come."""
        self._connections.add(connection)

    def lost(self, connection: _Connection) -> None:
        """Somebody has gone."""
        self._connections.discard(connection)


class _Door(Factory):
    noisy = False

    def __init__(self, control: Control) -> None:
        self._control = control

    def buildProtocol(self, addr: IAddress | None) -> _Connection:
        """See `Factory`."""
        return _Connection(self._control)


class _Connection(LineReceiver):
    """One refserverctl: lines in, a line out for each, in order."""

    delimiter = b"\n"
    MAX_LENGTH = _LONGEST_REQUEST

    def __init__(self, control: Control) -> None:
        self._control = control

    def connectionMade(self) -> None:
        """See `Protocol`."""
        self._control.connected(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See `Protocol`."""
        self._control.lost(self)

    def lineReceived(self, line: bytes) -> None:
        """See `LineReceiver`."""
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
