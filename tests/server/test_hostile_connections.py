"""Connections that cost too much or come at the wrong moment: TLS, deadlines, caps, rates, registration."""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.peers.authority import TestAuthority
from tests.interop.peers.waiting import wait_until
from tests.server.live import (
    SASL,
    STARTTLS,
    Bystanders,
    LiveServer,
    Raw,
    bind,
    condition,
    fresh_address,
    header,
    plain,
)

DEADLINE = 3.0  # the guarded server's, in seconds
PING = "<iq type='get' id='p%d'><ping xmlns='urn:xmpp:ping'/></iq>"


@pytest.fixture
def server(guarded: LiveServer) -> Iterator[LiveServer]:
    """The guarded server, on which two go on chatting over TLS."""
    with guarded.watched():
        others = Bystanders(guarded, "mia@library.example/here", "pat@library.example/there", tls=True)
        yield guarded
        others.chat()


# -- before TLS --------------------------------------------------------------------------------


def test_a_stream_without_tls_offers_nothing_but_tls(server: LiveServer) -> None:
    features = server.connect().open()
    assert b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>" in features
    assert b"mechanism" not in features
    assert b"register" not in features


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_nobody_authenticates_without_tls(server: LiveServer, mechanism: str) -> None:
    raw = server.open()
    raw.send(plain("mia").replace(b"PLAIN", mechanism.encode()))
    assert f"<failure xmlns='{SASL}'><encryption-required/></failure>".encode() == raw.expect(b"</failure>")
    raw.starttls()
    raw.authenticate("mia")


def test_what_comes_behind_starttls_in_plain_is_never_done(server: LiveServer) -> None:
    """CVE-2011-0411 and its kin: an attacker's bytes, put before the handshake, must not count after it."""
    raw = server.open()
    log_in = header() + plain("eve") + header() + bind("x")
    raw.send(STARTTLS + log_in + b"<message to='mia@library.example'/>")
    raw.expect(b"<proceed [^>]*/>")
    raw.secure()
    features = raw.open()
    assert b"<mechanism>PLAIN</mechanism>" in features
    assert b"<bind" not in features
    raw.send(b"<presence/>")
    raw.failed("not-authorized")


def test_plain_bytes_in_place_of_the_handshake_end_the_connection(server: LiveServer) -> None:
    raw = server.open()
    raw.send(STARTTLS)
    raw.expect(b"<proceed [^>]*/>")
    raw.send(header() + plain("eve"))
    assert b"stream" not in raw.closed()


def test_tls_is_started_once(server: LiveServer) -> None:
    raw = server.open()
    assert b"starttls" not in raw.starttls()
    raw.send(STARTTLS)
    raw.expect(b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
    raw.failed("policy-violation")


def test_a_wrong_name_is_not_certified(server: LiveServer) -> None:
    raw = server.open()
    raw.send(STARTTLS)
    raw.expect(b"<proceed [^>]*/>")
    with pytest.raises(ssl.SSLCertVerificationError):
        raw.secure("elsewhere.example")


def test_a_stranger_who_says_plain_words_on_the_tls_port_is_cut_off(server: LiveServer) -> None:
    raw = server.connect(port=server.process.tls_port)
    raw.send(header())
    assert b"stream" not in raw.closed()


# -- time --------------------------------------------------------------------------------------


def test_who_does_not_log_in_in_time_is_sent_away(server: LiveServer) -> None:
    began = time.monotonic()
    silent, beginning, opened, guessing = server.connect(), server.connect(), server.open(), server.open()
    shaking, shaking_at_once = server.open(), server.connect(port=server.process.tls_port)
    unbound = server.open()
    unbound.starttls()
    unbound.authenticate("eve")
    beginning.send(b"<?xml version='1.0'?><stream:stream to='library.example")
    shaking.send(STARTTLS)
    shaking.expect(b"<proceed [^>]*/>")
    shaking_at_once.send(bytes.fromhex("1603010100"))
    guessing.send(plain("eve"))
    while time.monotonic() - began < 0.5 * DEADLINE:  # who sends a little now and then gets no more time
        beginning.send(b" ")
        opened.send(b" ")
        time.sleep(0.05)
    for raw in (silent, beginning, opened, guessing, unbound):
        raw.failed("connection-timeout")
    for raw in (shaking, shaking_at_once):
        assert b"stream:error" not in raw.closed()
    assert DEADLINE <= time.monotonic() - began < DEADLINE + 3


def test_a_session_has_all_the_time(server: LiveServer) -> None:
    """Its deadline ended with binding: it is there behind the others' end."""
    eve = server.login("eve@library.example/idle", tls=True)
    stranger = server.open()
    stranger.failed("connection-timeout")
    assert eve.ask("get", "<ping xmlns='urn:xmpp:ping'/>").get("type") == "result"


# -- how many, how fast ------------------------------------------------------------------------


def test_one_address_has_64_connections(server: LiveServer) -> None:
    source = fresh_address()
    first, *others = [server.open(source=source) for _ in range(64)]
    for _ in range(3):
        assert b"" == server.connect(source=source).closed()
    server.open()  # from another address
    first.send(b"</stream:stream>")
    first.closed()
    _until_open(server, source)
    assert all(other.try_send(b" ") for other in others)


def _until_open(server: LiveServer, source: str) -> Raw:
    """A connection from an address that has just closed one: the server sees that in its own time."""
    deadline = time.monotonic() + 5
    while True:
        with contextlib.suppress(AssertionError, ConnectionError):
            return server.open(source=source)
        assert time.monotonic() < deadline


def test_connecting_and_going_leaves_nothing_behind(server: LiveServer) -> None:
    source = fresh_address()
    for number in range(150):
        raw = server.connect(source=source)
        if number % 3:
            raw.send(header()[: number % 90])
        raw.hang_up()
    _until_open(server, source)
    before = server.memory()
    for number in range(600):
        raw = server.connect()
        raw.send(header() if number % 2 else STARTTLS)
        raw.hang_up()
    server.open()
    assert server.memory() - before < 6_000_000


def test_who_sends_too_fast_is_slowed_down_and_nobody_else(server: LiveServer) -> None:
    """16 KiB a second, after 64 KiB at once."""
    eve = server.login("eve@library.example/fast", tls=True)
    began = time.monotonic()
    size = len(PING % 1000)
    count = 96 * 1024 // size
    eve.send("".join(PING % number for number in range(1000, 1000 + count)))
    other = server.login("eve@library.example/slow", tls=True)
    asked = time.monotonic()
    other.ask("get", "<ping xmlns='urn:xmpp:ping'/>")
    assert time.monotonic() - asked < 0.5
    eve.stanza("iq", f"p{999 + count}")
    assert 0.7 < time.monotonic() - began < 6


def test_who_does_not_read_is_cut_off(live: LiveServer, unharmed: None) -> None:
    before = live.memory()
    deaf, eve = live.online("pat@library.example/deaf"), live.online("eve@library.example/loud")
    message = f"<message to='pat@library.example/deaf'><body>{'x' * 100_000}</body></message>"
    for number in range(300):
        eve.send(message)
        if number % 20 == 0:
            eve.ask("get", "<ping xmlns='urn:xmpp:ping'/>")
    eve.ask("get", "<ping xmlns='urn:xmpp:ping'/>")
    assert live.memory() - before < 30_000_000
    assert b"x" * 1000 in deaf.closed()
    gone = eve.ask("get", "<a xmlns='b'/>", "pat@library.example/deaf")
    assert ("cancel", "service-unavailable") == condition(gone)


# -- registration ------------------------------------------------------------------------------


def register(username: str, password: str = "a good password", more: str = "") -> str:
    query = f"<username>{username}</username><password>{password}</password>{more}"
    return f"<query xmlns='jabber:iq:register'>{query}</query>"


@pytest.mark.parametrize("type", ["get", "set"])
def test_closed_registration_is_not_authorized(server: LiveServer, type: str) -> None:
    raw = server.open()
    assert b"register" not in raw.starttls()
    raw.send(f"<iq type='{type}' id='r' to='library.example'>{register('newcomer')}</iq>")
    raw.failed("not-authorized")


def test_open_registration_makes_an_account(live: LiveServer, unharmed: None) -> None:
    raw = live.connect()
    assert b"iq-register" in raw.open()
    fields = raw.ask("get", "<query xmlns='jabber:iq:register'/>", "library.example")[0]
    assert ["instructions", "username", "password"] == [field.tag.partition("}")[2] for field in fields]
    assert raw.ask("set", register("newcomer")).get("type") == "result"
    raw.authenticate("newcomer", "a good password")


BAD_REGISTRATIONS = {
    "a name that is taken": (register("mia"), "cancel", "conflict"),
    "a name taken, in capitals": (register("MIA"), "cancel", "conflict"),
    "no name": (register(""), "modify", "not-acceptable"),
    "no password": (register("new1", ""), "modify", "not-acceptable"),
    "nothing": ("<query xmlns='jabber:iq:register'/>", "modify", "not-acceptable"),
    "a malformed name": (register("new@1"), "modify", "jid-malformed"),
    "a name of direction": (register("new\u202e"), "modify", "jid-malformed"),
    "a password of 1024 bytes": (register("new1", "p" * 1024), "modify", "not-acceptable"),
    "a password of controls": (register("new1", "a&#x85;b"), "modify", "not-acceptable"),
    "the end of an account": (
        "<query xmlns='jabber:iq:register'><remove/></query>",
        "auth",
        "not-authorized",
    ),
}


@pytest.mark.parametrize("row", BAD_REGISTRATIONS)
def test_a_bad_registration_is_an_error_and_the_stream_lives(
    live: LiveServer, unharmed: None, row: str
) -> None:
    payload, type, name = BAD_REGISTRATIONS[row]
    raw = live.open()
    assert (type, name) == condition(raw.ask("set", payload))
    raw.authenticate("mia")


def test_an_address_registers_five_accounts_an_hour(live: LiveServer, unharmed: None) -> None:
    source = fresh_address()
    for number in range(5):
        raw = live.open(source=source)
        assert raw.ask("set", register(f"family{number}")).get("type") == "result"
    raw = live.open(source=source)
    assert ("wait", "resource-constraint") == condition(raw.ask("set", register("family5")))
    assert live.open().ask("set", register("family5")).get("type") == "result"


# -- the end -----------------------------------------------------------------------------------


def test_a_server_that_ends_says_so(tmp_path: Path, certificates: TestAuthority) -> None:
    ending = LiveServer(tmp_path / "server", certificates, {"library.example": ["mia"]})
    with ending:
        session, stranger = ending.login("mia@library.example/desk", tls=True), ending.open()
        ending.ask_to_end()
        session.failed("system-shutdown")
        stranger.failed("system-shutdown")
        process = ending.process.process
        wait_until(lambda: process.returncode is not None, "the server to end", 10, lambda: process.output)
        assert "Server Shut Down" in ending.process.log
