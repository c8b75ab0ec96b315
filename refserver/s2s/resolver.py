"""Finding other servers: SRV, A and AAAA look-ups, cached, and the order in which targets are tried.

Specifications: RFC 6120 3.2 and XEP-0368 (which records), RFC 2782 (SRV), RFC 2308 (negative answers),
RFC 8305 4 (order of addresses), RFC 6890 (addresses at which no server can be).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address
from itertools import chain, zip_longest
from typing import Any, Final, Protocol, TypeAlias

import idna
from attrs import define, field, frozen
from cachetools import TLRUCache
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.names import dns
from twisted.names.error import AuthoritativeDomainError, DNSNameError, DomainError
from twisted.python.failure import Failure

PORT: Final = 5269
_NO_HOSTS: Final = (IPv4Network("0.0.0.0/8"), IPv4Network("240.0.0.0/4"))  # broadcast is in the second

TIMEOUTS: Final = (1, 2, 4)  # seconds until the query is sent again; after the last it has failed
SECOND_FAMILY_SECONDS: Final = 0.05  # RFC 8305 3: how long the other family may keep us waiting
LONGEST_SECONDS: Final = 3600.0
SHORTEST_SECONDS: Final = 5.0
NEGATIVE_SECONDS: Final = 60.0  # there is no such name
TROUBLE_SECONDS: Final = 5.0  # the name servers could not tell
MOST_NAMES: Final = 5_000
MOST_RECORDS: Final = 32  # of one answer
# Whoever owns a domain decides where we connect to when somebody writes there, and not to how many places.
MOST_TARGETS: Final = 10
MOST_ADDRESSES: Final = 8

Answer: TypeAlias = "tuple[list[Any], list[Any], list[Any]]"


@frozen
class Target:
    """A place to try: a host name or IP address, a port, and whether TLS is spoken at once."""

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


class NoSuchServer(Exception):
    """DNS says that there is no XMPP server for the domain, or no such domain."""


class NoAnswer(Exception):
    """The name servers did not answer, or could not: nobody knows whether there is a server."""


class NameServers(Protocol):
    """The part of `twisted.internet.interfaces.IResolver` that is used here."""

    def lookupService(self, name: str, timeout: Sequence[int]) -> Deferred[Answer]:
        """SRV records."""

    def lookupAddress(self, name: str, timeout: Sequence[int]) -> Deferred[Answer]:
        """A records."""

    def lookupIPV6Address(self, name: str, timeout: Sequence[int]) -> Deferred[Answer]:
        """AAAA records."""


@frozen
class _Known:
    """An answer: the records' payloads, or that there was none."""

    records: tuple[Any, ...]
    expires: float
    trouble: bool = False


@define(eq=False)
class Resolver:
    """Finds servers; `overrides` names those that are not looked up in DNS, as host and port.

    Nothing here raises anything but `NoSuchServer` and `NoAnswer`.
    """

    _dns: NameServers
    clock: IReactorTime
    overrides: Mapping[str, tuple[str, int]] = field(factory=dict)
    _random: Callable[[], float] = random.random
    _known: TLRUCache[tuple[str, str], _Known] = field(init=False)
    _asked: dict[tuple[str, str], list[Deferred[_Known]]] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._known = TLRUCache(MOST_NAMES, lambda key, known, now: known.expires, self.clock.seconds)

    async def targets(self, domain: str) -> list[Target]:
        """Return the targets for `domain` in the order to try; never empty."""
        override = self.overrides.get(domain)
        if override is not None:
            return [Target(*override)]
        address = literal(domain)
        if address is not None:
            return fallback(address)
        name = _ascii(domain)
        direct, plain = await gatherResults(
            [self._ask("SRV", f"_xmpps-server._tcp.{name}"), self._ask("SRV", f"_xmpp-server._tcp.{name}")],
            consumeErrors=True,  # they only fail where they are cancelled, all together
        )
        records = _services(direct, direct_tls=True) + _services(plain, direct_tls=False)
        if not records:
            if direct.trouble or plain.trouble:
                raise NoAnswer(domain)
            return fallback(name)
        found = arrange(records, self._random)
        if not found:
            raise NoSuchServer(domain)
        return found[:MOST_TARGETS]

    async def addresses(self, host: str) -> list[str]:
        """Return the IP addresses of a target's host in the order to try; never empty."""
        address = literal(host)
        if address is not None:
            if not dialable(address):
                raise NoSuchServer(host)
            return [address]
        v6, v4 = await self._families(host)
        found = interleave(_texts(v6), _texts(v4))
        if not found:
            raise NoAnswer(host) if v6.trouble or v4.trouble else NoSuchServer(host)
        return found[:MOST_ADDRESSES]

    # -- asking ------------------------------------------------------------

    def _families(self, host: str) -> Deferred[list[_Known]]:
        """Both families; when one has addresses the other has only a moment left."""
        none = _Known((), 0.0)
        answers = [none, none]
        both: Deferred[list[_Known]] = Deferred()
        missing = {0, 1}

        def came(known: _Known, which: int) -> None:
            missing.discard(which)
            answers[which] = known
            if both.called:
                return
            if not missing:
                both.callback(answers)
            elif known.records:
                self.clock.callLater(SECOND_FAMILY_SECONDS, enough)

        def enough() -> None:
            if not both.called:
                both.callback(answers)

        for which, kind in enumerate(("AAAA", "A")):
            self._ask(kind, host).addCallback(came, which)
        return both

    def _ask(self, kind: str, name: str) -> Deferred[_Known]:
        """The answer, remembered or new. Never fails; several who ask share one query."""
        key = kind, name
        answer: Deferred[_Known] = Deferred()
        known = self._known.get(key)
        if known is not None:
            answer.callback(known)
            return answer
        waiting = self._asked.get(key)
        if waiting is not None:
            waiting.append(answer)
            return answer
        self._asked[key] = [answer]
        self._query(kind, name).addCallbacks(self._answered, self._failed, (key,), {}, (key,), {}).addErrback(
            self._failed, key
        )
        return answer

    def _query(self, kind: str, name: str) -> Deferred[Answer]:
        look_up = {
            "SRV": self._dns.lookupService,
            "A": self._dns.lookupAddress,
            "AAAA": self._dns.lookupIPV6Address,
        }[kind]
        return maybeDeferred(look_up, name, TIMEOUTS)  # it raises for what cannot be a name

    def _answered(self, answer: Answer, key: tuple[str, str]) -> None:
        kind = getattr(dns, key[0])
        records = [record for record in answer[0] if record.type == kind][:MOST_RECORDS]
        seconds = min((record.ttl for record in records), default=NEGATIVE_SECONDS)
        self._learn(key, tuple(record.payload for record in records), seconds)

    def _failed(self, failure: Failure, key: tuple[str, str]) -> None:
        if _says_none(failure.value):
            self._learn(key, (), NEGATIVE_SECONDS)
        else:
            self._learn(key, (), TROUBLE_SECONDS, trouble=True)

    def _learn(
        self, key: tuple[str, str], records: tuple[Any, ...], seconds: float, trouble: bool = False
    ) -> None:
        seconds = max(SHORTEST_SECONDS, min(LONGEST_SECONDS, seconds))
        known = _Known(records, self.clock.seconds() + seconds, trouble)
        self._known[key] = known
        for waiting in self._asked.pop(key, ()):
            waiting.callback(known)


def _says_none(error: BaseException | None) -> bool:
    """True for an answer (NXDOMAIN, no line in the hosts file), False for trouble in getting one."""
    return type(error) is DomainError or isinstance(
        error, DNSNameError | AuthoritativeDomainError | UnicodeError
    )


def _services(known: _Known, *, direct_tls: bool) -> list[Record]:
    return [
        Record(each.priority, each.weight, _host(each.target), each.port, direct_tls)
        for each in known.records
    ]


def _host(name: dns.Name) -> str:
    """A target as text, "" for the root. What is no name at all is not found later."""
    return name.name.decode("ascii", "replace").rstrip(".").lower()


def _texts(known: _Known) -> list[str]:
    """A and AAAA records as text, those at which a server may be."""
    found = [str(ip_address(each.address)) for each in known.records]
    return [address for address in found if dialable(address)]


def _ascii(domain: str) -> str:
    """The domain in A-labels (RFC 5890), as DNS knows it."""
    if domain.isascii():
        return domain
    try:
        return idna.encode(domain).decode("ascii")
    except idna.IDNAError:
        raise NoSuchServer(domain) from None


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
    """Return the target of a domain without any SRV record (RFC 6120 3.2.2)."""
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
    """True if a server may be at that IP address.

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
