"""The contract between a connection and the protocol above it, and the address of the other end."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network
from typing import NamedTuple, Protocol


class Receiver(Protocol):
    """The protocol above a connection: client streams, server streams, components.

    The multiplexer calls these methods, and never from within a call to one of the connection's own: a
    receiver that calls `send`, `close` or `abort` is not called back before it has returned. An exception out
    of any of them is logged and costs that connection only.
    """

    def received(self, data: bytes) -> None:
        """Handle `data`, decrypted where TLS is on: 1 byte to 64 KiB."""

    def secured(self) -> None:
        """Handle the end of the TLS handshake that `start_tls` began; from now on data comes encrypted."""

    def lost(self, reason: str) -> None:
        """Handle the loss of the connection: the last call, exactly once. `reason` holds no data."""


class Silent:
    """The receiver of a lost connection, so that it and its former receiver do not keep each other."""

    def received(self, data: bytes) -> None:
        """Ignore it."""

    def secured(self) -> None:
        """Ignore it."""

    def lost(self, reason: str) -> None:
        """Ignore it."""


SILENT = Silent()


class PeerAddress(NamedTuple):
    """The other end: its address as text (IPv4 as such on IPv6 sockets too), "unix" where there is none."""

    host: str
    port: int

    @classmethod
    def of(cls, address: tuple[str, int] | str) -> PeerAddress:
        """The peer at a socket address."""
        if not isinstance(address, tuple):
            return cls("unix", 0)
        host = address[0].partition("%")[0]  # without the zone of a link-local address
        return cls(host.removeprefix("::ffff:") if "." in host else host, address[1])

    @property
    def source(self) -> str:
        """The key of limits: an IPv4 address, or an IPv6 address's /64, which one household has whole."""
        try:
            address = IPv6Address(self.host)
        except ValueError:
            return self.host
        return str(IPv6Network((address, 64), strict=False))

    def __str__(self) -> str:
        if ":" in self.host:
            return f"[{self.host}]:{self.port}"
        return f"{self.host}:{self.port}" if self.port else self.host
