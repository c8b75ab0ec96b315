"""Federation: streams from other servers are accepted, and streams to them are made and looked after.

Specifications: RFC 6120, XEP-0220 (dialback), XEP-0288 (one stream for both directions), XEP-0368. The rules
of the protocol are in stream/server_inbound.py, the limits of a proved domain in inbound_limits.py.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

from attrs import define, evolve, field, frozen
from OpenSSL import SSL
from twisted.logger import Logger
from twisted.python.failure import Failure

from refserver.core.commit_barrier import CommitBarrier
from refserver.core.core import Core
from refserver.core.hooks import RemoteReachable
from refserver.core.hosts import Hosts
from refserver.errors import Cause, StreamCondition, StreamError, StreamFault
from refserver.net.acceptor import PeerLimits, SecureAcceptor
from refserver.net.connection import Connection
from refserver.net.mux import Mux
from refserver.s2s.acknowledgement import LinkUser
from refserver.s2s.connect import Connector
from refserver.s2s.dialback import DialbackVerifier
from refserver.s2s.inbound_limits import InboundLimits, InboundRouter
from refserver.s2s.known_servers import KnownServer, KnownServers
from refserver.s2s.outbound_queue import OutboundQueue, Pool
from refserver.s2s.outgoing import CLOSE_SECONDS, OutgoingConnection, ServerContexts
from refserver.s2s.resolver import Resolver
from refserver.stanza import Stanza
from refserver.stream import events
from refserver.stream.events import (
    Confirmed,
    CountWanted,
    Established,
    KeyToVerify,
    Managed,
    StanzaRefused,
    Verdict,
)
from refserver.stream.policy import ServerPolicy, TLSInfo
from refserver.stream.server_inbound import ServerInbound

log = Logger()

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
class IncomingConnection:
    """Implements `Receiver`, and `BidiLink` for a peer that agreed to XEP-0288.

    `local_domains` are those of ours to which a domain of the peer's was proved.
    """

    _service: FederationService
    _connection: Connection
    _ip: str
    _direct_tls: bool = field(kw_only=True)
    local_domains: set[str] = field(factory=set, init=False)
    users: list[LinkUser] = field(factory=list, init=False)
    last_heard: float = field(init=False)
    _tls: TLSInfo | None = field(default=None, init=False)
    _known_servers: dict[str, KnownServer] = field(factory=dict, init=False)  # of the proved domains
    _stream: ServerInbound | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.last_heard = self._service.seconds()
        if not self._direct_tls:
            self._stream = self._new_stream(None)

    def _new_stream(self, tls: TLSInfo | None) -> ServerInbound:
        service = self._service
        return ServerInbound(
            service.hosts.is_local, service.policy, service.secret, tls=tls, welcomes=service.welcomes
        )

    @property
    def domains(self) -> Collection[str]:
        """The peer's domains that were proved."""
        return self._known_servers.keys()

    def share(self, remote: KnownServer, bytes_per_second: float) -> None:
        """Set the stream's share of `bytes_per_second`, if it is one of `remote`."""
        if remote.domain in self._known_servers:
            streams = max(each.incoming for each in self._known_servers.values())
            rate = bytes_per_second / streams
            if rate != self._connection.bytes_per_second:
                self._connection.bytes_per_second = rate

    # -- Receiver ----------------------------------------------------------

    def received(self, data: bytes) -> None:
        """Bytes from the peer."""
        if self._stream is not None:
            self.last_heard = self._service.seconds()
            self._go_on(self._stream.receive(data))

    def secured(self) -> None:
        """The TLS handshake is finished, after STARTTLS or at the start of direct TLS."""
        assert self._connection.tls is not None
        self._tls = self._service.contexts.info(self._connection.tls)
        if self._stream is None:
            self._stream = self._new_stream(self._tls)
        else:
            self._stream.tls_started(self._tls)

    def lost(self, reason: str) -> None:
        """The connection is gone."""
        self._service.gone(self, self._ip)
        known_servers = list(self._known_servers.values())
        self._known_servers.clear()
        for remote in known_servers:
            remote.incoming -= 1
            self._service.share(remote)
        users, self.users = self.users, []
        for user in users:
            user.ended(self, StreamFault(Cause.CONNECTION_LOST, reason))

    def expired(self) -> None:
        """The peer has proved nothing in time, or has not closed its side."""
        if self._stream is None or self._stream.closed or self._known_servers:
            self._connection.abort("too slow")
        else:
            self.close(StreamError(StreamCondition.CONNECTION_TIMEOUT))

    # -- Link --------------------------------------------------------------

    def carries(self, from_: str, to: str) -> bool:
        return self.usable and self._stream is not None and self._stream.carries(from_, to)

    @property
    def usable(self) -> bool:
        return self._stream is not None and self._stream.ready and not self._connection.closed

    @property
    def managed(self) -> bool | None:
        # The peer may still turn it on.
        return self._stream is not None and self._stream.management.on

    @property
    def unsent(self) -> int:
        return self._connection.unacknowledged

    def send_bytes(self, data: bytes) -> int:
        # The size that the peer takes is not known on its own streams.
        assert self._stream is not None
        self._connection.send(data)
        self._stream.management.sent += 1
        return self._stream.management.sent

    def ask(self) -> None:
        assert self._stream is not None
        self._connection.send(self._stream.management.request())

    # -- the end -----------------------------------------------------------

    def close(self, error: StreamError | None = None) -> None:
        """End the stream, at once with an error, in order without."""
        stream = self._stream
        if stream is None:
            self._connection.abort("no TLS handshake in time")
        elif error is not None:
            stream.fail(error)
            self._flush()
            self._connection.close()
        else:
            stream.close()
            self._flush()
            self._service.mux.expire(self, CLOSE_SECONDS)

    def _closed(self, event: events.StreamClosed | events.StreamFailed) -> None:
        if isinstance(event, events.StreamFailed):
            for remote in self._known_servers.values():
                remote.failed(StreamFault(Cause.PROTOCOL_BROKEN, event.error.condition.value))
        self._connection.close()

    # -- events ------------------------------------------------------------

    def _go_on(self, happened: Iterable[events.Event]) -> None:
        """Deal with events one by one: the machine goes on when the next is asked for."""
        for event in happened:
            if type(event) is Stanza:
                self._stanza(event)
            else:
                self._flush()
                handler = _HANDLERS.get(type(event))
                if handler is not None:
                    handler(self, event)
        self._flush()

    def _flush(self) -> None:
        assert self._stream is not None
        output = self._stream.take_output()
        if output:
            self._connection.send(output)

    def _stanza(self, stanza: Stanza) -> None:
        assert stanza.from_ is not None
        remote = self._known_servers.get(stanza.from_.domainpart)
        if remote is None or self._connection.closed:
            return
        try:
            self._service.take(stanza, remote)
        except StreamError as error:
            remote.failed(StreamFault(Cause.WE_CLOSED, error.condition.value))
            self.close(error)

    def _managed(self, event: Managed) -> None:
        for user in list(self.users):
            user.managed(self)

    def _confirmed(self, event: Confirmed) -> None:
        for user in list(self.users):
            user.confirmed(self, event.number)

    def _count_wanted(self, event: CountWanted) -> None:
        self._service.commit_barrier.then(lambda: self._tell_count(event.handled))

    def _tell_count(self, handled: int) -> None:
        if self._stream is not None and not self._connection.closed:
            self._stream.tell_count(handled)
            self._flush()

    def _start_tls(self, event: events.StartTLS) -> None:
        self._connection.start_tls(self._service.contexts.incoming(event.host))

    def _key_to_verify(self, event: KeyToVerify) -> None:
        if self._service.hosts.is_local(event.from_):  # nobody else is one of our domains
            self._verified(event, False)
            return
        verdict = self._service.dialback.verify(event, self._ip)
        verdict.addCallback(lambda word: self._verified(event, word))
        verdict.addErrback(self._broken)

    def _verified(self, asked: KeyToVerify, verdict: Verdict) -> None:
        if self._stream is not None and not self._connection.closed:
            self._go_on(self._stream.key_verified(asked, verdict))

    def _established(self, event: Established) -> None:
        hosts = self._service.hosts
        if not hosts.is_local(event.to):  # the way back (XEP-0288)
            self._service.pool.add_bidi_link((event.from_, event.to), self)
            return
        if hosts.is_local(event.from_):
            self.close(StreamError(StreamCondition.INVALID_FROM))
            return
        remote = self._known_servers.get(event.from_)
        if remote is None:
            remote = self._known_servers[event.from_] = self._service.pool.known_servers.get(event.from_)
            remote.incoming += 1
            self._service.share(remote)
        self.local_domains.add(event.to)
        remote.incoming_method = event.method
        if self._tls is not None:
            remote.shows(self._tls)
        self._service.proved(self, event, bidi=self._stream is not None and self._stream.bidi)

    def _stanza_refused(self, event: StanzaRefused) -> None:
        for remote in self._known_servers.values():
            remote.refused += 1
            break
        reply = event.reply
        if reply is not None and reply.to is not None and self._service.inbound.may_answer(reply.to):
            self._service.pool.deliver(reply)

    def _broken(self, failure: Failure) -> None:
        log.failure("a stream of another server failed", failure=failure)
        if not self._connection.closed:
            self.close(StreamError(StreamCondition.INTERNAL_SERVER_ERROR))


_HANDLERS: dict[type, Callable[[IncomingConnection, Any], None]] = {
    events.StartTLS: IncomingConnection._start_tls,
    KeyToVerify: IncomingConnection._key_to_verify,
    Established: IncomingConnection._established,
    StanzaRefused: IncomingConnection._stanza_refused,
    Managed: IncomingConnection._managed,
    Confirmed: IncomingConnection._confirmed,
    CountWanted: IncomingConnection._count_wanted,
    events.StreamClosed: IncomingConnection._closed,
    events.StreamFailed: IncomingConnection._closed,
}


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
            self._came,
            self._reply,
            self.commit_barrier.then,
            self.resolver.clock,
            self.resolver,
            settings.bytes_per_second,
        )
        self.pool = Pool(
            connector,
            core.hosts,
            core.router.bounce,
            lambda domain: core.hooks.tell(RemoteReachable(domain)),
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

    def _reply(self, stanza: Stanza) -> None:
        self.pool.deliver(stanza)

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
