"""DNS look-ups for `check`: all questions at once, and an end to waiting.

Owns the asking of name servers directly (RFC 1035), without the hosts file: what counts is what other
servers see. Messages are made and read by twisted.names; there is no reactor here.

Specifications: RFC 1035, RFC 2782 (SRV), RFC 7766 (TCP where an answer is too long for UDP).
"""

from __future__ import annotations

import random
import select
import socket
import struct
import time
from collections.abc import Collection, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from attrs import define, field, frozen
from twisted.names import dns

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
