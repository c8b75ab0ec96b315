"""Who is at the other end of a connection, for limits and for people."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network
from typing import NamedTuple


class Peer(NamedTuple):
    """The other end: its address as text (IPv4 as such on IPv6 sockets too), "unix" where there is none."""

    host: str
    port: int

    @classmethod
    def of(cls, address: tuple[str, int] | str) -> Peer:
        """The peer at a socket address."""
        if not isinstance(address, tuple):
            return cls("unix", 0)
        host = address[0].partition("%")[0]  # without the zone of a link-local address
        return cls(host.removeprefix("::ffff:") if "." in host else host, address[1])

    @property
    def source(self) -> str:
        """What limits go by: an IPv4 address, or the /64 of an IPv6 address: one household has it whole."""
        try:
            address = IPv6Address(self.host)
        except ValueError:
            return self.host
        return str(IPv6Network((address, 64), strict=False))

    def __str__(self) -> str:
        if ":" in self.host:
            return f"[{self.host}]:{self.port}"
        return f"{self.host}:{self.port}" if self.port else self.host
