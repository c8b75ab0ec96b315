"""The base of services that accept connections: limits by IP address, rate and time to authenticate.

The services of the layers above make the protocol on each connection. XEP-0368 (direct TLS).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from typing import Generic, Protocol, TypeVar

from attrs import define, field, frozen
from OpenSSL import SSL
from twisted.internet.interfaces import IListeningPort

from .connection import Connection, Expiring
from .mux import Mux
from .receiver import Receiver


class Peer(Receiver, Expiring, Protocol):
    """The protocol on an accepted connection; `expired` is called if it has not authenticated in time."""


P = TypeVar("P", bound=Peer)


@frozen
class PeerLimits:
    """The limits of new connections: `patience` is the time to authenticate, in seconds; 0 is no limit."""

    connections_per_ip: int
    patience: float
    bytes_per_second: float = 0


@define(eq=False)
class Acceptor(ABC, Generic[P]):
    """Base class of services that accept connections. A peer calls `gone` when its connection is lost."""

    mux: Mux
    connections: set[P] = field(factory=set, init=False)
    _by_ip: Counter[str] = field(factory=Counter, init=False)

    @property
    @abstractmethod
    def peer_limits(self) -> PeerLimits:
        """The limits for the next connection."""

    @abstractmethod
    def _new_peer(self, connection: Connection, ip: str, *, direct_tls: bool) -> P:
        """Make the protocol for a new connection from the address `ip`."""

    def gone(self, peer: P, ip: str) -> None:
        """Forget `peer`, whose connection is lost."""
        self.mux.unexpire(peer)
        self.connections.discard(peer)
        self._by_ip[ip] -= 1
        if not self._by_ip[ip]:
            del self._by_ip[ip]

    def _admit(self, connection: Connection, *, direct_tls: bool = False) -> P | None:
        """A new peer; None if there are too many of that address already."""
        ip, limits = connection.peer.source, self.peer_limits
        if limits.connections_per_ip and self._by_ip[ip] >= limits.connections_per_ip:
            return None
        self._by_ip[ip] += 1
        connection.bytes_per_second = limits.bytes_per_second
        peer = self._new_peer(connection, ip, direct_tls=direct_tls)
        self.connections.add(peer)
        self.mux.expire(peer, limits.patience)
        return peer


@define(eq=False)
class SecureAcceptor(Acceptor[P]):
    """Base class of services that accept connections with TLS."""

    @abstractmethod
    def _context(self) -> SSL.Context:
        """The context of connections that start with TLS. Raises `LookupError` without any certificate."""

    def listen(self, port: IListeningPort, *, tls: bool) -> None:
        """Accept the connections that come to `port`."""
        self.mux.listen(port, self.accept_tls if tls else self.accept_plain)

    def accept_plain(self, connection: Connection) -> P | None:
        """Accept a connection that may ask for TLS; None turns it away."""
        return self._admit(connection)

    def accept_tls(self, connection: Connection) -> P | None:
        """Accept a connection that starts with the TLS handshake (XEP-0368); None turns it away."""
        try:
            context = self._context()
        except LookupError:  # no certificate at all
            return None
        peer = self._admit(connection, direct_tls=True)
        if peer is not None:
            connection.start_tls(context)
        return peer
