"""Clients' streams on a fake socket and clock: what time, a busy store and our own mistakes do to them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any
from unittest.mock import Mock

import pytest
from attrs import evolve
from OpenSSL import SSL
from twisted.internet.defer import Deferred, succeed
from twisted.logger import capturedLogs, formatEvent

from refserver.c2s.connection import ClientConnection
from refserver.c2s.service import ClientPolicy, ClientService
from refserver.core.feature import Feature, on
from refserver.core.hooks import (
    AccountAdded,
    AccountRemoved,
    CredentialsChanged,
    SessionBinding,
    SessionBound,
)
from refserver.features.messages import Messages
from refserver.features.registration import Registration
from refserver.features.server_information import Ping
from refserver.features.verifiers import Verifiers
from refserver.jid import JID
from refserver.net.receiver import PeerAddress
from refserver.sasl import FakeVerifiers, Hashing, check_password, make_verifier
from refserver.stanza import Stanza
from refserver.storage import accounts
from refserver.stream.policy import StreamPolicy
from refserver.xml import Limits
from tests.server.harness import Harness
from tests.server.live import STARTTLS, auth, bind, header, plain
from tests.unit.scram_client import ScramClient

VERIFIERS = {name: make_verifier("secret", name, b"salt" * 4, 2) for name in ("SHA-1", "SHA-256")}
STREAM = StreamPolicy(
    Limits(10_000), Limits(100_000), require_tls=False, plain_without_tls=True, registration=True
)
MIA = JID.parse("mia@library.example")
PING = b"<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>"
REGISTER = (
    b"<iq type='set' id='r'><query xmlns='jabber:iq:register'>"
    b"<username>new</username><password>a secret</password></query></iq>"
)


class Wire:
    """A fake `net.Connection`."""

    def __init__(self, host: str = "192.0.2.1") -> None:
        self.peer = PeerAddress(host, 50_000)
        self.tls = None
        self.closed = False
        self.aborted = ""
        self.bytes_per_second = 0.0
        self.context: object = None
        self._sent = b""

    def send(self, data: bytes) -> None:
        if not self.closed:
            self._sent += data

    def close(self) -> None:
        self.closed = True

    def abort(self, reason: str) -> None:
        self.closed, self.aborted = True, reason

    def start_tls(self, context: object) -> None:
        self.context = context

    def took(self) -> bytes:
        sent, self._sent = self._sent, b""
        return sent


class Deadlines:
    """The part of a `Mux` that a client's stream needs."""

    def __init__(self) -> None:
        self.expiring: dict[Any, float] = {}

    def expire(self, what: Any, seconds: float) -> None:
        self.expiring[what] = seconds

    def unexpire(self, what: Any) -> None:
        self.expiring.pop(what, None)


class NoCertificates:
    """Implements `Contexts`."""

    def context_for(self, domain: str) -> SSL.Context:
        raise LookupError(domain)

    def __bool__(self) -> bool:
        return False


class Slow(Feature):
    """Lets a test hold a bind up, and see who was bound."""

    name = "slow"
    waiting: Deferred[None] | None = None

    @on(SessionBinding)
    def binding(self, event: SessionBinding) -> Deferred[None] | None:
        return self.waiting

    @on(SessionBound)
    def bound(self, event: SessionBound) -> None:
        event.session.deliver(Stanza.message(event.session.jid, event.session.account, id="welcome"))


class Server:
    """The service, and connections to it."""

    def __init__(self, **policy: Any) -> None:
        self.harness = Harness([Verifiers, Messages, Ping, Registration, Slow])
        self.core = self.harness.core
        self.core.hashing = Hashing(iterations=2)
        self.mux = Deadlines()
        self.service = ClientService(
            self.core,
            self.mux,  # type: ignore[arg-type]  # as much of a Mux as is needed
            ClientPolicy(STREAM, **policy),
            NoCertificates(),
            FakeVerifiers(b"k" * 32, iterations=2),
            self.core.feature(Registration),
            self.core.feature(Verifiers),
        )
        self.harness.database.write_now(accounts.add, MIA, VERIFIERS, 0.0)

    def connect(self, host: str = "192.0.2.1") -> tuple[Wire, ClientConnection]:
        wire = Wire(host)
        connection = self.service.accept_plain(wire)  # type: ignore[arg-type]  # as much of one as is needed
        assert connection is not None
        return wire, connection

    def authenticated(self) -> tuple[Wire, ClientConnection]:
        wire, connection = self.connect()
        connection.received(header() + plain("mia", "secret") + header())
        assert b"<bind" in wire.took()
        return wire, connection

    def bound(self, resource: str = "desk") -> tuple[Wire, ClientConnection]:
        wire, connection = self.authenticated()
        connection.received(bind(resource))
        assert connection.session is not None
        wire.took()
        return wire, connection

    @property
    def slow(self) -> Slow:
        return self.core.feature(Slow)


@pytest.fixture
def server() -> Server:
    return Server()


def ended(wire: Wire, condition: str) -> bool:
    """True if the stream has ended with that error."""
    data = wire.took()
    return wire.closed and f"<{condition} ".encode() in data and data.endswith(b"</stream:stream>")


# -- log-in ------------------------------------------------------------------------------------


def test_a_pipelined_log_in_ends_in_a_session_without_deadline(server: Server) -> None:
    wire, connection = server.connect()
    assert 30.0 == server.mux.expiring[connection]
    assert 16_384 == wire.bytes_per_second
    connection.received(header() + plain("mia", "secret") + header() + bind("desk") + PING)
    assert (
        b"<iq to='mia@library.example/desk' from='mia@library.example' type='result' id='p'/>" in wire.took()
    )
    assert {} == server.mux.expiring
    assert connection.session is server.core.sessions.get(MIA.with_resource("desk"))


def test_the_client_has_its_address_before_anything_else_reaches_it(server: Server) -> None:
    wire, connection = server.authenticated()
    connection.received(bind("desk"))
    assert re.search(rb"<jid>mia@library.example/desk</jid>.*id='welcome'", wire.took())


def test_who_fails_waits_ever_longer(server: Server) -> None:
    """By the clock: 0.5, 1, 2 seconds behind the first free ones."""
    waits = []
    for number in range(7):
        wire, connection = server.connect()
        connection.received(header())
        wire.took()
        connection.received(plain(f"nobody{number}", "wrong"))
        waited = 0.0
        while not (answer := wire.took()):
            server.harness.clock.advance(0.25)
            waited += 0.25
        assert b"<not-authorized/>" in answer
        waits.append(waited)
    assert [0.0, 0.0, 0.0, 0.0, 0.5, 1.0, 2.0] == waits
    wire, connection = server.connect("192.0.2.2")  # who comes from elsewhere does not wait
    connection.received(header() + plain("mia", "secret"))
    assert b"<success" in wire.took()


def test_who_leaves_while_waiting_is_not_answered(server: Server) -> None:
    for _ in range(5):
        server.service.throttle.failed("192.0.2.1")
    wire, connection = server.connect()
    connection.received(header() + plain("mia", "secret"))
    wire.close()
    connection.lost("closed by the peer")
    wire.took()
    server.harness.clock.advance(10)
    assert b"" == wire.took()


def test_a_store_that_cannot_be_read_is_a_failure_for_the_moment(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> None:
        raise OSError("bad sector")

    wire, connection = server.connect()
    connection.received(header())
    with monkeypatch.context() as patch:
        patch.setattr(accounts, "verifiers", broken)
        connection.received(plain("mia", "secret"))
    assert b"<temporary-auth-failure/>" in wire.took()
    connection.received(plain("mia", "secret"))
    assert b"<success" in wire.took()


def test_our_own_failures_make_nobody_wait(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "verifiers", Mock(side_effect=OSError("bad sector")))
    for _ in range(4):
        _, connection = server.connect()
        connection.received(header() + plain("mia", "secret"))
    assert 0.0 == server.service.throttle.wait("192.0.2.1", MIA)


def test_only_who_was_here_before_is_answered_without_the_store(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or an account that is there would answer strangers sooner than one that is not."""
    reads = Mock(side_effect=accounts.verifiers)
    monkeypatch.setattr(accounts, "verifiers", reads)
    server.bound()
    assert 1 == reads.call_count
    server.bound()
    assert 1 == reads.call_count
    for host in ("192.0.2.2", "192.0.2.2"):
        _, connection = server.connect(host)
        connection.received(header() + plain("mia", "wrong"))
    assert 3 == reads.call_count


def test_one_s_own_log_in_does_not_let_guess_others_passwords_faster(server: Server) -> None:
    def attempt(name: str, password: str) -> float:
        wire, connection = server.connect()
        connection.received(header())
        wire.took()
        connection.received(plain(name, password))
        waited = 0.0
        while not wire.took():
            server.harness.clock.advance(0.25)
            waited += 0.25
        return waited

    waits = []
    for number in range(7):
        attempt("mia", "secret")
        waits.append(attempt(f"victim{number}", "spring"))
    assert [0.0, 0.0, 0.0, 0.0, 0.5, 1.0, 2.0] == waits


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::7"])
def test_a_failed_log_in_is_logged_with_the_address_and_no_account(server: Server, host: str) -> None:
    with capturedLogs() as logged:
        _, connection = server.connect(host)
        connection.received(header() + plain("mia", "wrong"))
    lines = [formatEvent(event) for event in logged]
    assert [f"log-in refused from {host} to library.example: not-authorized"] == lines


def test_verifiers_are_renewed_at_a_log_in_by_password(server: Server) -> None:
    server.core.hashing = Hashing(iterations=3, sha_1=False)
    server.authenticated()
    stored = server.harness.database.read_now(accounts.verifiers, MIA)
    assert stored is not None
    assert {"SHA-256": 3} == {name: verifier.iterations for name, verifier in stored.items()}
    assert check_password(stored["SHA-256"], "secret")
    server.authenticated()
    assert stored == server.harness.database.read_now(accounts.verifiers, MIA)


def test_a_password_changed_meanwhile_is_not_replaced_by_the_old_one(server: Server) -> None:
    server.core.hashing = Hashing(iterations=3)
    waiting: list[tuple[Deferred[Any], Any]] = []

    def later(function: Any, *args: Any) -> Deferred[Any]:
        if function is check_password:
            return succeed(function(*args))
        waiting.append((Deferred(), function(*args)))
        return waiting[-1][0]

    server.core.offload = later
    server.authenticated()
    new = {"SHA-256": make_verifier("other", "SHA-256", b"salt" * 4, 2)}
    server.harness.database.write_now(accounts.set_verifiers, MIA, new)
    for deferred, made in waiting:
        deferred.callback(made)
    assert 1 == len(waiting)
    assert new == server.harness.database.read_now(accounts.verifiers, MIA)


def test_scram_sha_1_can_be_switched_off(server: Server) -> None:
    stream = evolve(STREAM, scram_sha_1=False)
    server.service.renew(evolve(server.service.policy, stream=stream))
    wire, connection = server.connect()
    connection.received(header())
    offered = wire.took()
    assert b"SCRAM-SHA-256<" in offered
    assert b"SHA-1" not in offered


# -- binding -----------------------------------------------------------------------------------


def test_a_hundred_resources_are_enough() -> None:
    server = Server(sessions_per_account=2)
    first, second = server.bound("a"), server.bound("b")
    wire, connection = server.authenticated()
    connection.received(bind("c"))
    assert b"<resource-constraint" in wire.took()
    connection.received(bind("a"))  # who replaces one takes no room
    assert b"<jid>mia@library.example/a</jid>" in wire.took()
    assert ended(first[0], "conflict")
    second[1].lost("closed by the peer")
    assert connection.session in set(server.core.sessions)
    assert 1 == len(server.core.sessions)


def test_who_hangs_up_while_binding_leaves_no_session(server: Server) -> None:
    wire, connection = server.authenticated()
    waiting = Slow.waiting = Deferred()
    try:
        connection.received(bind("desk"))
        wire.close()
        connection.lost("closed by the peer")
        waiting.callback(None)
    finally:
        Slow.waiting = None
    assert 0 == len(server.core.sessions)


def test_a_library_that_is_served_no_more_has_no_sessions(server: Server) -> None:
    wire, connection = server.authenticated()
    server.core.hosts.remove("library.example")
    connection.received(bind("desk"))
    assert ended(wire, "host-gone")


@pytest.mark.parametrize("state", ["logged in", "half-way"])
def test_a_log_in_to_an_account_that_ended_is_none_to_its_next_owners(server: Server, state: str) -> None:
    if state == "logged in":
        wire, connection = server.authenticated()
    else:
        wire, connection = server.connect()
        client = ScramClient("mia", "secret", "SHA-256")
        connection.received(header() + auth("SCRAM-SHA-256", client.first()))
        assert b"<challenge" in wire.took()
    server.core.hooks.tell(AccountRemoved(MIA))
    server.core.hooks.tell(AccountAdded(MIA))
    assert ended(wire, "not-authorized")


@pytest.mark.parametrize("happening", [AccountRemoved, CredentialsChanged])
def test_who_was_removed_or_disabled_after_authenticating_is_not_bound(
    server: Server, happening: Callable[[JID], object]
) -> None:
    wire, connection = server.authenticated()
    if happening is AccountRemoved:
        server.harness.database.write_now(accounts.remove, MIA)
    else:
        server.harness.database.write_now(accounts.set_disabled, MIA, True)
    server.core.hooks.tell(happening(MIA))
    if not wire.closed:
        connection.received(bind("desk"))
    assert ended(wire, "not-authorized")
    assert 0 == len(server.core.sessions)


def test_a_new_password_keeps_nobody_from_binding(server: Server) -> None:
    wire, connection = server.authenticated()
    server.core.hooks.tell(CredentialsChanged(MIA))
    connection.received(bind("desk"))
    assert b"<jid>mia@library.example/desk</jid>" in wire.took()


# -- our own mistakes --------------------------------------------------------------------------


def test_a_mistake_of_ours_ends_one_stream(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*args: object) -> None:
        raise RuntimeError("a mistake of ours")

    other, _ = server.bound()
    wire, connection = server.connect()
    connection.received(header())
    monkeypatch.setattr(Registration, "register", broken)
    connection.received(REGISTER)
    assert ended(wire, "internal-server-error")
    assert not other.closed


def test_a_mistake_after_the_client_has_gone_is_only_logged(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting: Deferred[None] = Deferred()

    async def broken(*args: object) -> None:
        await waiting
        raise RuntimeError("a mistake of ours")

    wire, connection = server.connect()
    connection.received(header())
    monkeypatch.setattr(Registration, "register", broken)
    connection.received(REGISTER)
    wire.close()
    connection.lost("closed by the peer")
    wire.took()
    waiting.callback(None)
    assert b"" == wire.took()


# -- the end -----------------------------------------------------------------------------------


def test_a_deadline_ends_the_stream_with_an_error(server: Server) -> None:
    wire, connection = server.connect()
    connection.received(header())
    connection.expired()
    assert ended(wire, "connection-timeout")


def test_an_orderly_end_waits_for_the_client_s_and_takes_the_session(server: Server) -> None:
    wire, connection = server.bound()
    connection.close()
    assert wire.took().endswith(b"</stream:stream>")
    assert 0 == len(server.core.sessions)


def test_all_are_told_of_the_server_s_end(server: Server) -> None:
    wires: Iterable[Wire] = [server.connect()[0], server.bound()[0]]
    server.service.close_all()
    assert all(ended(wire, "system-shutdown") for wire in wires)


def test_who_has_gone_counts_no_more() -> None:
    server = Server(connections_per_ip=2)
    one, other = server.connect(), server.connect()
    assert server.service.accept_plain(Wire()) is None  # type: ignore[arg-type]  # see above
    server.connect("192.0.2.2")
    one[1].lost("closed by the peer")
    server.connect()
    other[1].lost("closed by the peer")
    assert 2 == len(server.service.connections)


def test_no_limit_is_none() -> None:
    server = Server(connections_per_ip=0)
    for _ in range(100):
        server.connect()


# -- TLS that is not there ---------------------------------------------------------------------


def test_without_a_certificate_no_tls_is_offered_and_none_begun(server: Server) -> None:
    wire, connection = server.connect()
    connection.received(header())
    assert b"starttls" not in wire.took()
    connection.received(STARTTLS)
    assert ended(wire, "policy-violation")
    before = len(server.service.connections)
    assert server.service.accept_tls(Wire()) is None  # type: ignore[arg-type]  # see above
    assert before == len(server.service.connections)


def test_a_handshake_that_does_not_come_is_cut_off(server: Server) -> None:
    class Some(NoCertificates):
        def context_for(self, domain: str) -> Any:
            return "context"

    server.service.contexts = Some()
    wire = Wire()
    connection = server.service.accept_tls(wire)  # type: ignore[arg-type]  # see above
    assert connection is not None
    assert "context" == wire.context
    connection.expired()
    assert wire.aborted
    assert b"" == wire.took()


# -- other settings ----------------------------------------------------------------------------


def test_new_settings_hold_for_those_who_come(server: Server) -> None:
    for _ in range(5):
        assert server.service.registrations.spend("192.0.2.1")
    renewed = ClientPolicy(STREAM, unauthenticated_timeout=7, registrations_per_ip_hour=6)
    server.service.renew(renewed)
    _, connection = server.connect()
    assert 7 == server.mux.expiring[connection]
    assert server.service.registrations.spend("192.0.2.1")
    quota = server.service.registrations
    server.service.renew(renewed)
    assert quota is server.service.registrations
