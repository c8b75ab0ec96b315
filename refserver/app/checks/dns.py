"""Checks of how others find a library: its DNS records, and those of its rooms.

A check knows what is asked and what the answers mean for other servers (RFC 6120 3.2, XEP-0368) and for
clients. Librarians elsewhere work in the library's rooms, so other servers must find those too. Name servers
are asked directly, without the hosts file: what counts is what other servers see. Messages are made and read
by twisted.names; there is no reactor here.

Specifications: RFC 1035, RFC 2782 (SRV), RFC 7766 (TCP where an answer is too long for UDP).
"""

from __future__ import annotations

import random
import socket
import struct
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from attrs import define, field, frozen
from twisted.names import dns

from refserver.app.checks import Finding
from refserver.app.checks.ports import Machine
from refserver.app.settings import Settings, tcp_address
from refserver.net.certificates import ascii_name
from refserver.s2s.resolver import literal

# -- look-ups: all questions at once, and an end to waiting --------------------------


Kind = Literal["SRV", "A", "AAAA"]
Place = tuple[str, int]

TRIES: Final = 3
SECONDS_PER_TRY: Final = 1.0
MOST_SERVERS: Final = 3
LONGEST_DATAGRAM: Final = 4096
MOST_AT_ONCE: Final = 100  # questions under way: a library has ten
QUESTIONS_PER_SECOND: Final = 500  # a try with many may take as much longer


@frozen
class Question:
    """A question for the records of one `kind`; `name` is in A-labels, without the last dot."""

    kind: Kind
    name: str


@frozen
class Service:
    """An SRV record; `target` "" is the root: decidedly no such service (RFC 2782)."""

    priority: int
    weight: int
    port: int
    target: str


@frozen
class Answer:
    """An answer: SRV records or addresses. `alias` is the name that a CNAME record leads to.

    `trouble`: no name server answered, or none could; nothing is known then.
    """

    services: tuple[Service, ...] = ()
    addresses: tuple[str, ...] = ()
    alias: str = ""
    trouble: bool = False


class LookUp(Protocol):
    """A function that answers questions, each of them."""

    def __call__(self, questions: Collection[Question]) -> Mapping[Question, Answer]:
        """An answer to each question."""


def system_name_servers(file: Path = Path("/etc/resolv.conf")) -> list[Place]:
    """The name servers that this machine asks (resolv.conf(5))."""
    try:
        lines = file.read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    found = [words[1] for words in map(str.split, lines) if len(words) > 1 and words[0] == "nameserver"]
    return [(host, 53) for host in found if _is_address(host)] or [("127.0.0.1", 53)]


@frozen
class NameServers:
    """Implements `LookUp`: asks each of `places` in turn, TRIES times in all."""

    places: Sequence[Place]

    def __call__(self, questions: Collection[Question]) -> dict[Question, Answer]:
        """Of a few questions each try ends after SECONDS_PER_TRY, answered or not."""
        seconds = TRIES * (SECONDS_PER_TRY + len(questions) / QUESTIONS_PER_SECOND)
        ask = partial(self._ask, deadline=time.monotonic() + seconds)
        with ThreadPoolExecutor(MOST_AT_ONCE) as pool:
            return dict(zip(questions, pool.map(ask, questions), strict=True))

    def _ask(self, question: Question, deadline: float) -> Answer:
        places = self.places[:MOST_SERVERS]
        for number in range(TRIES):
            if time.monotonic() > deadline:
                break
            with suppress(OSError):  # nobody is there, or nobody answers: the next one is asked
                message = _reply(places[number % len(places)], question)
                if message.rCode in (dns.OK, dns.ENAME):
                    return _answer(message, question)
        return Answer(trouble=True)


def _reply(place: Place, question: Question) -> dns.Message:
    """Ask one name server. Raises OSError if it does not answer in SECONDS_PER_TRY."""
    number = random.randrange(65_536)
    deadline = time.monotonic() + SECONDS_PER_TRY
    with socket.socket(_family(place), socket.SOCK_DGRAM) as asking:
        asking.connect(place)  # answers from elsewhere are not heard
        asking.send(_query(number, question))
        while (left := deadline - time.monotonic()) > 0:
            asking.settimeout(left)
            message = _read(asking.recv(LONGEST_DATAGRAM))
            if message is not None and message.id == number and _question(message) == question:
                return (_reply_by_tcp(place, question) if message.trunc else None) or message
    raise TimeoutError


def _reply_by_tcp(place: Place, question: Question) -> dns.Message | None:
    """RFC 7766 8: two octets of length before each message."""
    data = _query(0, question)
    try:
        with socket.create_connection(place, SECONDS_PER_TRY) as connection:
            connection.sendall(struct.pack("!H", len(data)) + data)
            with connection.makefile("rb") as stream:
                (length,) = struct.unpack("!H", stream.read(2))
                return _read(stream.read(length))
    except (OSError, struct.error):
        return None


def _query(number: int, question: Question) -> bytes:
    message = dns.Message(number, recDes=1)
    message.addQuery(question.name.encode("ascii"), getattr(dns, question.kind))
    data: bytes = message.toStr()
    return data


def _read(data: bytes) -> dns.Message | None:
    message = dns.Message()
    try:
        message.fromStr(data)
    except (EOFError, ValueError, IndexError, struct.error):  # what strangers may send
        return None
    return message if message.answer else None


def _question(message: dns.Message) -> Question | None:
    """Return the question that a message answers; None if it is none of ours."""
    kinds: dict[int, Kind] = {dns.SRV: "SRV", dns.A: "A", dns.AAAA: "AAAA"}
    if len(message.queries) != 1 or message.queries[0].type not in kinds:
        return None
    return Question(kinds[message.queries[0].type], _text(message.queries[0].name))


def _answer(message: dns.Message, question: Question) -> Answer:
    """The records of the kind asked for, behind an alias, too: name servers follow those."""
    wanted = getattr(dns, question.kind)
    records: list[Any] = list(message.answers)
    aliases = [each for each in records if each.type == dns.CNAME and _text(each.name) == question.name]
    payloads = [each.payload for each in records if each.type == wanted]
    alias = _text(aliases[0].payload.name) if aliases else ""
    if wanted == dns.SRV:
        return Answer(services=tuple(map(_service, payloads)), alias=alias)
    return Answer(addresses=tuple(str(ip_address(each.address)) for each in payloads), alias=alias)


def _service(payload: dns.Record_SRV) -> Service:
    return Service(payload.priority, payload.weight, payload.port, _text(payload.target))


def _text(name: dns.Name) -> str:
    return name.name.decode("ascii", "replace").rstrip(".").lower()


def _family(place: Place) -> int:
    return socket.AF_INET6 if ":" in place[0] else socket.AF_INET


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


# -- checks --------------------------------------------------------------------------


_good = partial(Finding.good, "dns")
_note = partial(Finding.note, "dns")
_wrong = partial(Finding.wrong, "dns")

_NOT_IN_DNS: Final = {
    "example": "is reserved for examples (RFC 2606)",
    "test": "is reserved for tests (RFC 2606)",
    "invalid": "is reserved (RFC 2606)",
    "localhost": "is this machine's name for itself (RFC 6761)",
    "local": "is for names on the local network only (RFC 6762)",
    "internal": "is for private networks",
    "home.arpa": "is for home networks (RFC 8375)",
}
_LOOPBACK: Final = ("127.", "::1")


@frozen
class _Visitors:
    """Those who look a library up. `usual_port` is the one that they try without SRV records."""

    who: str
    kind: str
    usual_port: int
    key: str
    ports: Collection[int]
    tls_ports: Collection[int]

    def names(self, domain: str) -> tuple[str, str]:
        """Return the names of the SRV records of a domain: for STARTTLS and for direct TLS."""
        return f"_xmpp-{self.kind}._tcp.{domain}", f"_xmpps-{self.kind}._tcp.{domain}"


def check_federation(
    settings: Settings, domains: Sequence[str], look_up: LookUp, machine: Machine
) -> Iterator[Finding]:
    """Findings on each of the libraries' `domains`, and its rooms. Asks DNS in two rounds, all at once."""
    listen = settings.listen
    clients = _Visitors("clients", "client", 5222, "c2s", _ports(listen.c2s), _ports(listen.c2s_tls))
    servers = _Visitors("other servers", "server", 5269, "s2s", _ports(listen.s2s), _ports(listen.s2s_tls))
    wanted: list[tuple[str, _Visitors]] = []
    for domain in domains:
        why_not = _why_not_in_dns(domain, settings)
        if why_not:
            if settings.s2s.enabled:
                yield _note(f"other servers cannot find {domain}: {why_not}")
            continue
        wanted.append((domain, clients))
        if settings.s2s.enabled:
            wanted += [(domain, servers), (f"rooms.{domain}", servers)]
    if wanted:
        if settings.s2s.enabled and _is_on_loopback((*listen.s2s, *listen.s2s_tls)):
            yield _note(
                "other servers cannot connect: listen.s2s and listen.s2s_tls are for this machine only",
                "let them be on an address that others reach, unless another program sends on what comes",
            )
        yield from _Look(wanted, look_up, machine).findings()


def _why_not_in_dns(domain: str, settings: Settings) -> str:
    """Why nobody looks a domain up; "" if others do."""
    if domain in settings.s2s.hosts:
        return "it stands in s2s.hosts, which only this server reads"
    if literal(domain) is not None:
        return "it is an address, for which no certificate is given out"
    for suffix, reason in _NOT_IN_DNS.items():
        if domain == suffix or domain.endswith(f".{suffix}"):
            return f"{'it' if domain == suffix else f'.{suffix}'} {reason}"
    return "" if "." in domain else "it has no dot, so it is no name of the public DNS"


def _ports(descriptions: Sequence[str]) -> frozenset[int]:
    """The ports that we listen on; 0 stands for one that is not known (systemd)."""
    places = [tcp_address(description) for description in descriptions]
    return frozenset(0 if place is None else place[1] for place in places)


def _is_on_loopback(descriptions: Sequence[str]) -> bool:
    places = [tcp_address(description) for description in descriptions]
    return bool(places) and all(place is not None and place[0].startswith(_LOOPBACK) for place in places)


@define(eq=False)
class _Look:
    """One look at all that is `wanted`."""

    wanted: Sequence[tuple[str, _Visitors]]
    look_up: LookUp
    machine: Machine
    _known: dict[Question, Answer] = field(factory=dict, init=False)

    def findings(self) -> Iterator[Finding]:
        """Ask, and judge."""
        first = []
        for domain, visitors in self.wanted:
            name = ascii_name(domain)
            first += [Question("SRV", each) for each in visitors.names(name)]
            first += [Question("A", name), Question("AAAA", name)]
        self._ask(first)
        if all(answer.trouble for answer in self._known.values()):
            yield _note(
                "no name server has answered, so nothing is known of how others find the libraries",
                "look at this machine's network, /etc/resolv.conf and s2s.name_servers, and check again",
            )
            return
        targets = {service.target for answer in self._known.values() for service in answer.services}
        self._ask([Question(kind, name) for name in targets if name for kind in ("A", "AAAA")])
        for domain, visitors in self.wanted:
            yield from self._domain(domain, visitors)

    def _ask(self, questions: Collection[Question]) -> None:
        new = dict.fromkeys(each for each in questions if each not in self._known)
        self._known.update(self.look_up(list(new)))

    # -- one domain ----------------------------------------------------------

    def _domain(self, domain: str, visitors: _Visitors) -> Iterator[Finding]:
        name = ascii_name(domain)
        plain, direct = (self._known[Question("SRV", each)] for each in visitors.names(name))
        without = not plain.services and not direct.services
        if plain.trouble or direct.trouble or (without and self._is_address_unknown(name)):
            yield _note(
                f"{domain}: the name servers did not answer what {visitors.who} ask", "check again later"
            )
        elif without:
            yield self._without_records(domain, name, visitors)
        elif not any(service.target for service in (*plain.services, *direct.services)):
            yield _wrong(
                f'{domain}: DNS says to {visitors.who} that there is no such server (the target is ".")',
                f"remove that record, and add\n{self._records(name, visitors)}",
            )
        else:
            yield from self._with_records(domain, visitors, plain.services, direct.services)

    def _without_records(self, domain: str, name: str, visitors: _Visitors) -> Finding:
        """Others try the domain itself (RFC 6120 3.2.2)."""
        addresses = self._addresses(name)
        add = f"add to DNS\n{self._records(name, visitors)}"
        reachable = visitors.usual_port in visitors.ports or 0 in visitors.ports
        if not addresses:
            found = f"{domain}: {visitors.who} cannot find it: there is neither an SRV record nor an address"
        elif not reachable:
            found = (
                f"{domain}: there is no SRV record, so {visitors.who} try port {visitors.usual_port}, "
                f"where this server does not listen (listen.{visitors.key})"
            )
        elif not any(map(self.machine.has, addresses)):
            return _note(
                f"{domain}: there is no SRV record, so {visitors.who} try {addresses[0]}, "
                "which is not an address of this machine",
                f"unless what comes there is sent on to this machine, {add}",
            )
        else:
            return _good(
                f"{domain}: {visitors.who} find it at its address {addresses[0]}, without an SRV record"
            )
        return _wrong(found, add)

    def _with_records(
        self, domain: str, visitors: _Visitors, plain: Sequence[Service], direct: Sequence[Service]
    ) -> Iterator[Finding]:
        problems: list[Finding] = []
        for services, ports, key in (
            (plain, visitors.ports, visitors.key),
            (direct, visitors.tls_ports, f"{visitors.key}_tls"),
        ):
            for service in services:
                if service.target:
                    problems += self._target(domain, visitors, service, ports, f"listen.{key}")
        if not any(service.target for service in plain):
            problems.append(
                _note(
                    f"{domain}: {visitors.who} that do not know direct TLS (XEP-0368) do not find it",
                    f"add to DNS\n{self._records(ascii_name(domain), visitors)}",
                )
            )
        yield from problems
        if not problems:
            places = ", ".join(f"{each.target}:{each.port}" for each in (*plain, *direct) if each.target)
            yield _good(f"{domain}: {visitors.who} find it at {places}")

    def _target(
        self, domain: str, visitors: _Visitors, service: Service, ports: Collection[int], key: str
    ) -> Iterator[Finding]:
        """Findings on one SRV record."""
        place = f"{domain}: {visitors.who} are sent to {service.target}:{service.port}"
        alias = next((each.alias for each in self._answers(service.target) if each.alias), "")
        addresses = self._addresses(service.target)
        if alias:
            yield _wrong(
                f"{place}, which is an alias (CNAME): SRV records must not point to one (RFC 2782)",
                f"let the record point to {alias}, or give {service.target} addresses of its own",
            )
        elif self._is_address_unknown(service.target):
            yield _note(f"{place}, of which the name servers told no address", "check again later")
        elif not addresses:
            yield _wrong(
                f"{place}, which has no address",
                "add to DNS\n" + "\n".join(address_record(service.target, self.machine.public_addresses)),
            )
        if not ports:
            yield _wrong(
                f"{place}, and {key} is empty", f"remove that record, or let this server listen: {key}"
            )
        elif service.port not in ports and 0 not in ports:
            listening = ", ".join(map(str, sorted(ports)))
            yield _note(
                f"{place}, and this server listens on port {listening}",
                f"unless what comes there is sent on to this server, change the record, or {key}",
            )
        if addresses and not any(map(self.machine.has, addresses)):
            yield _note(
                f"{place}, that is {', '.join(addresses)}: not an address of this machine",
                "unless what comes there is sent on to this machine, change the record",
            )

    # -- small things --------------------------------------------------------

    def _answers(self, name: str) -> list[Answer]:
        return [self._known.get(Question(kind, name), Answer()) for kind in ("A", "AAAA")]

    def _addresses(self, name: str) -> list[str]:
        return [address for answer in self._answers(name) for address in answer.addresses]

    def _is_address_unknown(self, name: str) -> bool:
        """Return True if the name servers could not tell if there is an address."""
        return not self._addresses(name) and any(answer.trouble for answer in self._answers(name))

    def _records(self, name: str, visitors: _Visitors) -> str:
        """The records that are missing, as a zone file has them."""
        parent = name.removeprefix("rooms.") if visitors.key == "s2s" else name
        host = self._our_host(parent)
        lines = []
        for owner, ports in zip(visitors.names(name), (visitors.ports, visitors.tls_ports), strict=True):
            lines += [f"{owner}. IN SRV 0 5 {port} {host}." for port in sorted(ports) if port]  # RFC 2782
        if not self._addresses(host):
            lines += address_record(host, self.machine.public_addresses)
        return "\n".join(lines)

    def _our_host(self, domain: str) -> str:
        """A name that leads to this machine already, else one to be made."""
        targets = [service.target for answer in self._known.values() for service in answer.services]
        candidates = dict.fromkeys((domain, *filter(None, targets)))
        for name in candidates:
            is_alias = any(answer.alias for answer in self._answers(name))
            if not is_alias and any(map(self.machine.has, self._addresses(name))):
                return name
        return f"xmpp.{domain}"


def address_record(host: str, addresses: Sequence[str]) -> list[str]:
    """The addresses of a host; where none is known a line that says what belongs there."""
    if not addresses:
        return [f"{host}. IN A (the address by which others reach this machine)"]
    return [f"{host}. IN {'AAAA' if ':' in address else 'A'} {address}" for address in addresses]
