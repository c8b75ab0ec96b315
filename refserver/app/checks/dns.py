"""Checks of how others find a library: its DNS records, and those of its rooms.

A check knows what is asked and what the answers mean for other servers (RFC 6120 3.2, XEP-0368) and for
clients. Librarians elsewhere work in the library's rooms, so other servers must find those too. Name servers
are asked directly, without the hosts file: what counts is what other servers see. Messages are made and read
by twisted.names; there is no reactor here.

Specifications: RFC 1035, RFC 2782 (SRV), RFC 7766 (TCP where an answer is too long for UDP).
"""

from __future__ import annotations

import random
import select
import socket
import struct
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
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
LONGEST_BURST: Final = 100  # questions under way: a library has ten
QUESTIONS_PER_SECOND: Final = 500  # as much longer may a try with many take


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
        """Of a few questions each try ends after about SECONDS_PER_TRY, answered or not."""
        answers: dict[Question, Answer] = {}
        places = self.places[:MOST_SERVERS]
        for number in range(TRIES):
            left = [question for question in questions if question not in answers]
            if left:
                seconds = SECONDS_PER_TRY + len(left) / QUESTIONS_PER_SECOND
                _Round(places[number % len(places)], left, answers).run(time.monotonic() + seconds)
        return {question: answers.get(question, Answer(trouble=True)) for question in questions}


@define(eq=False)
class _Round:
    """Questions to one name server, each at most once; what it knows goes into `answers`."""

    place: Place
    questions: Sequence[Question]
    answers: dict[Question, Answer]
    _asked: dict[int, Question] = field(factory=dict, init=False)

    def run(self, deadline: float) -> None:
        """Ask, and listen until all is answered or the deadline is over."""
        waiting = list(self.questions)
        try:
            with socket.socket(_family(self.place), socket.SOCK_DGRAM) as asking:
                asking.connect(self.place)  # answers from elsewhere are not heard
                while waiting or self._asked:
                    while waiting and len(self._asked) < LONGEST_BURST:
                        asking.send(self._message(waiting.pop()))
                    ready, _, _ = select.select([asking], [], [], max(0.0, deadline - time.monotonic()))
                    if not ready:
                        return
                    self._take(asking.recv(LONGEST_DATAGRAM), deadline)
        except OSError:  # nobody is there: the next one is asked
            return

    def _message(self, question: Question) -> bytes:
        number = random.randrange(65_536)
        while number in self._asked:
            number = random.randrange(65_536)
        self._asked[number] = question
        return _query(number, question)

    def _take(self, data: bytes, deadline: float) -> None:
        message = _read(data)
        if message is None or _question(message) != self._asked.get(message.id):
            return
        question = self._asked.pop(message.id)
        if message.trunc:
            message = self._ask_by_tcp(question, deadline) or message
        if message.rCode in (dns.OK, dns.ENAME):
            self.answers[question] = _answer(message, question)

    def _ask_by_tcp(self, question: Question, deadline: float) -> dns.Message | None:
        """RFC 7766 8: two octets of length before each message."""
        data = _query(0, question)
        try:
            with socket.create_connection(self.place, max(0.1, deadline - time.monotonic())) as connection:
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


KEY: Final = "dns"

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
                yield Finding.note(KEY, f"other servers cannot find {domain}: {why_not}")
            continue
        wanted.append((domain, clients))
        if settings.s2s.enabled:
            wanted += [(domain, servers), (f"rooms.{domain}", servers)]
    if wanted:
        if settings.s2s.enabled and _is_on_loopback((*listen.s2s, *listen.s2s_tls)):
            yield Finding.note(
                KEY,
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
            yield Finding.note(
                KEY,
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
            yield Finding.note(
                KEY, f"{domain}: the name servers did not answer what {visitors.who} ask", "check again later"
            )
        elif without:
            yield self._without_records(domain, name, visitors)
        elif not any(service.target for service in (*plain.services, *direct.services)):
            yield Finding.wrong(
                KEY,
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
            return Finding.note(
                KEY,
                f"{domain}: there is no SRV record, so {visitors.who} try {addresses[0]}, "
                "which is not an address of this machine",
                f"unless what comes there is sent on to this machine, {add}",
            )
        else:
            return Finding.good(
                KEY, f"{domain}: {visitors.who} find it at its address {addresses[0]}, without an SRV record"
            )
        return Finding.wrong(KEY, found, add)

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
                Finding.note(
                    KEY,
                    f"{domain}: {visitors.who} that do not know direct TLS (XEP-0368) do not find it",
                    f"add to DNS\n{self._records(ascii_name(domain), visitors)}",
                )
            )
        yield from problems
        if not problems:
            places = ", ".join(f"{each.target}:{each.port}" for each in (*plain, *direct) if each.target)
            yield Finding.good(KEY, f"{domain}: {visitors.who} find it at {places}")

    def _target(
        self, domain: str, visitors: _Visitors, service: Service, ports: Collection[int], key: str
    ) -> Iterator[Finding]:
        """Findings on one SRV record."""
        place = f"{domain}: {visitors.who} are sent to {service.target}:{service.port}"
        alias = next((each.alias for each in self._answers(service.target) if each.alias), "")
        addresses = self._addresses(service.target)
        if alias:
            yield Finding.wrong(
                KEY,
                f"{place}, which is an alias (CNAME): SRV records must not point to one (RFC 2782)",
                f"let the record point to {alias}, or give {service.target} addresses of its own",
            )
        elif self._is_address_unknown(service.target):
            yield Finding.note(
                KEY, f"{place}, of which the name servers told no address", "check again later"
            )
        elif not addresses:
            yield Finding.wrong(
                KEY,
                f"{place}, which has no address",
                "add to DNS\n" + "\n".join(address_record(service.target, self.machine.public_addresses)),
            )
        if not ports:
            yield Finding.wrong(
                KEY, f"{place}, and {key} is empty", f"remove that record, or let this server listen: {key}"
            )
        elif service.port not in ports and 0 not in ports:
            listening = ", ".join(map(str, sorted(ports)))
            yield Finding.note(
                KEY,
                f"{place}, and this server listens on port {listening}",
                f"unless what comes there is sent on to this server, change the record, or {key}",
            )
        if addresses and not any(map(self.machine.has, addresses)):
            yield Finding.note(
                KEY,
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
            lines += [service_record(owner, port, host) for port in sorted(ports) if port]
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


def service_record(owner: str, port: int, host: str) -> str:
    """An SRV record (RFC 2782): the service `owner` is at `host`."""
    return f"{owner}. IN SRV 0 5 {port} {host}."


def address_record(host: str, addresses: Sequence[str]) -> list[str]:
    """The addresses of a host; where none is known a line that says what belongs there."""
    if not addresses:
        return [f"{host}. IN A (the address by which others reach this machine)"]
    return [f"{host}. IN {'AAAA' if ':' in address else 'A'} {address}" for address in addresses]
