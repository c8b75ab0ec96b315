"""Where connections come in: how many of one IP address, how fast, and how long they may remain strangers.

Owns the count, and that some connections begin with the TLS handshake. Does not own what a connection is:
the services of the layers above make it. Specification: XEP-0368 (direct TLS).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from typing import Generic, Protocol, TypeVar

from attrs import define, field, frozen
from OpenSSL import SSL
from twisted.internet.interfaces import IListeningPort

from .connection import Connection
from .mux import Expiring, Mux
from .receiver import Receiver

__all__ = ["Admission", "Entrance", "SecureEntrance"]


class Guest(Receiver, Expiring, Protocol):
    """Whoever speaks on a connection that came in; `expired` is called if it has proved nothing in time."""


G = TypeVar("G", bound=Guest)


@frozen
class Admission:
    """What holds for each new connection: `patience` in seconds; a limit of 0 is none."""

    connections_per_ip: int
    patience: float
    bytes_per_second: float = 0


@define(eq=False)
class Entrance(ABC, Generic[G]):
    """Base class of services that take connections. A guest says `gone` when its connection is lost."""

    mux: Mux
    connections: set[G] = field(factory=set, init=False)
    _by_ip: Counter[str] = field(factory=Counter, init=False)

    @property
    @abstractmethod
    def admission(self) -> Admission:
        """What holds now."""

    @abstractmethod
    def _guest(self, connection: Connection, ip: str, *, direct_tls: bool) -> G:
        """Whoever is to speak on a new connection from that address."""

    def gone(self, guest: G, ip: str) -> None:
        """A guest's connection is lost."""
        self.mux.unexpire(guest)
        self.connections.discard(guest)
        self._by_ip[ip] -= 1
        if not self._by_ip[ip]:
            del self._by_ip[ip]

    def _admit(self, connection: Connection, *, direct_tls: bool = False) -> G | None:
        """A new guest; None if there are too many of that address already."""
        ip, admission = connection.peer.source, self.admission
        limit = admission.connections_per_ip
        if limit and self._by_ip[ip] >= limit:
            return None
        self._by_ip[ip] += 1
        connection.bytes_per_second = admission.bytes_per_second
        guest = self._guest(connection, ip, direct_tls=direct_tls)
        self.connections.add(guest)
        self.mux.expire(guest, admission.patience)
        return guest


@define(eq=False)
class SecureEntrance(Entrance[G]):
    """Base class of services that take connections with TLS."""

    @abstractmethod
    def _context(self) -> SSL.Context:
        """What a connection that starts with TLS is shown. Raises `LookupError`: there is no certificate."""

    def listen(self, port: IListeningPort, *, tls: bool) -> None:
        """Take the connections that come to `port`."""
        self.mux.listen(port, self.accept_tls if tls else self.accept_plain)

    def accept_plain(self, connection: Connection) -> G | None:
        """A connection on which TLS may be asked for; None turns it away."""
        return self._admit(connection)

    def accept_tls(self, connection: Connection) -> G | None:
        """A connection that starts with the TLS handshake (XEP-0368); None turns it away."""
        try:
            context = self._context()
        except LookupError:  # no certificate at all
            return None
        guest = self._admit(connection, direct_tls=True)
        if guest is not None:
            connection.start_tls(context)
        return guest
