"""What a stranger, or a component gone wrong, can send to the components' port: each row over a socket."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import Element

import pytest

from refserver.stream.component import digest
from tests.interop.peers import TestAuthority, free_port
from tests.server.live import STANZAS, LiveServer, Raw

LIBRARY = "library.example"
DOMAIN = f"sms.{LIBRARY}"
SECRET = "a shared secret"
ACCEPT = "jabber:component:accept"
FROM = f"from='+431@{DOMAIN}'"
TO = f"to='mia@{LIBRARY}'"


class Gated:
    """A server with a components' port, a gateway that is attached, and mia, who is online."""

    def __init__(self, server: LiveServer, port: int) -> None:
        self.server = server
        self.port = port

    def connect(self, source: str = "") -> Raw:
        return self.server.connect(DOMAIN, source, self.port)

    def open(self) -> tuple[Raw, str]:
        """A stream with both headers, and its id."""
        raw = self.connect()
        raw.send(header())
        found = re.search(rb" id='([^']+)'", raw.expect(rb"<stream:stream [^>]*>"))
        assert found is not None
        return raw, found[1].decode()

    def attached(self) -> Raw:
        raw, id = self.open()
        raw.send(f"<handshake>{digest(id, SECRET)}</handshake>")
        raw.expect(rb"<handshake/>")
        assert raw.element().tag == f"{{{ACCEPT}}}handshake"
        return raw


def header(to: str = DOMAIN, content: str = ACCEPT) -> bytes:
    return (
        f"<?xml version='1.0'?><stream:stream to='{to}' xmlns='{content}'"
        " xmlns:stream='http://etherx.jabber.org/streams'>"
    ).encode()


def answer(raw: Raw) -> tuple[str, str]:
    """Id and condition of the next stanza, which must be an error."""
    stanza: Element = raw.element()
    assert stanza.get("type") == "error", stanza.attrib
    error = stanza.find(f"{{{ACCEPT}}}error")
    assert error is not None
    return stanza.get("id", ""), error[0].tag.removeprefix(STANZAS)


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory, certificates: TestAuthority) -> Iterator[Gated]:
    folder = tmp_path_factory.mktemp("gated")
    secret = folder / "secret"
    secret.write_text(SECRET)
    port = free_port("127.0.0.1")
    settings: dict[str, dict[str, Any]] = {
        "listen": {"component": [f"tcp:{port}:interface=127.0.0.1"]},
        "components": {"secret_files": {DOMAIN: str(secret), f"fax.{LIBRARY}": str(secret)}},
        "c2s": {"unauthenticated_timeout": 1, "require_tls": False, "plain_without_tls": True},
        "limits": {"connections_per_ip": 3, "c2s_bytes_per_second": 0},
    }
    with LiveServer(folder / "server", certificates, {LIBRARY: ["mia"]}, settings) as server:
        yield Gated(server, port)


@pytest.fixture
def gateway(gated: Gated) -> Iterator[Raw]:
    """A component, and nothing unexpected in the log."""
    with gated.server.watched():
        yield gated.attached()


@pytest.fixture(autouse=True)
def unharmed(gated: Gated) -> Iterator[None]:
    """Whatever happens, the next component attaches and speaks to an account."""
    with gated.server.watched():
        yield
        raw = gated.attached()
        raw.send(f"<iq type='get' id='p' {FROM} to='{LIBRARY}'><ping xmlns='urn:xmpp:ping'/></iq>")
        raw.expect(rb"<iq [^>]*type='result'")


@pytest.mark.parametrize(
    ("data", "condition"),
    [
        (header(content="jabber:client"), "invalid-namespace"),
        (header(content="jabber:server"), "invalid-namespace"),
        (header(content="jabber:component:connect"), "invalid-namespace"),
        (header(LIBRARY), "host-unknown"),
        (header(f"rooms.{LIBRARY}"), "host-unknown"),
        (header("&lt;script&gt;"), "improper-addressing"),
        (header("a@b@c"), "improper-addressing"),
        (b"<stream:stream xmlns='jabber:component:accept' xmlns:stream='x'>", "invalid-namespace"),
        (b"<!DOCTYPE x [<!ENTITY a 'b'>]>", "restricted-xml"),
        (b"GET / HTTP/1.1\r\n\r\n", "not-well-formed"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "not-well-formed"),
        (b"<a" + b" " * 10_100, "policy-violation"),
        (header() + b"<handshake>" + b"0" * 40 + b"</handshake>", "not-authorized"),
        (header() + b"<handshake/>", "not-authorized"),
        (header() + f"<message {FROM} {TO}><body>Hi</body></message>".encode(), "not-authorized"),
        (header() + b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", "not-authorized"),
        (header() + b"<handshake>" + b"0" * 10_100, "policy-violation"),
        (header() + b"<handshake>&a;</handshake>", "restricted-xml"),
        (header() + b"<a>" * 200, "policy-violation"),
    ],
)
def test_before_the_handshake(gated: Gated, data: bytes, condition: str):
    """The defined error, and the connection is closed."""
    raw = gated.connect()
    raw.try_send(data)
    raw.failed(condition)


def test_a_slow_handshake_ends(gated: Gated):
    """With a header, or without one, or letter by letter."""
    silent = gated.connect()
    opened, _ = gated.open()
    slow, _ = gated.open()
    slow.send(b"<handshake>0")
    for raw in (silent, opened, slow):
        raw.failed("connection-timeout")


def test_one_address_has_only_so_many_connections(gated: Gated):
    """The others are closed unheard; other addresses are not affected."""
    first = [gated.connect("127.44.0.1") for _ in range(3)]
    assert gated.connect("127.44.0.1").closed() == b""
    gated.connect("127.44.0.2").send(header())
    for raw in first:
        raw.failed("connection-timeout")


def test_a_proof_is_of_no_use_on_another_stream(gated: Gated):
    """What was overheard cannot be sent again."""
    _, id = gated.open()
    raw, _ = gated.open()
    raw.send(f"<handshake>{digest(id, SECRET)}</handshake>")
    raw.failed("not-authorized")


@pytest.mark.parametrize(
    ("data", "condition"),
    [
        (f"<message from='mia@{LIBRARY}' {TO}/>", "invalid-from"),
        (
            f"<iq from='{LIBRARY}' {TO} type='set' id='1'><query xmlns='jabber:iq:roster'/></iq>",
            "invalid-from",
        ),
        (f"<presence from='1@fax.{LIBRARY}' {TO}/>", "invalid-from"),
        (f"<message from='a@b.{DOMAIN}' {TO}/>", "invalid-from"),
        (f"<presence {FROM}/>", "improper-addressing"),
        (f"<presence {TO}/>", "improper-addressing"),
        (f"<presence from='a b@{DOMAIN}' {TO}/>", "improper-addressing"),
        ("<handshake/>", "policy-violation"),
        (f"<route {FROM} {TO}/>", "unsupported-stanza-type"),
        (f"<message xmlns='jabber:server' {FROM} {TO}/>", "unsupported-stanza-type"),
        ("<?php ?>", "restricted-xml"),
        (f"<message {FROM} {TO}><!-- --></message>", "restricted-xml"),
        ("</message>", "not-well-formed"),
        (f"<message {FROM} {TO}><body>{'a' * 263_000}", "policy-violation"),
        (f"<message {FROM} {TO}>" + "<a>" * 120, "policy-violation"),
    ],
)
def test_afterwards(gated: Gated, gateway: Raw, data: str, condition: str):
    """A stream that breaks the rules ends, and the component is away."""
    gateway.try_send(data.encode())
    gateway.failed(condition)
    mia = gated.server.online(f"mia@{LIBRARY}/desk")
    error = mia.ask("get", "<ping xmlns='urn:xmpp:ping'/>", DOMAIN).find("{jabber:client}error")
    assert error is not None
    assert error[0].tag == f"{STANZAS}remote-server-timeout"


def test_a_stanzas_own_fault_is_answered(gateway: Raw):
    """The stream goes on."""
    gateway.send(f"<message {FROM} to='a b@c' id='1'><body>Hi</body></message>")
    assert answer(gateway) == ("1", "jid-malformed")
    gateway.send(f"<iq {FROM} {TO} type='get' id='2'/>")
    assert answer(gateway) == ("2", "bad-request")
    gateway.send(f"<iq {FROM} to='{LIBRARY}' type='get' id='3'><x xmlns='y'/></iq>")
    assert answer(gateway) == ("3", "service-unavailable")
    gateway.send(f"<iq {FROM} {TO} type='get' id='4'><query xmlns='jabber:iq:roster'/></iq>")
    assert answer(gateway) == ("4", "forbidden")


def test_forgeries_of_the_servers_words_are_stripped(gated: Gated, gateway: Raw):
    """A component is trusted with its own addresses only."""
    mia = gated.server.online(f"mia@{LIBRARY}/desk")
    gateway.send(
        f"<message {FROM} {TO} type='chat'><body>Hi</body>"
        f"<stanza-id xmlns='urn:xmpp:sid:0' by='mia@{LIBRARY}' id='forged'/>"
        "<received xmlns='urn:xmpp:carbons:2'/></message>"
    )
    message = mia.stanza("message")
    assert [child.tag for child in message] == ["{jabber:client}body"]


def test_a_component_that_does_not_read_is_cut_off(gated: Gated, gateway: Raw):
    """What waits for it is bounded; its patrons' contacts are told that it is away."""
    mia = gated.server.online(f"mia@{LIBRARY}/desk")
    before, known = gated.server.memory(), len(gated.server.process.log)
    words = f"<message to='+431@{DOMAIN}'><body>{'a' * 9_000}</body></message>".encode()
    for _ in range(200):
        mia.send(words * 20)
        mia.ask("get", "<ping xmlns='urn:xmpp:ping'/>", LIBRARY)
        if "is away" in gated.server.process.log[known:]:
            break
    mia.send(words)
    error = mia.stanza("message").find("{jabber:client}error")
    assert error is not None
    assert error[0].tag == f"{STANZAS}remote-server-timeout"
    assert gated.server.memory() - before < 40_000_000
