"""Connecting to another server: its targets are tried in turn until a stream stands on one.

Owns the deadlines of one attempt. Trying again is outbound_queue.py's business.
"""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from attrs import define
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.interfaces import IReactorTime

from refserver.errors import Cause, Condition, StreamFault
from refserver.net.certificates import ascii_name
from refserver.net.connection import Connection
from refserver.s2s.happy_eyeballs import connect_first
from refserver.s2s.outgoing import OutgoingConnection, OutgoingContext, Unreachable
from refserver.s2s.resolver import NoAnswer, NoSuchServer, Resolver, Target

__all__ = ["Connector"]

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


@define(eq=False)
class Connector(OutgoingContext):
    """Makes streams to other servers; a peer may send `bytes_per_second` on each, 0 for no limit."""

    clock: IReactorTime
    resolver: Resolver
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
