"""Connecting to another server: its targets are tried in turn until a stream stands on one.

Owns the deadlines of one attempt. Trying again is outbound_queue.py's business.
"""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, TypeVar

from attrs import define, frozen
from OpenSSL import SSL
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.interfaces import IReactorTime

from refserver.errors import Cause, Condition, StreamFault
from refserver.net.certificates import XMPP_SERVER, Certificates, ascii_name
from refserver.net.connection import Accept, Connection
from refserver.net.identity import PeerIdentity
from refserver.net.tls import TLSState
from refserver.s2s.happy_eyeballs import connect_first
from refserver.s2s.known_servers import KnownServers
from refserver.s2s.outgoing import OutgoingConnection, Unreachable
from refserver.s2s.resolver import NoAnswer, NoSuchServer, Resolver, Target
from refserver.stream import ServerPolicy
from refserver.stream.policy import ShownCertificate, TLSInfo

__all__ = ["Connector", "ServerContexts", "Sockets"]

CONNECT_SECONDS: Final = 10.0
NEGOTIATE_SECONDS: Final = 15.0
_CAUSES: Final = {
    errno.ECONNREFUSED: Cause.CONNECTION_REFUSED,
    errno.ETIMEDOUT: Cause.CONNECTION_TIMEOUT,
    errno.EHOSTUNREACH: Cause.NO_ROUTE,
    errno.ENETUNREACH: Cause.NO_ROUTE,
    errno.EHOSTDOWN: Cause.NO_ROUTE,
}

T = TypeVar("T")


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


class Sockets(Protocol):
    """The part of the multiplexer that is used here (net/mux.py)."""

    def connect(self, address: tuple[str, int] | str, accept: Accept, seconds: float) -> Any:
        """See `Mux.connect`."""

    def expire(self, what: Any, seconds: float) -> None:
        """See `Mux.expire`."""

    def unexpire(self, what: Any) -> None:
        """See `Mux.unexpire`."""


@define(eq=False)
class Connector:
    """Makes streams to other servers. `secret` makes our dialback keys; `bytes_per_second` is
    how fast a peer may send on a stream that we opened, 0: as fast as it likes.
    """

    mux: Sockets
    clock: IReactorTime
    resolver: Resolver
    contexts: ServerContexts
    policy: ServerPolicy
    secret: bytes
    known_servers: KnownServers
    bytes_per_second: float = 0

    async def connect(
        self,
        local: str,
        remote: str,
        use: Callable[[OutgoingConnection], Awaitable[T]],
        *,
        verify_only: bool = False,
    ) -> T:
        """Connect to `remote` on behalf of our domain `local`, and return what `use` makes of it.

        Where `use` raises `Unreachable` the next target has its turn. Raises `Unreachable` in the end:
        that of the target with the best chance to be different next time.
        """
        failure: Unreachable | None = None
        for target in await self._targets(remote):
            try:
                connection = OutgoingConnection(
                    self, local, remote, direct_tls=target.direct_tls, verify_only=verify_only
                )
                dialled = await self._connect_to(target, connection)
                dialled.bytes_per_second = self.bytes_per_second
                connection.begin(dialled)
                return await use(connection)
            except Unreachable as error:
                if failure is None or failure.permanent:
                    failure = error
        assert failure is not None, "there is always a target"
        raise failure

    async def established(self, connection: OutgoingConnection) -> OutgoingConnection:
        """Return the connection once stanzas may be sent on it. Raises `Unreachable`, also if it is slow."""
        try:
            await connection.established().addTimeout(NEGOTIATE_SECONDS, self.clock)
        except TimedOut:
            raise Unreachable(Cause.TOO_SLOW) from None
        return connection

    async def _targets(self, remote: str) -> list[Target]:
        try:
            return await self.resolver.targets(remote)
        except NoSuchServer:
            raise _not_found(StreamFault(Cause.NO_SERVER)) from None
        except NoAnswer:
            raise Unreachable(Cause.NO_DNS_ANSWER) from None

    async def _connect_to(self, target: Target, connection: OutgoingConnection) -> Connection:
        try:
            addresses = await self.resolver.addresses(target.host)
            return await connect_first(
                self.mux,
                self.clock,
                [(address, target.port) for address in addresses],
                connection,
                CONNECT_SECONDS,
            )
        except NoSuchServer:
            if target.host == ascii_name(connection.remote):
                raise _not_found(StreamFault(Cause.NO_SERVER)) from None
            raise _not_found(StreamFault(Cause.NO_ADDRESS, target.host)) from None
        except NoAnswer:
            raise Unreachable(StreamFault(Cause.NO_DNS_ANSWER, target.host)) from None
        except OSError as error:
            raise Unreachable(_fault_of(error, target)) from None


def _fault_of(error: OSError, target: Target) -> StreamFault:
    cause = _CAUSES.get(error.errno or 0)
    if cause is None and isinstance(error, TimeoutError):
        cause = Cause.CONNECTION_TIMEOUT
    if cause is None:
        return StreamFault(
            Cause.CONNECTION_FAILED, f"{target}: {(error.strerror or 'no reason given').lower()}"
        )
    return StreamFault(cause, str(target))


def _not_found(fault: StreamFault) -> Unreachable:
    return Unreachable(fault, Condition.REMOTE_SERVER_NOT_FOUND, permanent=True)
