"""One connection from another server: bytes go into the stream machine, its events to the core.

Owns no rule of the protocol (stream/server_inbound.py) and no limit of a proved domain (inbound_limits.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, Protocol

from attrs import define, field
from twisted.logger import Logger
from twisted.python.failure import Failure

from refserver.core.commit_barrier import CommitBarrier
from refserver.core.hosts import Hosts
from refserver.errors import Cause, StreamCondition, StreamError, StreamFault
from refserver.net.connection import Connection
from refserver.net.mux import Mux
from refserver.s2s.acknowledgement import LinkUser
from refserver.s2s.dialback import DialbackVerifier
from refserver.s2s.inbound_limits import InboundRouter
from refserver.s2s.known_servers import KnownServer
from refserver.s2s.outgoing import ServerContexts
from refserver.s2s.pool import Pool
from refserver.stanza import Stanza
from refserver.stream import (
    Confirmed,
    CountWanted,
    Established,
    KeyToVerify,
    Managed,
    StanzaRefused,
    Verdict,
    events,
)
from refserver.stream.policy import ServerPolicy, TLSInfo
from refserver.stream.server_inbound import ServerInbound

__all__ = ["IncomingConnection"]

log = Logger()

CLOSE_SECONDS: Final = 10.0


class Owner(Protocol):
    """The part of the federation service that a connection uses (service.py)."""

    mux: Mux
    contexts: ServerContexts
    secret: bytes
    commit_barrier: CommitBarrier
    pool: Pool
    inbound: InboundRouter
    dialback: DialbackVerifier
    seconds: Callable[[], float]

    @property
    def hosts(self) -> Hosts:
        """The domains served here."""

    @property
    def policy(self) -> ServerPolicy:
        """The settings of a new stream."""

    def welcomes(self, peer: str, ours: str) -> bool:
        """True unless one of our domains blocks the domain `peer`."""

    def proved(self, connection: IncomingConnection, event: Established, *, bidi: bool) -> None:
        """Use a stream on which another server has proved to be `event.from_`."""

    def share(self, remote: KnownServer) -> None:
        """Divide the bytes a second that `remote` may send among its streams."""

    def take(self, stanza: Stanza, remote: KnownServer) -> None:
        """Process a stanza of a proved domain. Raises `StreamError`."""

    def gone(self, peer: IncomingConnection, ip: str) -> None:
        """Forget a connection that is lost."""


@define(eq=False)
class IncomingConnection:
    """Implements `Receiver`, and `BidiLink` for a peer that agreed to XEP-0288.

    `local_domains` are those of ours to which a domain of the peer's was proved.
    """

    _service: Owner
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
            service.hosts.is_local, service.policy, service.secret, tls, welcomes=service.welcomes
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
        """See `BidiLink`."""
        return self.usable and self._stream is not None and self._stream.carries(from_, to)

    @property
    def usable(self) -> bool:
        """See `Link`."""
        return self._stream is not None and self._stream.ready and not self._connection.closed

    @property
    def managed(self) -> bool | None:
        """See `Link`. The peer may still turn it on."""
        return self._stream is not None and self._stream.management.on

    @property
    def unsent(self) -> int:
        """See `Link`."""
        return self._connection.unacknowledged

    def send_bytes(self, data: bytes) -> int:
        """See `Link`. The size that the peer takes is not known on its own streams."""
        assert self._stream is not None
        self._connection.send(data)
        self._stream.management.sent += 1
        return self._stream.management.sent

    def ask(self) -> None:
        """See `Link`."""
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
