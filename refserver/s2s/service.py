"""Federation: streams from other servers are accepted, and streams to them are made and looked after.

Specifications: RFC 6120, XEP-0220 (dialback), XEP-0288 (one stream for both directions), XEP-0368.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from attrs import define, evolve, field, frozen
from OpenSSL import SSL

from refserver.core.commit_barrier import CommitBarrier
from refserver.core.core import Core
from refserver.core.hooks import RemoteReachable
from refserver.core.hosts import Hosts
from refserver.errors import StreamCondition, StreamError
from refserver.net.acceptor import PeerLimits, SecureAcceptor
from refserver.net.connection import Connection
from refserver.net.mux import Mux
from refserver.s2s.connect import Connector
from refserver.s2s.dialback import DialbackVerifier
from refserver.s2s.inbound_limits import InboundLimits, InboundRouter
from refserver.s2s.incoming import IncomingConnection
from refserver.s2s.known_servers import KnownServer, KnownServers
from refserver.s2s.outbound_queue import OutboundQueue
from refserver.s2s.outgoing import OutgoingConnection, ServerContexts
from refserver.s2s.pool import Pool
from refserver.s2s.resolver import Resolver
from refserver.stanza import Stanza
from refserver.stream import Established, ServerPolicy

__all__ = ["FederationPolicy", "FederationService"]

TICKS_BETWEEN_LOOKS: Final = 15
FLUSH_SECONDS: Final = 4.0  # of the ten that a stop may take
IDLE_SECONDS: Final = 1800.0  # the peer's own streams: it closes them sooner if it wants to


@frozen
class FederationPolicy:
    """The operator's settings for other servers; `stream` are those of the stream machines.

    Times are in seconds; a limit of 0 is none.
    """

    stream: ServerPolicy
    unproved_timeout: float = 30.0
    bytes_per_second: int = 65_536
    connections_per_ip: int = 64
    inbound_limits: InboundLimits = field(factory=InboundLimits)


@define(eq=False)
class FederationService(SecureAcceptor[IncomingConnection]):
    """The streams from and to other servers. `pool` is the destination of stanzas for them."""

    core: Core
    mux: Mux
    settings: FederationPolicy
    contexts: ServerContexts
    resolver: Resolver
    secret: bytes
    commit_barrier: CommitBarrier = field(init=False)
    pool: Pool = field(init=False)
    inbound: InboundRouter = field(init=False)
    dialback: DialbackVerifier = field(init=False)
    seconds: Callable[[], float] = field(init=False)
    _ticks: int = field(default=0, init=False)
    _without_tls: ServerPolicy = field(init=False)

    def __attrs_post_init__(self) -> None:
        core, settings = self.core, self.settings
        self.seconds = core.clock.seconds
        self.commit_barrier = CommitBarrier(core.database.written)
        connector = Connector(
            self.mux,
            self.contexts,
            settings.stream,
            self.secret,
            KnownServers(core.now),
            self.resolver.clock,
            self.resolver,
            settings.bytes_per_second,
        )
        self.pool = Pool(
            connector,
            core.hosts,
            core.router.bounce,
            came=self._came,
            reachable=lambda domain: core.hooks.tell(RemoteReachable(domain)),
            when_written=self.commit_barrier.then,
        )
        self.inbound = InboundRouter(core.router, core.hosts, settings.inbound_limits, self.seconds)
        self.dialback = DialbackVerifier(self.pool)
        self._without_tls = evolve(settings.stream, offer_tls=False)

    @property
    def hosts(self) -> Hosts:
        """The domains served here."""
        return self.core.hosts

    @property
    def policy(self) -> ServerPolicy:
        """The settings of a new stream: TLS is offered as soon as there is a certificate."""
        return self.settings.stream if self.contexts else self._without_tls

    def renew(self, settings: FederationPolicy) -> None:
        """Use other settings for new connections."""
        if settings.inbound_limits != self.settings.inbound_limits:
            limits = settings.inbound_limits
            self.inbound = InboundRouter(self.core.router, self.core.hosts, limits, self.seconds)
        self.settings = settings
        self._without_tls = evolve(settings.stream, offer_tls=False)
        self.pool.connector.policy = settings.stream
        self.pool.connector.bytes_per_second = settings.bytes_per_second

    # -- accepting ---------------------------------------------------------

    def start(self) -> None:
        """Become the destination of stanzas for other servers, and look after streams."""
        self.core.router.remote = self.pool
        self.mux.tick(self._tick)

    @property
    def peer_limits(self) -> PeerLimits:
        """See `Acceptor`."""
        settings = self.settings
        return PeerLimits(settings.connections_per_ip, settings.unproved_timeout, settings.bytes_per_second)

    def _context(self) -> SSL.Context:
        return self.contexts.incoming("")

    def _new_peer(self, connection: Connection, ip: str, *, direct_tls: bool) -> IncomingConnection:
        return IncomingConnection(self, connection, ip, direct_tls=direct_tls)

    # -- what the connections tell -----------------------------------------

    def proved(self, connection: IncomingConnection, event: Established, *, bidi: bool) -> None:
        """Use a stream on which another server has proved to be `event.from_`."""
        self.mux.unexpire(connection)
        if bidi:
            self.pool.add_bidi_link((event.to, event.from_), connection)
        self.pool.heard_from(event.from_)

    def share(self, remote: KnownServer) -> None:
        """Divide the bytes a second that `remote` may send among its streams."""
        rate = self.settings.bytes_per_second
        for connection in self.connections if rate else ():
            connection.share(remote, rate)

    def welcomes(self, peer: str, ours: str) -> bool:
        """True unless one of our domains blocks the domain `peer`."""
        gate = self.hosts.gate_of(ours)
        return gate is None or gate.welcomes(peer)

    def review(self) -> None:
        """Close the streams of servers that all libraries block now."""
        for connection in list(self.connections):
            if not all(self._is_welcome(domain) for domain in connection.domains):
                connection.close(StreamError(StreamCondition.POLICY_VIOLATION))

    def _is_welcome(self, peer: str) -> bool:
        return not len(self.hosts) or any(self.welcomes(peer, host.domain) for host in self.hosts)

    def gone(self, peer: IncomingConnection, ip: str) -> None:
        """See `Acceptor`."""
        self.pool.remove_bidi_link(peer)
        super().gone(peer, ip)

    def take(self, stanza: Stanza, remote: KnownServer) -> None:
        """Process a stanza of a proved domain. Raises `StreamError` for a false sender or recipient."""
        if stanza.kind == "iq" and self.pool.answered(stanza):
            remote.received += 1
        else:
            self.inbound.take(stanza, remote)

    def _came(self, stanza: Stanza, connection: OutgoingConnection) -> None:
        """Process a stanza that came on a stream opened by us (XEP-0288)."""
        try:
            self.take(stanza, self.pool.known_servers.get(connection.remote))
        except StreamError as error:
            connection.close(error)

    def _tick(self) -> None:
        self.pool.look()
        self._ticks = (self._ticks + 1) % TICKS_BETWEEN_LOOKS
        if self._ticks:
            return
        self.pool.close_idle()
        before = self.seconds() - IDLE_SECONDS
        for connection in list(self.connections):
            if connection.last_heard < before:
                connection.close()

    # -- status and the end --------------------------------------------------

    def status(self) -> list[KnownServer]:
        """Return copies of all known servers, by domain, with what the queues to them hold now."""
        queues: dict[str, list[OutboundQueue]] = {}
        for queue in self.pool:
            queues.setdefault(queue.remote, []).append(queue)
        servers = sorted(self.pool.known_servers, key=lambda server: server.domain)
        return [self._status(server, queues.get(server.domain, ())) for server in servers]

    def _status(self, server: KnownServer, queues: Collection[OutboundQueue]) -> KnownServer:
        pause = max((queue.pause for queue in queues), default=0.0)
        return evolve(
            server,
            outgoing_method=server.outgoing_method if server.outgoing else "",
            incoming_method=server.incoming_method if server.incoming else "",
            connecting=any(queue.connecting for queue in queues),
            waiting=sum(queue.waiting for queue in queues),
            unacknowledged=sum(queue.unacknowledged for queue in queues),
            paused_until=self.core.now() + pause if pause else 0.0,
        )

    def host_removed(self, domain: str) -> None:
        """End all streams with a library that is served no more (RFC 6120 4.9.3.6, host-gone).

        Streams from other servers end at once; a peer that used one for other domains too opens another.
        Streams of ours end when all that waits was sent.
        """

        def is_gone(ours: str) -> bool:
            return not self.hosts.is_local(ours) and (ours == domain or ours.endswith(f".{domain}"))

        for connection in list(self.connections):
            if any(map(is_gone, connection.local_domains)):
                connection.close(StreamError(StreamCondition.HOST_GONE))
        self.pool.retire(is_gone)

    async def stop(self) -> None:
        """Send what waits, for FLUSH_SECONDS at most, and end all streams."""
        await self.pool.flush(FLUSH_SECONDS)
        self.close_all()

    def close_all(self) -> None:
        """End all streams: the server stops (RFC 6120 4.9.3.19)."""
        error = StreamError(StreamCondition.SYSTEM_SHUTDOWN)
        self.pool.close_all(error)
        for connection in list(self.connections):
            connection.close(error)
