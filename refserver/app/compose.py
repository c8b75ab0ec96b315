"""The one place where the server's objects are made and wired together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from attrs import evolve
from twisted.application.service import IService
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.names.client import Resolver as NameClient
from twisted.names.hosts import Resolver as HostsFile
from twisted.names.resolve import ResolverChain

from refserver.app.account_removal import remove_account
from refserver.app.control import Control
from refserver.app.data import SOCKET
from refserver.app.listeners import Components, Streams
from refserver.app.parts import (
    Desks,
    Libraries,
    LibraryCertificates,
    Part,
    Rereading,
    RunningServer,
    Server,
    Sockets,
    Storage,
)
from refserver.app.settings import Settings
from refserver.c2s.service import ClientPolicy, ClientService
from refserver.components.service import ComponentPolicy, ComponentService
from refserver.core.core import Core
from refserver.core.feature import Feature
from refserver.features.account_data import PrivateData, VCard
from refserver.features.last_activity import LastActivity
from refserver.features.library_access import LibraryAccess
from refserver.features.messages import Messages
from refserver.features.offline import Offline
from refserver.features.presence import Presence
from refserver.features.registration import Registration
from refserver.features.roster import RosterQueries, Rosters
from refserver.features.sanitising import IqPrivacy, Sanitising
from refserver.features.server_information import Disco, EntityTime, Ping, Version
from refserver.features.verifiers import Verifiers
from refserver.muc.iqs import Rooms
from refserver.net.mux import Mux
from refserver.reference.feature import Reference
from refserver.s2s.inbound_limits import InboundLimits
from refserver.s2s.outgoing import ServerContexts
from refserver.s2s.resolver import Resolver
from refserver.s2s.service import FederationPolicy, FederationService
from refserver.sasl import FakeVerifiers, Hashing
from refserver.storage import secrets
from refserver.stream.policy import ServerPolicy, StreamPolicy
from refserver.xml import Limits

FEATURES: tuple[type[Feature], ...] = (
    LibraryAccess,
    Rosters,
    RosterQueries,
    Presence,
    Sanitising,
    IqPrivacy,
    Messages,
    Offline,
    Disco,
    Ping,
    Version,
    EntityTime,
    LastActivity,
    VCard,
    PrivateData,
    Registration,
    Verifiers,
    Rooms,
)

BEFORE_AUTHENTICATION = Limits(stanza_bytes=10_000)
"""RFC 6120 13.12 has a server take 10,000 bytes; a stranger, client or server, gets no more."""


def compose(
    settings: Settings, reactor: Any, reread: Callable[[], Settings], set_log_level: Callable[[str], None]
) -> IService:
    """Return the whole server; it is made when the service starts, since threads do not survive a fork.

    `reread` reads the settings again, for SIGHUP; it raises `ConfigurationError`.
    """
    return Server(reactor, lambda: _parts(settings, reactor, reread, set_log_level))


def _parts(
    settings: Settings, reactor: Any, reread: Callable[[], Settings], set_log_level: Callable[[str], None]
) -> Iterator[Part]:
    storage = Storage.open(settings.server.data, reactor.callFromThread)
    yield storage
    core = Core(storage.database, reactor, offload=_offload(reactor), remove_account=remove_account)
    limits = settings.limits
    reference = Reference(core, limits.questions_per_patron_hour, limits.questions_per_domain_hour)
    core.hashing = _hashing(settings)
    core.install([*(feature(core) for feature in FEATURES), reference])
    core.feature(Rooms).rooms_per_account = limits.rooms_per_account
    certificates = LibraryCertificates(settings.tls.certificates, settings.s2s.trusted_ca)
    yield certificates
    libraries = Libraries(core, certificates)
    yield libraries
    mux = Mux(reactor)
    yield Sockets(mux, core)
    service = ClientService(
        core,
        mux,
        _client_policy(settings),
        certificates,
        FakeVerifiers(
            storage.database.write_now(secrets.get_or_create, "fake-salts", 32), core.hashing.iterations
        ),
        core.feature(Registration),
        core.feature(Verifiers),
    )
    components = Components(
        reactor,
        ComponentService(core, mux, _component_policy(settings)),
        settings.listen.component,
        settings.components.secret_files,
    )
    federation = FederationService(
        core,
        mux,
        _server_policy(settings),
        ServerContexts(lambda: certificates.loaded),
        Resolver(_name_servers(settings, reactor), reactor, _places(settings)),
        storage.database.write_now(secrets.get_or_create, "dialback", 32),
    )

    def take_up(changed: Settings) -> None:
        service.renew(_client_policy(changed))
        core.hashing = _hashing(changed)
        service.fakes = evolve(service.fakes, iterations=core.hashing.iterations)
        components.service.policy = _component_policy(changed)
        components.secret_files = changed.components.secret_files
        limits = changed.limits
        reference.limit_questions(limits.questions_per_patron_hour, limits.questions_per_domain_hour)
        core.feature(Rooms).rooms_per_account = limits.rooms_per_account
        federation.renew(_server_policy(changed))
        federation.resolver.overrides = _places(changed)
        set_log_level(changed.log.level)

    yield Rereading(settings, reread, take_up)
    # Parts stop in the opposite order: desks first, so that people elsewhere learn that they are unavailable.
    if settings.s2s.enabled:
        federation.start()
        yield Streams(reactor, federation, settings.listen, "s2s")
        libraries.removed.append(federation.host_removed)
    yield components
    yield Streams(reactor, service, settings.listen, "c2s")
    yield Desks(libraries, reference)
    servers = federation if settings.s2s.enabled else None
    server = RunningServer(core, libraries, servers)
    yield Control(settings.server.data / SOCKET, server, reactor)


def _offload(reactor: Any) -> Callable[..., Deferred[Any]]:
    def offload(function: Callable[..., Any], /, *args: Any) -> Deferred[Any]:
        return deferToThreadPool(reactor, reactor.getThreadPool(), function, *args)

    return offload


def _hashing(settings: Settings) -> Hashing:
    return Hashing(settings.c2s.scram_iterations, settings.c2s.scram_sha_1)


def _client_policy(settings: Settings) -> ClientPolicy:
    stream = StreamPolicy(
        limits_before=BEFORE_AUTHENTICATION,
        limits_after=Limits(stanza_bytes=settings.limits.stanza_bytes),
        require_tls=settings.c2s.require_tls,
        plain_without_tls=settings.c2s.plain_without_tls,
        registration=settings.c2s.registration == "open",
        scram_sha_1=settings.c2s.scram_sha_1,
    )
    return ClientPolicy(
        stream,
        unauthenticated_timeout=settings.c2s.unauthenticated_timeout,
        resume_seconds=settings.c2s.resume_seconds,
        bytes_per_second=settings.limits.c2s_bytes_per_second,
        connections_per_ip=settings.limits.connections_per_ip,
        registrations_per_ip_hour=settings.limits.registrations_per_ip_hour,
    )


def _component_policy(settings: Settings) -> ComponentPolicy:
    return ComponentPolicy(
        limits_before=BEFORE_AUTHENTICATION,
        limits_after=Limits(stanza_bytes=settings.limits.stanza_bytes),
        handshake_timeout=settings.c2s.unauthenticated_timeout,
        connections_per_ip=settings.limits.connections_per_ip,
    )


def _server_policy(settings: Settings) -> FederationPolicy:
    """A limit of 0 bytes means no limit of stanzas either: an operator who sets it to 0 wants no limits."""
    limits = settings.limits
    stream = ServerPolicy(
        limits_before=BEFORE_AUTHENTICATION,
        limits_after=Limits(stanza_bytes=limits.stanza_bytes),
        dialback=settings.s2s.authentication == "dialback",
    )
    return FederationPolicy(
        stream,
        bytes_per_second=limits.s2s_bytes_per_second,
        connections_per_ip=limits.connections_per_ip,
        inbound_limits=InboundLimits.of_streams(limits.s2s_bytes_per_second, limits.stanza_bytes),
    )


def _name_servers(settings: Settings, reactor: Any) -> ResolverChain:
    """Return DNS as this machine has it: the hosts file, then `s2s.name_servers` or those of resolv.conf."""
    servers = [(place.host, place.port) for place in settings.s2s.name_servers]
    return ResolverChain(
        [HostsFile(), NameClient(None if servers else "/etc/resolv.conf", servers, reactor=reactor)]
    )


def _places(settings: Settings) -> dict[str, tuple[str, int]]:
    return {domain: (place.host, place.port) for domain, place in settings.s2s.hosts.items()}
