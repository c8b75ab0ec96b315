"""Bad XML and bad stream headers over a real socket: the defined stream error, and nobody else harmed.

Each row is sent by a stranger, who has only opened a stream, and by a session.
"""

from __future__ import annotations

import pytest

from tests.server.live import STREAM, LiveServer, Raw, header

pytestmark = pytest.mark.usefixtures("unharmed")

HEADER = header()
BODY = b"<message to='mia@library.example'><body>%s</body></message>"


def message(body: bytes) -> bytes:
    return BODY % body


@pytest.fixture(params=["stranger", "session"])
def raw(request: pytest.FixtureRequest, live: LiveServer) -> Raw:
    return live.open() if request.param == "stranger" else live.login("eve@library.example/lab")


# -- what comes before the stream ----------------------------------------------------


def root(more: str, prolog: str = "", end: str = ">") -> bytes:
    """A header made of these attributes."""
    return f"{prolog}<stream:stream {more}{end}".encode()


NAMESPACES = f"xmlns='jabber:client' xmlns:stream='{STREAM}'"
GOOD = f"to='library.example' version='1.0' {NAMESPACES}"

BEGINNINGS = {
    "a DOCTYPE": (b"<!DOCTYPE x [<!ENTITY a 'b'>]>" + HEADER[21:], "restricted-xml"),
    "a DOCTYPE after the declaration": (root(GOOD, "<?xml version='1.0'?><!DOCTYPE x>"), "restricted-xml"),
    "a comment": (root(GOOD, "<!-- hello -->"), "restricted-xml"),
    "a processing instruction": (root(GOOD, "<?php phpinfo() ?>"), "restricted-xml"),
    "a request of HTTP": (b"GET / HTTP/1.1\r\nHost: library.example\r\n\r\n", "not-well-formed"),
    "a TLS handshake": (bytes.fromhex("16030100fa010000f60303") + bytes(200), "not-well-formed"),
    "XML 1.1": (root(GOOD, "<?xml version='1.1'?>"), "not-well-formed"),
    "UTF-16 declared": (root(GOOD, "<?xml version='1.0' encoding='UTF-16'?>"), "unsupported-encoding"),
    "Latin-1 declared": (root(GOOD, "<?xml version='1.0' encoding='iso-8859-1'?>"), "unsupported-encoding"),
    "UTF-16": (HEADER.decode().encode("utf-16"), "unsupported-encoding"),
    "bad UTF-8": (root(GOOD).replace(b"1.0", b"\xff"), "not-well-formed"),
    "an unbound prefix": (root("to='library.example' version='1.0'"), "not-well-formed"),
    "an attribute twice": (root(f"to='a.example' {GOOD}"), "not-well-formed"),
    "an undefined entity": (root(GOOD.replace("1.0", "&one;")), "restricted-xml"),
    "a wrong stream namespace": (root(GOOD.replace(STREAM, "urn:other")), "invalid-namespace"),
    "the content namespace of servers": (header(content="jabber:server"), "invalid-namespace"),
    "a foreign content namespace": (header(content="urn:other"), "invalid-namespace"),
    "no content namespace": (root(GOOD.replace("xmlns='jabber:client'", "")), "invalid-namespace"),
    "another root": (root(GOOD).replace(b"<stream:stream", b"<stream:flow"), "bad-format"),
    "no to": (root(f"version='1.0' {NAMESPACES}"), "improper-addressing"),
    "an empty to": (header(to=""), "improper-addressing"),
    "a malformed to": (header(to="@library.example"), "improper-addressing"),
    "a to of 2000 bytes": (header(to="a" * 2000), "improper-addressing"),
    "an unknown host": (header(to="elsewhere.example"), "host-unknown"),
    "a person as host": (header(to="mia@library.example"), "host-unknown"),
    "a service's host": (header(to="rooms.library.example"), "host-unknown"),
    "no version": (root(f"to='library.example' {NAMESPACES}"), "unsupported-version"),
    "version 0.9": (header(version="0.9"), "unsupported-version"),
    "a version that is none": (header(version="new"), "unsupported-version"),
    "201 attributes": (root(" ".join(f"a{n}=''" for n in range(201)), end=""), "policy-violation"),
    "no end within 10 kB": (root(f"{GOOD} a='{'x' * 10_001}", end=""), "policy-violation"),
}


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_a_bad_beginning_is_answered_by_a_header_and_the_error(live: LiveServer, beginning: str) -> None:
    data, condition = BEGINNINGS[beginning]
    raw = live.connect()
    raw.send(data)
    raw.failed(condition)


def test_a_later_version_agrees_on_ours(live: LiveServer) -> None:
    assert b" version='1.0'" in live.connect().open(version="2.0")


def test_whitespace_and_a_declared_utf_8_are_no_faults(live: LiveServer) -> None:
    raw = live.connect()
    raw.send(root(GOOD, "<?xml version='1.0' encoding='utf-8'?>\n ") + b" \n")
    raw.expect(b"</stream:features>")


def test_who_ends_the_stream_at_once_gets_the_end_of_ours(live: LiveServer) -> None:
    raw = live.connect()
    raw.send(HEADER + b"</stream:stream>")
    assert raw.closed().endswith(b"</stream:features></stream:stream>")


def test_a_stream_error_of_the_client_ends_the_stream(raw: Raw) -> None:
    raw.send(b"<stream:error><reset xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>")
    assert raw.closed().endswith(b"</stream:stream>")


# -- what comes in it ------------------------------------------------------------------

FAULTS = {
    "a DOCTYPE": (b"<!DOCTYPE a>", "restricted-xml"),
    "a comment between stanzas": (b"<!-- a -->", "restricted-xml"),
    "a comment in a stanza": (message(b"<!-- a -->"), "restricted-xml"),
    "an instruction between stanzas": (b"<?a b?>", "restricted-xml"),
    "an instruction in a stanza": (message(b"<?a b?>"), "restricted-xml"),
    "a declaration": (b"<?xml version='1.0'?>", "restricted-xml"),
    "CDATA between stanzas": (b"<![CDATA[a]]>", "restricted-xml"),
    "an undefined entity": (message(b"&a;"), "restricted-xml"),
    "text between stanzas": (b"hello<presence/>", "bad-format"),
    "a bad byte": (message(b"\xff"), "not-well-formed"),
    "an overlong form": (message(b"\xc0\xaf"), "not-well-formed"),
    "a surrogate": (message(b"\xed\xa0\x80"), "not-well-formed"),
    "a code point above all": (message(b"\xf4\x90\x80\x80"), "not-well-formed"),
    "a NUL": (message(b"\x00"), "not-well-formed"),
    "an escape": (message(b"\x1b[31m"), "not-well-formed"),
    "U+FFFF": (message(b"\xef\xbf\xbf"), "not-well-formed"),
    "a reference to U+0000": (message(b"&#0;"), "not-well-formed"),
    "a reference to U+0001": (message(b"&#1;"), "not-well-formed"),
    "a reference to U+FFFF": (message(b"&#xFFFF;"), "not-well-formed"),
    "a reference to a surrogate": (message(b"&#xD800;"), "not-well-formed"),
    "an open reference": (message(b"&amp"), "not-well-formed"),
    "a mismatched tag": (message(b"<b></i>"), "not-well-formed"),
    "the end of nothing": (b"</message>", "not-well-formed"),
    "an unbound prefix": (message(b"<a:b/>"), "not-well-formed"),
    "an attribute twice": (b"<message to='a.example' to='b.example'/>", "not-well-formed"),
    "a value without quotes": (b"<message to=a.example/>", "not-well-formed"),
    "an opening in a tag": (b"<message <presence/>", "not-well-formed"),
    "a nested end of CDATA": (message(b"]]>"), "not-well-formed"),
    "101 levels": (b"<message>" + b"<a>" * 100, "policy-violation"),
    "201 attributes": (b"<message " + b" ".join(b"a%d=''" % n for n in range(201)), "policy-violation"),
    "201 declarations": (
        b"<message " + b" ".join(b"xmlns:a%d='u'" % n for n in range(201)),
        "policy-violation",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_xml_ends_the_stream(raw: Raw, fault: str) -> None:
    data, condition = FAULTS[fault]
    raw.send(data)
    raw.failed(condition)


def test_the_stanza_before_the_fault_is_processed(live: LiveServer) -> None:
    mia, eve = live.online("mia@library.example/now"), live.login("eve@library.example/lab")
    eve.send(b"<message to='mia@library.example' id='before'><body/></message><!-- -->")
    assert mia.stanza("message").get("id") == "before"
    eve.failed("restricted-xml")


# -- limits ------------------------------------------------------------------------------


def test_a_stranger_may_send_10_kb_in_one_element(live: LiveServer) -> None:
    raw = live.open()
    raw.send(b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='NONE'>" + b"A" * 9_900 + b"</auth>")
    raw.expect(b"<invalid-mechanism")


def test_a_stranger_who_sends_more_is_stopped_before_the_element_ends(live: LiveServer) -> None:
    raw = live.open()
    raw.send(b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>" + b"A" * 9_940)
    raw.failed("policy-violation")


def test_a_session_may_send_a_stanza_of_256_kb(live: LiveServer) -> None:
    eve = live.online("eve@library.example/lab")
    text = b"x" * (262_144 - 80)
    eve.send(b"<message to='eve@library.example'><body>" + text + b"</body></message>")
    assert len(eve.stanza("message")[0].text or "") == len(text)


@pytest.mark.parametrize(
    "opening",
    [b"<message to='mia@library.example'><body>", b"<message to='", b"<message><a>&amp;<![CDATA["],
    ids=["text", "attribute", "CDATA"],
)
def test_a_session_that_sends_more_is_stopped_before_the_stanza_ends(
    live: LiveServer, opening: bytes
) -> None:
    eve = live.login("eve@library.example/lab")
    eve.send(opening + b"x" * 262_144)
    eve.failed("policy-violation")


def test_a_stanza_that_never_ends_costs_no_more_than_the_limit(live: LiveServer) -> None:
    """Sent on and on, in pieces, without a pause for the answer."""
    eve = live.login("eve@library.example/lab")
    eve.send(b"<message>")
    before = live.memory()
    sent = 0
    while eve.try_send(b"<a>hello</a>" * 1000) and sent < 50_000_000:
        sent += 12_000
        if b"policy-violation" in eve.received():
            break
    eve.failed("policy-violation")
    assert live.memory() - before < 8_000_000


def test_stanzas_are_limited_one_by_one(live: LiveServer) -> None:
    """Many in one write are no large one."""
    eve = live.login("eve@library.example/lab")
    eve.send(b"<iq type='get' id='x'><ping xmlns='urn:xmpp:ping'/></iq>" * 5_000)
    assert 5_000 == sum(1 for _ in range(5_000) if eve.stanza("iq", "x").get("type") == "result")
