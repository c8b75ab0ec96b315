"""The parts of the server that start and stop: storage, libraries, clients."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from pwd import getpwuid
from typing import Any

from attrs import define, field
from OpenSSL import SSL
from sqlalchemy import Connection
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import ILoggingContext
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from refserver.app.checks.ports import why_not
from refserver.app.data import DATABASE, DataLock
from refserver.app.endpoints import tcp_address
from refserver.app.server import CannotStart, NotReloaded
from refserver.app.settings import Settings
from refserver.c2s.service import ClientService
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

log = Logger()


@define(eq=False)
class Storage:
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

    def start(self) -> None:
        """Nothing: it is open already, for others' sake."""

    async def stop(self) -> None:
        """Commit everything, close the database, let others have the folder."""
        await self.database.close()
        self.lock.release()

    def reload(self) -> None:
        """Nothing to read again."""


@define(eq=False)
class Libraries:
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

    async def stop(self) -> None:
        """Nothing that outlives the process."""

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
class LibraryCertificates:
    """The certificates of the libraries, one folder; read again on SIGHUP.

    `trusted_ca` is a PEM file of authorities that other servers' certificates may come from.
    """

    folder: Path
    trusted_ca: Path | None = None
    certificates: Certificates | None = None

    def start(self) -> None:
        """Nothing: loaded before, since others need to know whether there are any."""

    def load(self) -> None:
        """Read the folder. A file that cannot be used costs its domain TLS, and is logged."""
        try:
            trust = Trust(self.trusted_ca)
        except (OSError, ValueError, SSL.Error) as error:
            raise CannotStart(f"s2s.trusted_ca: {self.trusted_ca} holds no certificates to trust") from error
        self.certificates = Certificates(self.folder, trust=trust)
        self._log(self.certificates.problems)

    async def stop(self) -> None:
        """Nothing to put away."""

    def reload(self) -> None:
        """Read what has changed in the folder. Raises `NotReloaded`; what is good in it is used."""
        certificates = self.loaded()
        problems = certificates.reload()
        self._log(problems)
        try:
            certificates.trust = Trust(self.trusted_ca)
        except (OSError, ValueError, SSL.Error) as error:
            raise NotReloaded(f"s2s.trusted_ca: {self.trusted_ca}: {explain(error)}") from error
        if problems:
            raise NotReloaded("certificates: see the errors above")

    def read(self, domain: str) -> None:
        """Read the certificate of a library that was added."""
        self._log(self.loaded().reload(domain))

    def expect(self, domain: str) -> None:
        """Log an error if a library that is served from now on has no certificate."""
        if self.loaded().certificate(domain) is None:
            log.error(
                "there is no certificate for {domain}, so clients and servers cannot reach it over TLS: put "
                "its key and chain into {file} and reload",
                domain=domain,
                file=str(self.folder / f"{domain}.pem"),
            )

    def _log(self, problems: Iterable[CertificateProblem]) -> None:
        """Log one error for each domain that is concerned."""
        certificates = self.loaded()
        for problem in problems:
            concerned = [problem.domain] if problem.domain else [each.domain for each in certificates]
            for domain in concerned:
                kept = "the one it had stays" if certificates.certificate(domain) else "it has no TLS"
                log.error("{domain}: {problem}; {kept}", domain=domain, problem=str(problem), kept=kept)
            if not concerned:
                log.error("no certificate can be read: {problem}", problem=str(problem))

    def __bool__(self) -> bool:
        return self.certificates is not None and any(True for _ in self.certificates)

    def context_for(self, domain: str) -> SSL.Context:
        return self.loaded().context_for(domain)

    def loaded(self) -> Certificates:
        """The certificates, once they are loaded."""
        assert self.certificates is not None
        return self.certificates


@define(eq=False)
class Sockets:
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

    def reload(self) -> None:
        """Nothing to read again."""


@define(eq=False)
class Clients:
    """The sockets on which clients come."""

    reactor: Any
    service: ClientService
    c2s: Iterable[str]
    c2s_tls: Iterable[str]

    def start(self) -> None:
        """Listen. Raises `CannotStart` if a port is taken."""
        for port in open_ports(self.reactor, "listen.c2s", self.c2s):
            self.service.listen(port, tls=False)
        for port in open_ports(self.reactor, "listen.c2s_tls", self.c2s_tls):
            self.service.listen(port, tls=True)

    async def stop(self) -> None:
        """End all streams (system-shutdown); the accounts' unavailable presence goes out with that."""
        await self.service.stop()

    def reload(self) -> None:
        """Nothing to read again."""


@define(eq=False)
class Rereading:
    """Takes up settings that were changed in the file: of streams and limits, without a restart."""

    settings: Settings
    reread: Callable[[], Settings]
    take_up: Callable[[Settings], None]

    def start(self) -> None:
        """Nothing: everything was made with the settings."""

    async def stop(self) -> None:
        """Nothing to put away."""

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
class Desks:
    """The queues and rooms of all libraries. They end before any stream does."""

    libraries: Libraries
    reference: Reference

    def start(self) -> None:
        """Nothing: each library's queues and rooms have started with it."""

    async def stop(self) -> None:
        """Tell everybody elsewhere that they are unavailable. What was acknowledged is in the store."""
        for host in list(self.libraries.core.hosts):
            self.libraries.leave(host)
        self.reference.stop()

    def reload(self) -> None:
        """Nothing to read again."""


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


@implementer(ILoggingContext)
class _Port(Factory):
    """Only opens a port, for the multiplexer to accept on; `key` is what the log calls it."""

    noisy = False

    def __init__(self, key: str) -> None:
        self._key = key

    def logPrefix(self) -> str:
        return self._key


def _why_not(failure: Failure, description: str, key: str) -> str:
    address, code = tcp_address(description), getattr(failure.value, "socketError", None)
    code = getattr(code, "errno", None)
    if address is None or code is None:
        return f"{failure.getErrorMessage()}: choose another: {key}"
    return ": ".join(why_not(code, *address, key))


def open_ports(reactor: Any, key: str, descriptions: Iterable[str]) -> list[Any]:
    """Listen on Twisted endpoint descriptions; `key` names the setting in the error. Raises `CannotStart`."""
    ports: list[Any] = []
    for description in descriptions:
        listening = serverFromString(reactor, description).listen(_Port(key))
        failures: list[Failure] = []
        listening.addCallbacks(ports.append, failures.append)
        if failures:
            raise CannotStart(f"cannot listen on {description}: {_why_not(failures[0], description, key)}")
    return ports
