"""refserverctl check: what DNS says of a library is judged as other servers and clients would."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pytest
from twisted.names import dns

from refserver.app.checks import Finding, Result
from refserver.app.checks import dns as asking
from refserver.app.checks.dns import (
    Answer,
    NameServers,
    Question,
    Service,
    address_record,
    check_federation,
    system_name_servers,
)
from refserver.app.checks.ports import Machine, this_machine
from refserver.app.settings import S2S, HostPort, Listen, Settings

DOMAIN, ROOMS, HOST = "library.org", "rooms.library.org", "xmpp.library.org"
OURS, THEIRS = "198.51.100.1", "198.51.100.99"
MACHINE = Machine(lambda address: address == OURS, (OURS,))
SETTINGS = Settings(listen=Listen(s2s_tls=(), c2s_tls=()))


class Names:
    """DNS as the test has it: `("SRV", name)` to `(port, target)` pairs, `("A", name)` to addresses."""

    def __init__(self, known: Mapping[tuple[str, str], Any]) -> None:
        self.known = known
        self.rounds: list[list[Question]] = []

    def __call__(self, questions: Collection[Question]) -> Mapping[Question, Answer]:
        self.rounds.append(list(questions))
        return {question: self._answer(question) for question in questions}

    def _answer(self, question: Question) -> Answer:
        found = self.known.get((question.kind, question.name), ())
        if isinstance(found, Answer):
            return found
        if question.kind == "SRV":
            return Answer(services=tuple(Service(0, 5, port, target) for port, target in found))
        return Answer(addresses=tuple(found))


GOOD: dict[tuple[str, str], Any] = {
    ("SRV", f"_xmpp-server._tcp.{DOMAIN}"): [(5269, HOST)],
    ("SRV", f"_xmpp-server._tcp.{ROOMS}"): [(5269, HOST)],
    ("SRV", f"_xmpp-client._tcp.{DOMAIN}"): [(5222, HOST)],
    ("A", HOST): [OURS],
}
SERVERS, ROOM_SERVERS, CLIENTS = list(GOOD)[:3]


def findings(
    changed: Mapping[tuple[str, str], Any] | None = None,
    settings: Settings = SETTINGS,
    domains: Collection[str] = (DOMAIN,),
) -> list[Finding]:
    return list(check_federation(settings, list(domains), Names({**GOOD, **(changed or {})}), MACHINE))


def only(found: list[Finding]) -> Finding:
    """The one finding that is not good."""
    (finding,) = [each for each in found if each.result is not Result.GOOD]
    return finding


def test_where_all_records_are_there_all_is_good() -> None:
    found = findings()
    assert {each.result for each in found} == {Result.GOOD}
    assert [each.found for each in found] == [
        f"{DOMAIN}: clients find it at {HOST}:5222",
        f"{DOMAIN}: other servers find it at {HOST}:5269",
        f"{ROOMS}: other servers find it at {HOST}:5269",
    ]


def test_all_questions_of_a_round_are_asked_at_once() -> None:
    names = Names(GOOD)
    list(check_federation(SETTINGS, [DOMAIN, "other.org"], names, MACHINE))
    first, second = names.rounds
    assert {question.name for question in second} == {HOST}
    assert len(first) == len(set(first))
    services = {question.name for question in first if question.kind == "SRV"}
    kinds = ("_xmpp-client", "_xmpps-client", "_xmpp-server", "_xmpps-server")
    assert services >= {f"{kind}._tcp.{DOMAIN}" for kind in kinds}


def test_rooms_that_other_servers_cannot_find_are_wrong_and_the_record_to_add_is_said() -> None:
    finding = only(findings({ROOM_SERVERS: []}))
    assert finding.result is Result.WRONG
    assert finding.found == (
        f"{ROOMS}: other servers cannot find it: there is neither an SRV record nor an address"
    )
    assert finding.mend == f"add to DNS\n_xmpp-server._tcp.{ROOMS}. IN SRV 0 5 5269 {HOST}."


def test_where_there_is_nothing_yet_all_records_are_said_with_the_configured_ports() -> None:
    listen = Listen(s2s=("tcp:15269",), s2s_tls=("tcp:15270",), c2s=("tcp:15222",), c2s_tls=())
    found = findings(dict.fromkeys(GOOD, ()), Settings(listen=listen))
    assert [each.result for each in found] == [Result.WRONG] * 3
    clients, servers, rooms = (each.mend.splitlines()[1:] for each in found)
    address = f"{HOST}. IN A {OURS}"
    assert clients == [f"_xmpp-client._tcp.{DOMAIN}. IN SRV 0 5 15222 {HOST}.", address]
    assert servers == [
        f"_xmpp-server._tcp.{DOMAIN}. IN SRV 0 5 15269 {HOST}.",
        f"_xmpps-server._tcp.{DOMAIN}. IN SRV 0 5 15270 {HOST}.",
        address,
    ]
    assert rooms == [
        f"_xmpp-server._tcp.{ROOMS}. IN SRV 0 5 15269 {HOST}.",
        f"_xmpps-server._tcp.{ROOMS}. IN SRV 0 5 15270 {HOST}.",
        address,
    ]


def test_where_this_machines_address_is_not_known_what_belongs_there_is_said() -> None:
    assert address_record(HOST, ()) == [f"{HOST}. IN A (the address by which others reach this machine)"]
    assert address_record(HOST, ("2001:db8::1",)) == [f"{HOST}. IN AAAA 2001:db8::1"]


def test_a_domain_whose_own_address_is_ours_needs_no_records() -> None:
    found = findings({SERVERS: [], ("A", DOMAIN): [OURS]})
    assert f"{DOMAIN}: other servers find it at its address {OURS}, without an SRV record" in [
        each.found for each in found if each.result is Result.GOOD
    ]
    assert [each for each in found if each.result is not Result.GOOD] == []


def test_a_domain_whose_own_address_is_elsewhere_is_a_note() -> None:
    finding = only(findings({SERVERS: [], ("A", DOMAIN): [THEIRS]}))
    assert finding.result is Result.NOTE
    assert f"other servers try {THEIRS}, which is not an address of this machine" in finding.found
    assert f"_xmpp-server._tcp.{DOMAIN}. IN SRV 0 5 5269 {HOST}." in finding.mend


def test_without_a_record_nobody_tries_another_port_than_the_usual() -> None:
    listen = Listen(s2s=("tcp:15269",), s2s_tls=(), c2s_tls=())
    known = {SERVERS: [], ROOM_SERVERS: [(15269, HOST)], ("A", DOMAIN): [OURS]}
    finding = only(findings(known, Settings(listen=listen)))
    assert finding.result is Result.WRONG
    assert "other servers try port 5269, where this server does not listen (listen.s2s)" in finding.found


def test_a_port_that_systemd_opens_may_be_any() -> None:
    listen = Listen(s2s=("systemd:domain=INET6:name=s2s",), s2s_tls=(), c2s_tls=())
    assert {each.result for each in findings({SERVERS: [(15269, HOST)]}, Settings(listen=listen))} == {
        Result.GOOD
    }


def test_a_target_that_is_the_root_says_that_there_is_no_such_server() -> None:
    finding = only(findings({SERVERS: [(0, "")]}))
    assert finding.result is Result.WRONG
    assert 'there is no such server (the target is ".")' in finding.found
    assert "remove that record, and add\n_xmpp-server._tcp." in finding.mend


def test_a_root_for_direct_tls_alone_is_in_order() -> None:
    found = findings({("SRV", f"_xmpps-server._tcp.{DOMAIN}"): [(0, "")]})
    assert {each.result for each in found} == {Result.GOOD}


def test_a_target_that_is_an_alias_is_wrong() -> None:
    alias = Answer(addresses=(OURS,), alias="web.library.org")
    found = [each for each in findings({("A", HOST): alias}) if each.result is not Result.GOOD]
    assert {each.result for each in found} == {Result.WRONG}
    assert "is an alias (CNAME): SRV records must not point to one (RFC 2782)" in found[0].found
    assert found[0].mend.startswith("let the record point to web.library.org")


def test_a_target_without_address_is_wrong() -> None:
    found = findings({("A", HOST): []})
    assert {each.result for each in found} == {Result.WRONG}
    assert found[0].mend == f"add to DNS\n{HOST}. IN A {OURS}"


def test_a_target_elsewhere_is_a_note() -> None:
    found = findings({("A", HOST): [THEIRS]})
    assert {each.result for each in found} == {Result.NOTE}
    assert f"that is {THEIRS}: not an address of this machine" in found[0].found


def test_a_port_on_which_we_do_not_listen_is_a_note() -> None:
    finding = only(findings({SERVERS: [(5300, HOST)]}))
    assert finding.result is Result.NOTE
    assert f"are sent to {HOST}:5300, and this server listens on port 5269" in finding.found


def test_a_record_for_what_is_switched_off_is_wrong() -> None:
    finding = only(findings({("SRV", f"_xmpps-server._tcp.{DOMAIN}"): [(5270, HOST)]}))
    assert (finding.result, "listen.s2s_tls is empty" in finding.found) == (Result.WRONG, True)


def test_direct_tls_alone_is_not_found_by_all() -> None:
    known = {SERVERS: [], ("SRV", f"_xmpps-server._tcp.{DOMAIN}"): [(5270, HOST)]}
    finding = only(findings(known, Settings(listen=Listen(c2s_tls=()))))
    assert "that do not know direct TLS (XEP-0368) do not find it" in finding.found


def test_name_servers_in_trouble_are_no_fault_of_the_records() -> None:
    finding = only(findings({SERVERS: Answer(trouble=True)}))
    assert finding.result is Result.NOTE
    assert "the name servers did not answer" in finding.found


@pytest.mark.parametrize("unknown", [("A", DOMAIN), ("AAAA", DOMAIN)])
def test_an_address_that_the_name_servers_could_not_tell_is_not_one_that_is_missing(
    unknown: tuple[str, str],
) -> None:
    finding = only(findings({SERVERS: [], unknown: Answer(trouble=True)}))
    assert (finding.result, "did not answer" in finding.found) == (Result.NOTE, True)


def test_a_target_whose_address_could_not_be_told_is_not_without() -> None:
    found = findings({("A", HOST): Answer(trouble=True)})
    assert {each.result for each in found} == {Result.NOTE}
    assert all("of which the name servers told no address" in each.found for each in found)


def test_where_no_name_server_answers_there_is_one_note() -> None:
    def silent(questions: Collection[Question]) -> Mapping[Question, Answer]:
        return dict.fromkeys(questions, Answer(trouble=True))

    (finding,) = check_federation(SETTINGS, [DOMAIN, "other.org"], silent, MACHINE)
    assert finding.result is Result.NOTE
    assert "s2s.name_servers" in finding.mend


@pytest.mark.parametrize(
    ("domain", "why"),
    [
        ("library.example", ".example is reserved for examples"),
        ("a.test", ".test is reserved for tests"),
        ("localhost", "it is this machine's name for itself"),
        ("a.localhost", ".localhost is this machine's name for itself"),
        ("printer.local", ".local is for names on the local network"),
        ("books", "it has no dot"),
        ("192.0.2.1", "it is an address"),
        ("[2001:db8::1]", "it is an address"),
        ("placed.org", "it stands in s2s.hosts"),
    ],
)
def test_what_others_cannot_find_is_a_note_that_says_why(domain: str, why: str) -> None:
    settings = Settings(s2s=S2S(hosts={"placed.org": HostPort("127.0.0.1", 5269)}))
    names = Names({})
    (finding,) = check_federation(settings, [domain], names, MACHINE)
    assert (finding.result, names.rounds) == (Result.NOTE, [])
    assert finding.found.startswith(f"other servers cannot find {domain}: {why}")


def test_without_federation_only_clients_are_thought_of() -> None:
    settings = Settings(listen=Listen(c2s_tls=()), s2s=S2S(enabled=False))
    assert [each.found for each in findings(settings=settings)] == [
        f"{DOMAIN}: clients find it at {HOST}:5222"
    ]
    assert findings(settings=settings, domains=["library.example"]) == []


def test_listening_on_loopback_only_is_a_note() -> None:
    listen = Listen(s2s=("tcp:5269:interface=127.0.0.1",), s2s_tls=(), c2s_tls=())
    finding = only(findings(settings=Settings(listen=listen)))
    assert finding.found.startswith("other servers cannot connect: listen.s2s and listen.s2s_tls are for")


def test_an_international_domain_is_asked_for_as_dns_has_it() -> None:
    names = Names({})
    list(check_federation(SETTINGS, ["bücherei.org"], names, MACHINE))
    assert Question("SRV", "_xmpp-server._tcp.rooms.xn--bcherei-n2a.org") in names.rounds[0]


# -- this machine --------------------------------------------------------------------


def test_this_machine_has_its_loopback_and_no_documentation_address() -> None:
    machine = this_machine()
    assert machine.has("127.0.0.1")
    assert not machine.has("192.0.2.1")


# -- asking --------------------------------------------------------------------------


def test_the_name_servers_of_the_system_are_read(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text("# comment\nnameserver 192.0.2.53\nnameserver\nnameserver ::1\nsearch a\nnameserver x\n")
    assert system_name_servers(file) == [("192.0.2.53", 53), ("::1", 53)]
    assert system_name_servers(tmp_path / "none") == [("127.0.0.1", 53)]


class NameServer:
    """Answers each question with what `answer` makes of the query; None says nothing."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.place = self._socket.getsockname()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            data, asker = self._socket.recvfrom(4096)
            if not data:
                return
            for answer in self._answer(data):
                self._socket.sendto(answer, asker)

    def close(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self.place)
        self._thread.join(5)
        self._socket.close()


@pytest.fixture
def name_server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(asking, "SECONDS_PER_TRY", 0.2)

    def start(answer: Any) -> NameServer:
        server = NameServer(answer)
        request.addfinalizer(server.close)
        return server

    return start


def reply(data: bytes, *payloads: Any, code: int = dns.OK, id: int | None = None) -> bytes:
    query = dns.Message()
    query.fromStr(data)
    message = dns.Message(query.id if id is None else id, answer=1, rCode=code)
    message.queries = query.queries
    name = query.queries[0].name.name
    message.answers = [dns.RRHeader(name, each.TYPE, ttl=5, payload=each) for each in payloads]
    made: bytes = message.toStr()
    return made


A = Question("A", "a.org")


def test_answers_are_read(name_server: Any) -> None:
    srv = Question("SRV", "_xmpp-server._tcp.a.org")

    def answer(data: bytes) -> list[bytes]:
        if b"_xmpp" in data:
            return [reply(data, dns.Record_SRV(1, 2, 5269, b"Host.A.org"), dns.Record_SRV(0, 0, 0, b"."))]
        return [reply(data, dns.Record_CNAME(b"b.org"), dns.Record_A(OURS))]

    found = NameServers([name_server(answer).place])([srv, A])
    assert found[srv].services == (Service(1, 2, 5269, "host.a.org"), Service(0, 0, 0, ""))
    assert found[A] == Answer(addresses=(OURS,), alias="b.org")


def test_a_name_that_is_not_there_is_an_answer(name_server: Any) -> None:
    place = name_server(lambda data: [reply(data, code=dns.ENAME)]).place
    assert NameServers([place])([A]) == {A: Answer()}


@pytest.mark.parametrize(
    "answer",
    [
        lambda data: [],
        lambda data: [b"", b"x", data, data[:14]],
        lambda data: [reply(data, dns.Record_A(OURS), id=1 ^ int.from_bytes(data[:2], "big"))],
        lambda data: [reply(data, code=dns.ESERVER)],
    ],
    ids=["nothing", "garbage", "another's answer", "failure"],
)
def test_a_name_server_that_cannot_tell_is_given_up_in_time(name_server: Any, answer: Any) -> None:
    started = time.monotonic()
    assert NameServers([name_server(answer).place])([A]) == {A: Answer(trouble=True)}
    assert time.monotonic() - started < 5


def test_answers_to_what_was_not_asked_are_not_taken(name_server: Any) -> None:
    """The number fits, the question does not: the real answer comes after it."""

    def answer(data: bytes) -> list[bytes]:
        other = data.replace(b"\x01a\x03org", b"\x01b\x03org")
        return [reply(other, dns.Record_A(THEIRS)), reply(data, dns.Record_A(OURS))]

    assert NameServers([name_server(answer).place])([A])[A].addresses == (OURS,)


def test_another_name_server_is_asked_where_one_is_silent(name_server: Any) -> None:
    silent, good = name_server(lambda data: []), name_server(lambda data: [reply(data, dns.Record_A(OURS))])
    found = NameServers([silent.place, good.place])([A])
    assert found[A].addresses == (OURS,)


def test_where_nobody_listens_that_is_trouble() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as reserved:
        reserved.bind(("127.0.0.1", 0))
        place = reserved.getsockname()
    assert NameServers([place])([A])[A].trouble


def test_many_questions_are_asked_together(name_server: Any) -> None:
    questions = [Question("A", f"h{number}.org") for number in range(500)]
    place = name_server(lambda data: [reply(data, dns.Record_A(OURS))]).place
    found = NameServers([place])(questions)
    assert {answer.addresses for answer in found.values()} == {(OURS,)}
