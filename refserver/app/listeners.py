"""The parts of the server that listen: for clients, other servers and components."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from attrs import define
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import ILoggingContext
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.names.client import Resolver as NameClient
from twisted.names.hosts import Resolver as HostsFile
from twisted.names.resolve import ResolverChain
from twisted.python.failure import Failure
from zope.interface import implementer

from refserver.app.checks.ports import why_not
from refserver.app.parts import CannotStart, LibraryCertificates, Part
from refserver.app.settings import Settings, tcp_address
from refserver.c2s.service import ClientService
from refserver.components.service import ComponentService, DomainTaken
from refserver.core.core import Core
from refserver.net.mux import Mux
from refserver.s2s.inbound_limits import InboundLimits
from refserver.s2s.outgoing import ServerContexts
from refserver.s2s.resolver import Resolver
from refserver.s2s.service import FederationPolicy, FederationService
from refserver.storage import secrets
from refserver.stream import ServerPolicy
from refserver.xml import Limits

log = Logger()


@define(eq=False)
class Clients(Part):
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


BEFORE_PROOF = Limits(stanza_bytes=10_000)
"""RFC 6120 13.12 has a server take 10,000 bytes; until a domain is proved nobody gets more."""


@define(eq=False)
class Federation(Part):
    """The streams from and to other servers."""

    reactor: Any
    service: FederationService
    s2s: Iterable[str]
    s2s_tls: Iterable[str]

    def start(self) -> None:
        """Take what is for other servers, and listen. Raises `CannotStart` if a port is taken."""
        self.service.start()
        for port in open_ports(self.reactor, "listen.s2s", self.s2s):
            self.service.listen(port, tls=False)
        for port in open_ports(self.reactor, "listen.s2s_tls", self.s2s_tls):
            self.service.listen(port, tls=True)

    async def stop(self) -> None:
        """Send what waits, then end all streams (system-shutdown)."""
        await self.service.stop()

    def renew(self, settings: Settings) -> None:
        """Let settings that were read again hold, for connections that come from now on."""
        self.service.renew(federation_policy(settings))
        self.service.resolver.overrides = _places(settings)


def make_federation(
    settings: Settings, reactor: Any, core: Core, mux: Mux, certificates: LibraryCertificates
) -> Federation:
    """The part, as the configuration wants it."""
    service = FederationService(
        core,
        mux,
        federation_policy(settings),
        ServerContexts(certificates.loaded),
        make_resolver(settings, reactor),
        core.database.write_now(secrets.get_or_create, "dialback", 32),
    )
    return Federation(reactor, service, settings.listen.s2s, settings.listen.s2s_tls)


def federation_policy(settings: Settings) -> FederationPolicy:
    """Return the settings of streams to and from other servers.

    Where there is no limit of bytes there is none of stanzas either: who sets it to 0 wants no limits.
    """
    limits = settings.limits
    stream = ServerPolicy(
        limits_before=BEFORE_PROOF,
        limits_after=Limits(stanza_bytes=limits.stanza_bytes),
        dialback=settings.s2s.authentication == "dialback",
    )
    return FederationPolicy(
        stream,
        bytes_per_second=limits.s2s_bytes_per_second,
        connections_per_ip=limits.connections_per_ip,
        inbound_limits=InboundLimits.of_streams(limits.s2s_bytes_per_second, limits.stanza_bytes),
    )


def make_resolver(settings: Settings, reactor: Any) -> Resolver:
    """DNS as this machine has it (hosts file, then the name servers of resolv.conf), and `s2s.hosts`.

    `s2s.name_servers` take the place of those of resolv.conf.
    """
    servers = [(place.host, place.port) for place in settings.s2s.name_servers]
    asked = NameClient(None if servers else "/etc/resolv.conf", servers, reactor=reactor)
    return Resolver(ResolverChain([HostsFile(), asked]), reactor, _places(settings))


def _places(settings: Settings) -> dict[str, tuple[str, int]]:
    return {domain: (place.host, place.port) for domain, place in settings.s2s.hosts.items()}


# -- components ----------------------------------------------------------------------


KEY: Final = "components.secret_files"  # in the configuration

SHORTEST: Final = 8  # characters; a shorter secret works, with a warning


class UnusableSecret(ValueError):
    """A component's file holds no secret; the text says why, and names neither the file nor what is in it."""


def read_secret(domain: str, file: Path) -> str:
    """Return a component's secret, without the white space around it. Raises `UnusableSecret`."""
    try:
        secret = file.read_text("utf-8").strip()
    except OSError as error:
        raise UnusableSecret(f"the file of {domain} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UnusableSecret(f"the file of {domain} is not UTF-8") from error
    if not secret:
        raise UnusableSecret(f"the file of {domain} is empty")
    return secret


def is_short(secret: str) -> bool:
    """Return True if the secret can be guessed because of its length."""
    return len(secret) < SHORTEST


def is_open(file: Path) -> bool:
    """Return True if everybody on this machine may read or write the file."""
    return bool(file.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH))


@define(eq=False)
class Components(Part):
    """The components of this server. `secret_files` are the files by domain, as configured now."""

    reactor: Any
    service: ComponentService
    endpoints: Iterable[str]
    secret_files: Mapping[str, Path]
    listening: bool = False

    def start(self) -> None:
        """Answer for their domains and listen. Raises `CannotStart`."""
        self.reload()

    async def stop(self) -> None:
        """End all streams in order (system-shutdown)."""
        self.service.stop()

    def reload(self) -> None:
        """Read the secrets again. Raises `CannotStart`, and then what was read before still holds."""
        secrets = read_secrets(self.secret_files)
        try:
            self.service.take_up(secrets)
        except DomainTaken as error:
            raise CannotStart(
                f"{error.domain} is a library here, or a service of one: a component cannot have it too. "
                f"Choose another domain: {KEY} in the configuration."
            ) from error
        if secrets and not self.listening:
            for port in open_ports(self.reactor, "listen.component", self.endpoints):
                self.service.listen(port)
            self.listening = True


def read_secrets(files: Mapping[str, Path]) -> dict[str, str]:
    """The secrets by domain. Raises `CannotStart`."""
    return {domain: _secret(domain, file) for domain, file in files.items()}


def _secret(domain: str, file: Path) -> str:
    try:
        secret = read_secret(domain, file)
    except UnusableSecret as error:
        raise CannotStart(f"{error}: {KEY} in the configuration") from error
    if is_short(secret):
        log.warn(
            "the secret of {domain} has fewer than {least} characters: it can be guessed",
            domain=domain,
            least=SHORTEST,
        )
    if is_open(file):
        log.warn("the file with the secret of {domain} is open to everybody on this machine", domain=domain)
    return secret


# -- ports ---------------------------------------------------------------------------


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
