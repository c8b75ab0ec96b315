"""Which places of a server are tried, and in which order: pure rules over what DNS said.

Specifications: RFC 2782 (SRV), RFC 6120 3.2 and XEP-0368 (which records), RFC 8305 4 (addresses), RFC 6890
(addresses at which no server can be).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address
from itertools import chain, zip_longest
from typing import Final

from attrs import frozen

__all__ = ["PORT", "Record", "Target", "arrange", "dialable", "fallback", "interleave", "literal"]

PORT: Final = 5269
_NO_HOSTS: Final = (IPv4Network("0.0.0.0/8"), IPv4Network("240.0.0.0/4"))  # broadcast is in the second


@frozen
class Target:
    """Where a server may be: a host name or IP address, its port, and whether TLS is spoken at once."""

    host: str
    port: int
    direct_tls: bool = False

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@frozen
class Record:
    """One SRV record; `target` "" is the root: the service is decidedly not available (RFC 2782)."""

    priority: int
    weight: int
    target: str
    port: int
    direct_tls: bool = False


def arrange(records: Iterable[Record], random: Callable[[], float]) -> list[Target]:
    """The targets in the order to try them; records with and without TLS count as one set (XEP-0368 3).

    Lower priorities come first; within one, the weights say how probably a record is next. `random`
    gives numbers from 0 up to, not including, 1.
    """
    usable = [record for record in records if record.target]
    ordered: list[Target] = []
    for priority in sorted({record.priority for record in usable}):
        group = [record for record in usable if record.priority == priority]
        ordered += [Target(each.target, each.port, each.direct_tls) for each in _by_weight(group, random)]
    return ordered


def _by_weight(group: list[Record], random: Callable[[], float]) -> list[Record]:
    """RFC 2782, "Weight": draw one by one, records of weight 0 having a very small chance."""
    left = sorted(group, key=lambda record: (record.weight > 0, random()))
    drawn: list[Record] = []
    while left:
        point = int(random() * (sum(record.weight for record in left) + 1))
        total = 0
        for record in left:
            total += record.weight
            if total >= point or record is left[-1]:
                break
        left.remove(record)
        drawn.append(record)
    return drawn


def fallback(domain: str) -> list[Target]:
    """Where a domain without any SRV record is looked for (RFC 6120 3.2.2)."""
    return [Target(domain, PORT)]


def literal(domain: str) -> str | None:
    """The IP address that a domainpart is (RFC 7622 3.2: IPv6 in brackets); None for a name."""
    try:
        return str(ip_address(domain.removeprefix("[").removesuffix("]")))
    except ValueError:
        return None


def interleave(v6: Sequence[str], v4: Sequence[str]) -> list[str]:
    """Both families by turns, IPv6 first (RFC 8305 4)."""
    return [address for address in chain.from_iterable(zip_longest(v6, v4)) if address is not None]


def dialable(address: str) -> bool:
    """Whether a server may be at that IP address.

    None is at one that is unspecified (where the kernel would take us to ourselves), multicast, broadcast,
    reserved or link-local (RFC 3927 2.11 keeps those out of DNS; clouds have their secrets there). Loopback
    and private ones are another matter: they are where the servers of an intranet, or of one machine, are.
    """
    found = ip_address(address)
    if isinstance(found, IPv6Address):
        found = found.ipv4_mapped or found
    unusable = found.is_unspecified or found.is_multicast or found.is_link_local
    return not unusable and not (
        isinstance(found, IPv4Address) and any(found in network for network in _NO_HOSTS)
    )
