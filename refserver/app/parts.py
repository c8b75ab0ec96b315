"""The server as a Twisted service, and the parts that start and stop with it.

The service is started by twistd, ended by SIGTERM, refreshed by SIGHUP, and owns the order of the parts.
compose.py says what the parts are.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from pwd import getpwuid
from typing import Any

from attrs import define, field
from OpenSSL import SSL
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorCore
from twisted.logger import Logger

from refserver.app.data import DATABASE, DataInUse, DataLock
from refserver.app.settings import Settings
from refserver.core.core import Core
from refserver.core.hooks import HostAdded, HostRemoved, HostsComing, HostStopping, ServerStopping
from refserver.core.hosts import Host
from refserver.errors import StreamCondition, StreamError
from refserver.jid import JID
from refserver.muc.service import RoomService, StoredRooms, load_rooms
from refserver.net.certificates import CertificateProblem, Certificates, explain
from refserver.net.mux import Mux
from refserver.net.trust import Trust
from refserver.reference.feature import Reference
from refserver.s2s.service import FederationService
from refserver.storage import libraries
from refserver.storage.engine import Database
from refserver.storage.errors import StorageError

# -- the service ---------------------------------------------------------------------


log = Logger()


class Part:
    """Base class of what starts and stops with the server. What is not overridden does nothing."""

    def start(self) -> None:
        """Begin to serve. What it raises ends the start of the whole server."""

    async def stop(self) -> None:
        """Serve no more; return when everything is put away."""

    def reload(self) -> None:
        """Read certificates and settings again."""


class CannotStart(RuntimeError):
    """A part cannot start; the text says why and what to do."""


class NotReloaded(RuntimeError):
    """A part could not read everything again; what worked before goes on."""


class Server(Service):
    """Makes and starts the parts in order when twistd has forked, stops them in the opposite order.

    A part that cannot start ends the process with one line that says what to do, and status 1.
    """

    name = "refserver"

    def __init__(self, reactor: IReactorCore, build: Callable[[], Iterator[Part]]) -> None:
        self._reactor = reactor
        self._build = build
        self._started: list[Part] = []

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]  # Twisted has no annotations here
        _allow_descriptors()
        try:
            for part in self._build():
                part.start()
                self._started.append(part)
        except (OSError, CannotStart, DataInUse, StorageError) as error:
            print(f"refserver: {_explain(error)}", file=sys.stderr)
            raise SystemExit(1) from None
        except SQLAlchemyError as error:
            print(
                f"refserver: the database cannot be used ({type(error).__name__}); "
                "`refserverctl check` tells more, `refserverctl restore` puts a backup back",
                file=sys.stderr,
            )
            raise SystemExit(1) from None
        signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self.reload))  # type: ignore[attr-defined]
        sys.setswitchinterval(0.001)  # the database's threads need not wait 5 ms for a busy reactor
        gc.collect()
        gc.freeze()  # what lives as long as the process need not be looked at again
        gc.set_threshold(20_000, 20, 50)
        log.info("refserver is ready (process {pid})", pid=os.getpid())

    def reload(self) -> None:
        """Read again what SIGHUP asks for; a part that fails keeps what it had."""
        complete = True
        for part in self._started:
            try:
                part.reload()
            except Exception as error:
                complete = False
                log.error("not reloaded: {error}", error=_explain(error))
        if complete:
            log.info("certificates and settings were read again")

    def stopService(self) -> Deferred[None]:
        super().stopService()  # type: ignore[no-untyped-call]  # nor here
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for part in reversed(self._started):
            try:
                await part.stop()
            except Exception:
                log.failure("{part} could not be stopped in order", part=type(part).__name__)
        self._started.clear()


def _allow_descriptors() -> None:
    """As many file descriptors as we may have: each connection needs one, and shells start with 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # a limit that this system cannot grant: what we have must do
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _explain(error: Exception) -> str:
    return str(error) or type(error).__name__


# -- the parts -----------------------------------------------------------------------


@define(eq=False)
class Storage(Part):
    """The data folder and the database in it."""

    folder: Path
    lock: DataLock
    database: Database

    @classmethod
    def open(cls, folder: Path, call_from_thread: Callable[..., Any]) -> Storage:
        """Make the folder if need be, lock it, open the database. Raises `DataInUse`, `StorageError`."""
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = DataLock(folder)
            lock.take()
            for file in folder.glob(f"{DATABASE}*"):
                file.open("r+b").close()
        except OSError as error:
            user = getpwuid(os.geteuid()).pw_name
            raise CannotStart(
                f"{error.filename or folder} cannot be written to ({error.strerror}): "
                f"give the data folder to the user the server runs as (chown -R {user} {folder}), "
                "or set server.data to another folder"
            ) from error
        return cls(folder, lock, Database.open(folder / DATABASE, call_from_thread))

    async def stop(self) -> None:
        """Commit everything, close the database, let others have the folder."""
        await self.database.close()
        self.lock.release()


@define(eq=False)
class Libraries(Part):
    """The libraries served here, each with its rooms. `removed` is called with a domain that is gone."""

    core: Core
    certificates: LibraryCertificates
    rooms: dict[str, RoomService] = field(factory=dict)
    removed: list[Callable[[str], None]] = field(factory=list)

    def start(self) -> None:
        """Serve every library in the store."""
        database = self.core.database
        found = database.read_now(libraries.list)
        self.core.hooks.tell(HostsComing(frozenset(library.domain for library in found)))
        stored = database.read_now(_load_rooms, [library.domain for library in found])
        for library in found:
            self.add(library.domain, library.name, stored[library.domain])

    def reload(self) -> None:
        """Log which libraries have no certificate now; other changes come through refserverctl."""
        for host in self.core.hosts:
            self.certificates.expect(host.domain)

    def take_up(self, domain: str, name: str) -> None:
        """A library was added while the server runs: its certificate may have come with it."""
        self.certificates.read(domain)
        self.add(domain, name)

    def add(self, domain: str, name: str, stored: StoredRooms | None = None) -> None:
        """Serve a library from now on, or give it another name. `stored` are its rooms, if read already."""
        host = self.core.hosts.get(domain)
        if host is not None:
            host.name = name
            return
        self.certificates.expect(domain)
        host = Host(domain, name)
        self.core.hosts.add(host)
        rooms = self.rooms[domain] = RoomService(self.core, host)
        rooms.start(stored)
        self.core.hooks.tell(HostAdded(host))

    def remove(self, domain: str, events: Iterable[object] = ()) -> None:
        """Serve a library no more: its queues, rooms and accounts become unavailable, its streams end.

        `events` are published while it can still send, after its clients' streams have ended.
        """
        host = self.core.hosts.get(domain)
        if host is None:
            return
        self.leave(host)
        for session in list(self.core.sessions):
            if session.host is host:
                session.close(StreamError(StreamCondition.HOST_GONE))
        for event in events:
            self.core.hooks.tell(event)
        self.core.hosts.remove(domain)
        self.rooms.pop(domain).remove()
        self.core.hooks.tell(HostRemoved(host))
        for removed in self.removed:
            removed(domain)

    def leave(self, host: Host) -> None:
        """Tell everybody elsewhere that the library's queues and rooms are unavailable from now on."""
        self.core.hooks.tell(HostStopping(host))
        self.rooms[host.domain].stop()


@define(eq=False)
class LibraryCertificates(Part):
    """The certificates of the libraries, one folder; read again on SIGHUP.

    `trusted_ca` is a PEM file of authorities that other servers' certificates may come from.
    """

    folder: Path
    trusted_ca: Path | None = None
    loaded: Certificates = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Read the folder. A file that cannot be used costs its domain TLS, and is logged."""
        try:
            trust = Trust(self.trusted_ca)
        except (OSError, ValueError, SSL.Error) as error:
            raise CannotStart(f"s2s.trusted_ca: {self.trusted_ca} holds no certificates to trust") from error
        self.loaded = Certificates(self.folder, trust=trust)
        self._log(self.loaded.problems)

    def reload(self) -> None:
        """Read what has changed in the folder. Raises `NotReloaded`; what is good in it is used."""
        problems = self.loaded.reload()
        self._log(problems)
        try:
            self.loaded.trust = Trust(self.trusted_ca)
        except (OSError, ValueError, SSL.Error) as error:
            raise NotReloaded(f"s2s.trusted_ca: {self.trusted_ca}: {explain(error)}") from error
        if problems:
            raise NotReloaded("certificates: see the errors above")

    def read(self, domain: str) -> None:
        """Read the certificate of a library that was added."""
        self._log(self.loaded.reload(domain))

    def expect(self, domain: str) -> None:
        """Log an error if a library that is served from now on has no certificate."""
        if self.loaded.certificate(domain) is None:
            log.error(
                "there is no certificate for {domain}, so clients and servers cannot reach it over TLS: put "
                "its key and chain into {file} and reload",
                domain=domain,
                file=str(self.folder / f"{domain}.pem"),
            )

    def _log(self, problems: Iterable[CertificateProblem]) -> None:
        """Log one error for each domain that is concerned."""
        certificates = self.loaded
        for problem in problems:
            concerned = [problem.domain] if problem.domain else [each.domain for each in certificates]
            for domain in concerned:
                kept = "the one it had stays" if certificates.certificate(domain) else "it has no TLS"
                log.error("{domain}: {problem}; {kept}", domain=domain, problem=str(problem), kept=kept)
            if not concerned:
                log.error("no certificate can be read: {problem}", problem=str(problem))

    def __bool__(self) -> bool:
        return any(True for _ in self.loaded)

    def context_for(self, domain: str) -> SSL.Context:
        return self.loaded.context_for(domain)


@define(eq=False)
class Sockets(Part):
    """All sockets: of clients, components and other servers."""

    mux: Mux
    core: Core

    def start(self) -> None:
        """Join the reactor."""
        self.mux.start()

    async def stop(self) -> None:
        """Write what is queued, close every socket, and cut off peers that do not close theirs in time."""
        await self.mux.stop()
        self.core.hooks.tell(ServerStopping())


@define(eq=False)
class Rereading(Part):
    """Takes up settings that were changed in the file: of streams and limits, without a restart."""

    settings: Settings
    reread: Callable[[], Settings]
    take_up: Callable[[Settings], None]

    def reload(self) -> None:
        """Read the file again. Raises `ConfigurationError`, and then everything stays as it was."""
        settings = self.reread()
        self.take_up(settings)
        for table in ("server", "listen", "tls"):
            if getattr(settings, table) != getattr(self.settings, table):
                log.warn("[{table}] has changed: that holds after a restart", table=table)
        for key in ("enabled", "trusted_ca", "name_servers"):
            if getattr(settings.s2s, key) != getattr(self.settings.s2s, key):
                log.warn("s2s.{key} has changed: that holds after a restart", key=key)


@define(eq=False)
class Desks(Part):
    """The queues and rooms of all libraries. They end before any stream does."""

    libraries: Libraries
    reference: Reference

    async def stop(self) -> None:
        """Tell everybody elsewhere that they are unavailable. What was acknowledged is in the store."""
        for host in list(self.libraries.core.hosts):
            self.libraries.leave(host)
        self.reference.stop()


@define(eq=False)
class RunningServer:
    """The server that requests of refserverctl act on. `servers` is None if there is no federation.

    `started` is when the server started, in Unix seconds.
    """

    core: Core
    libraries: Libraries
    servers: FederationService | None = None
    started: float = 0.0

    @property
    def rooms(self) -> int:
        """The number of open rooms."""
        return sum(map(len, self.libraries.rooms.values()))

    @property
    def streams(self) -> int:
        """The number of open streams from and to other servers."""
        remotes = [] if self.servers is None else self.servers.status()
        return sum(remote.outgoing + remote.incoming for remote in remotes)

    def end_sessions(self, account: JID, condition: StreamCondition, text: str) -> None:
        """End an account's sessions. Those of a library that is gone have ended with it."""
        if self.core.hosts.get(account.domainpart) is not None:
            for session in list(self.core.sessions.of(account).values()):
                session.close(StreamError(condition, text))


def _load_rooms(connection: Connection, domains: Iterable[str]) -> dict[str, StoredRooms]:
    return {domain: load_rooms(connection, f"rooms.{domain}") for domain in domains}
