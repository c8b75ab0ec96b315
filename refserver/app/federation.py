"""Federation as a part of the server: its settings, the name servers asked, the sockets others come to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attrs import define
from twisted.names.client import Resolver as NameClient
from twisted.names.hosts import Resolver as HostsFile
from twisted.names.resolve import ResolverChain

from refserver.app.parts import LibraryCertificates, open_ports
from refserver.app.settings import Settings
from refserver.core.core import Core
from refserver.net.mux import Mux
from refserver.s2s.inbound_limits import InboundLimits
from refserver.s2s.outgoing import ServerContexts
from refserver.s2s.resolver import Resolver
from refserver.s2s.service import FederationPolicy, FederationService
from refserver.storage import secrets
from refserver.stream import ServerPolicy
from refserver.xml import Limits

BEFORE_PROOF = Limits(stanza_bytes=10_000)
"""RFC 6120 13.12 has a server take 10,000 bytes; until a domain is proved nobody gets more."""


@define(eq=False)
class Federation:
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

    def reload(self) -> None:
        """Nothing to read again: the certificates are another part's."""

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
