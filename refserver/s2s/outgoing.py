"""One connection to another server: bytes go into the stream machine, its events to the connection's users.

Owns no rule of the protocol (stream/server_outbound.py) and not which address is tried (connect.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from attrs import define, field, frozen
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from refserver.errors import Cause, Condition, StanzaError, StreamError, StreamFault
from refserver.net.certificates import XMPP_SERVER, Certificates, ascii_name
from refserver.net.connection import Connection
from refserver.net.identity import PeerIdentity
from refserver.net.mux import Mux
from refserver.net.tls import TLSState
from refserver.s2s.acknowledgement import LinkUser
from refserver.s2s.known_servers import KnownServers
from refserver.stanza import Stanza
from refserver.stream import events
from refserver.stream.events import (
    Confirmed,
    CountWanted,
    Established,
    KeyToVerify,
    Managed,
    Refused,
    StanzaRefused,
    Verdict,
    VerifyAnswered,
)
from refserver.stream.policy import ServerPolicy, ShownCertificate, TLSInfo
from refserver.stream.server_outbound import ServerOutbound

ORDERLY: Final = frozenset({"system-shutdown", "reset", "connection-timeout"})
"""Stream errors with which servers end streams in the ordinary course."""
CLOSE_SECONDS: Final = 10.0  # for the peer to close the stream too
LAST_SECONDS: Final = 30.0  # for a stream that was refused, and what else it is used for


class Unreachable(Exception):
    """There is no stream to another server, because of `fault`; `condition` is for the senders of stanzas.

    If `permanent`, trying again at once is of no use.
    """

    def __init__(
        self,
        fault: StreamFault | Cause,
        condition: Condition = Condition.REMOTE_SERVER_TIMEOUT,
        *,
        permanent: bool = False,
    ) -> None:
        self.fault = fault if isinstance(fault, StreamFault) else StreamFault(fault)
        super().__init__(str(self.fault))
        self.condition = condition
        self.permanent = permanent


@frozen
class ServerContexts:
    """The TLS contexts of streams with other servers, made of what `certificates()` returns."""

    certificates: Callable[[], Certificates]

    def outgoing(self, domain: str, *, direct: bool) -> SSL.Context:
        """Return the context for our connections from `domain` to others: it shows our certificate and
        records the peer's. `direct` means that TLS comes before anything else (XEP-0368).
        """
        return self.certificates().client_context(domain, direct=direct)

    def incoming(self, domain: str) -> SSL.Context:
        """Return the context for others' connections to `domain` ("" if not known yet): it asks for a
        certificate. Raises `LookupError` if there is no certificate of ours.
        """
        return self.certificates().context_for(domain, XMPP_SERVER)

    def info(self, tls: TLSState) -> TLSInfo:
        """Return what a finished handshake proves."""
        identity = PeerIdentity.of(tls)
        shown = None
        if identity.expires is not None:
            shown = ShownCertificate(identity.names, identity.issuer, identity.expires.timestamp())
        return TLSInfo(tls.version, proves=identity.proves, why_not=identity.why_not, certificate=shown)

    def __bool__(self) -> bool:
        """True if we have any certificate."""
        return any(True for _ in self.certificates())


@define(eq=False)
class OutgoingContext:
    """The parts that all connections to other servers share.

    `secret` makes our dialback keys. `came` takes the stanzas that the peer sends, if both agreed on that
    (XEP-0288), `reply` the error that answers a malformed one. `when_written` is `CommitBarrier.then`.
    """

    mux: Mux
    contexts: ServerContexts
    policy: ServerPolicy
    secret: bytes
    known_servers: KnownServers
    came: Callable[[Stanza, OutgoingConnection], None]
    reply: Callable[[Stanza], None]
    when_written: Callable[[Callable[[], None]], None]


@define(eq=False)
class OutgoingConnection:
    """Implements `Receiver`, and `Link` once it is established; `users` are told once when it is over."""

    _context: OutgoingContext
    _local: str
    remote: str
    _direct_tls: bool = field(kw_only=True)
    _verify_only: bool = field(default=False, kw_only=True)
    method: str = field(default="", init=False)
    users: list[LinkUser] = field(factory=list, init=False)
    _connection: Connection | None = field(default=None, init=False)
    _stream: ServerOutbound | None = field(default=None, init=False)
    _established: Deferred[None] | None = field(default=None, init=False)
    _is_established: bool = field(default=False, init=False)
    _failure: Unreachable | None = field(default=None, init=False)
    _given_up: bool = field(default=False, init=False)
    _tls_begun: bool = field(default=False, init=False)
    _keys: list[KeyToVerify] = field(factory=list, init=False)  # to be asked about once there is a stream
    _verdicts: dict[KeyToVerify, Deferred[Verdict]] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._tls_begun = self._direct_tls

    # -- for its owner -------------------------------------------------------

    def begin(self, connection: Connection) -> None:
        """Start the stream on a connection that stands."""
        self._connection = connection
        if self._direct_tls:
            context = self._context.contexts.outgoing(self._local, direct=self._direct_tls)
            connection.start_tls(context, ascii_name(self.remote))
        else:
            self._open(None)

    def established(self) -> Deferred[None]:
        """Return a Deferred that fires when stanzas may be sent, or errbacks with `Unreachable`.

        Cancelling it gives the connection up.
        """
        waiting: Deferred[None] = Deferred(lambda _: self._give_up())
        if self._is_established:
            waiting.callback(None)
        elif self._failure is not None:
            waiting.errback(Failure(self._failure))
        else:
            self._established = waiting
        return waiting

    def verify(self, asked: KeyToVerify) -> Deferred[Verdict]:
        """Ask the server, which is authoritative for `asked.from_`, about a dialback key. Never fails."""
        verdict: Deferred[Verdict] = Deferred(lambda _: self._forget(asked))
        self._verdicts[asked] = verdict
        if self._stream is None:
            self._keys.append(asked)
        else:
            self._go_on(self._stream.verify(asked))
        return verdict

    @property
    def usable(self) -> bool:
        return self._is_established and self._connection is not None and not self._connection.closed

    @property
    def managed(self) -> bool | None:
        return False if self._stream is None else self._stream.managed

    @property
    def unsent(self) -> int:
        return 0 if self._connection is None else self._connection.unacknowledged

    def send_bytes(self, data: bytes) -> int:
        stream = self._stream
        assert stream is not None
        assert self._connection is not None
        most = stream.max_bytes
        if most and len(data) > most:  # XEP-0478 3
            raise StanzaError(Condition.POLICY_VIOLATION, f"the other server takes {most} bytes at most")
        self._connection.send(data)
        stream.management.sent += 1
        return stream.management.sent

    def ask(self) -> None:
        assert self._stream is not None
        assert self._connection is not None
        self._connection.send(self._stream.management.request())

    def close(self, error: StreamError | None = None) -> None:
        """End the stream in order; the peer has CLOSE_SECONDS to end its side."""
        self._is_established = False
        connection = self._connection
        if connection is None:
            return
        if self._stream is None:
            connection.abort("closed")
        elif error is not None:
            self._go_on(self._stream.fail(error))
            connection.close()
        else:
            self._go_on(self._stream.close())
            self._context.mux.expire(self, CLOSE_SECONDS)

    # -- Receiver ----------------------------------------------------------

    def received(self, data: bytes) -> None:
        """Bytes from the peer."""
        if self._stream is not None:
            self._go_on(self._stream.receive(data))

    def secured(self) -> None:
        """The TLS handshake is finished."""
        assert self._connection is not None
        assert self._connection.tls is not None
        info = self._context.contexts.info(self._connection.tls)
        self._context.known_servers.get(self.remote).shows(info)
        if self._stream is None:
            self._open(info)
        else:
            self._go_on(self._stream.tls_started(info))

    def lost(self, reason: str) -> None:
        """The connection is gone."""
        self._context.mux.unexpire(self)
        if self._stream is None:
            self._stream = self._new_stream(None)
        fault = self._fault_of(reason)
        self._go_on(self._stream.lost(fault))
        self._over(fault)

    def expired(self) -> None:
        """The peer did not close its side, or there is no use for the stream."""
        if self._connection is not None:
            self._connection.abort("closed")

    # -- events ------------------------------------------------------------

    def _new_stream(self, tls: TLSInfo | None) -> ServerOutbound:
        context = self._context
        return ServerOutbound(
            self._local, self.remote, context.policy, context.secret, tls, verify_only=self._verify_only
        )

    def _open(self, tls: TLSInfo | None) -> None:
        self._stream = self._new_stream(tls)
        self._go_on(self._stream.start())
        keys, self._keys = self._keys, []
        for asked in keys:
            self._go_on(self._stream.verify(asked))

    def _go_on(self, happened: Iterable[events.Event]) -> None:
        for event in happened:
            self._flush()
            self._take(event)
        self._flush()

    def _flush(self) -> None:
        if self._stream is not None and self._connection is not None:
            output = self._stream.take_output()
            if output:
                self._connection.send(output)

    def _take(self, event: events.Event) -> None:
        connection = self._connection
        if isinstance(event, Stanza):
            self._context.came(event, self)
        elif isinstance(event, events.StartTLS):
            assert connection is not None
            self._tls_begun = True
            context = self._context.contexts.outgoing(self._local, direct=self._direct_tls)
            connection.start_tls(context, ascii_name(self.remote))
        elif isinstance(event, Established):
            self.method = event.method
            self._settle(None)
        elif isinstance(event, Refused):
            self._refused(event)
        elif isinstance(event, VerifyAnswered):
            self._verdict(event)
        elif isinstance(event, Confirmed):
            for user in list(self.users):
                user.confirmed(self, event.number)
        elif isinstance(event, CountWanted):
            self._context.when_written(lambda: self._tell_count(event.handled))
        elif isinstance(event, Managed):
            for user in list(self.users):
                user.managed(self)
        elif isinstance(event, StanzaRefused):
            self._context.known_servers.get(self.remote).refused += 1
            if event.reply is not None:
                self._context.reply(event.reply)
        elif isinstance(event, events.StreamClosed | events.StreamFailed):
            self._over(_why(event))
            if connection is not None:
                connection.close()

    def _tell_count(self, handled: int) -> None:
        if self._stream is not None:
            self._stream.tell_count(handled)
            self._flush()

    def _refused(self, event: Refused) -> None:
        self._settle(Unreachable(event.fault, event.condition, permanent=event.permanent))
        self._over(event.fault)
        # The machine closes the stream unless keys are still being asked about.
        self._context.mux.expire(self, LAST_SECONDS)

    def _settle(self, error: Unreachable | None) -> None:
        """Fire the Deferred of `established`."""
        self._is_established = error is None
        self._failure = error
        waiting, self._established = self._established, None
        if waiting is None or waiting.called:
            return
        if error is None:
            waiting.callback(None)
        else:
            waiting.errback(Failure(error))

    def _verdict(self, event: VerifyAnswered) -> None:
        waiting = self._verdicts.pop(event.asked, None)
        if waiting is not None and not waiting.called:
            waiting.callback(event.verdict)

    def _fault_of(self, reason: str) -> StreamFault:
        """The fault behind the loss of the connection; `reason` is the multiplexer's, for people."""
        if self._given_up:
            return StreamFault(Cause.TOO_SLOW)
        securing = self._connection is not None and self._connection.tls is None and self._tls_begun
        return StreamFault(Cause.TLS_FAILED if securing else Cause.CONNECTION_LOST, reason)

    def _over(self, fault: StreamFault) -> None:
        """Tell everybody that the stream will carry nothing more."""
        self._settle(Unreachable(fault))
        users, self.users = self.users, []
        for user in users:
            user.ended(self, fault)

    def _give_up(self) -> None:
        self._established = None
        self._given_up = True
        if self._connection is not None:
            self._connection.abort("no stream in time")

    def _forget(self, asked: KeyToVerify) -> None:
        self._verdicts.pop(asked, None)


def _why(event: events.StreamClosed | events.StreamFailed) -> StreamFault:
    if isinstance(event, events.StreamFailed):
        return StreamFault(Cause.PROTOCOL_BROKEN, event.error.condition.value)
    if event.peer_error and event.peer_error not in ORDERLY:
        return StreamFault(Cause.CLOSED_WITH_ERROR, event.peer_error)
    return StreamFault(Cause.CLOSED, event.peer_error)
