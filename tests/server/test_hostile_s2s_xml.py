"""Bad XML and bad stream headers from other servers: the defined stream error, and the next server is served.

Each row is sent by a server that has only opened a stream, by one under TLS, and by one that is proved.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.server.live import SASL, STREAM
from tests.server.strangers import LIBRARY, Stream, Town, header, message
from tests.server.test_hostile_xml import FAULTS

HEADER = header()
PEER = "n1.town.example"
NAMESPACES = f"xmlns='jabber:server' xmlns:stream='{STREAM}'"
GOOD = f"from='{PEER}' to='{LIBRARY}' version='1.0' {NAMESPACES}"


@pytest.fixture(autouse=True)
def unharmed(town: Town) -> Iterator[None]:
    with town.unharmed():
        yield


@pytest.fixture(params=["stranger", "under TLS", "proved"])
def stream(request: pytest.FixtureRequest, town: Town) -> Stream:
    stranger = town.stranger()
    if request.param == "stranger":
        return stranger.opened()
    return stranger.secured(town.good) if request.param == "under TLS" else stranger.proved()


def root(more: str, prolog: str = "", end: str = ">") -> bytes:
    """A header made of these attributes."""
    return f"{prolog}<stream:stream {more}{end}".encode()


BEGINNINGS = {
    "a DOCTYPE": (b"<!DOCTYPE x [<!ENTITY a 'b'>]>" + HEADER[21:], "restricted-xml"),
    "entities that grow": (
        b"<!DOCTYPE x [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;'>]><x>&b;</x>",
        "restricted-xml",
    ),
    "a comment": (root(GOOD, "<!-- hello -->"), "restricted-xml"),
    "a processing instruction": (root(GOOD, "<?php phpinfo() ?>"), "restricted-xml"),
    "a request of HTTP": (b"GET / HTTP/1.1\r\nHost: library.example\r\n\r\n", "not-well-formed"),
    "a TLS handshake": (bytes.fromhex("16030100fa010000f60303") + bytes(200), "not-well-formed"),
    "UTF-16 declared": (root(GOOD, "<?xml version='1.0' encoding='UTF-16'?>"), "unsupported-encoding"),
    "Latin-1 declared": (root(GOOD, "<?xml version='1.0' encoding='iso-8859-1'?>"), "unsupported-encoding"),
    "UTF-16": (HEADER.decode().encode("utf-16"), "unsupported-encoding"),
    "bad UTF-8": (root(GOOD).replace(b"1.0", b"\xff"), "not-well-formed"),
    "an undefined entity": (root(GOOD.replace("1.0", "&one;")), "restricted-xml"),
    "a wrong stream namespace": (root(GOOD.replace(STREAM, "urn:other")), "invalid-namespace"),
    "the content namespace of clients": (
        root(GOOD.replace("jabber:server", "jabber:client")),
        "invalid-namespace",
    ),
    "a foreign content namespace": (root(GOOD.replace("jabber:server", "urn:other")), "invalid-namespace"),
    "no content namespace": (root(GOOD.replace("xmlns='jabber:server'", "")), "invalid-namespace"),
    "another root": (root(GOOD).replace(b"<stream:stream", b"<stream:flow"), "bad-format"),
    "no to": (header(to=""), "improper-addressing"),
    "a malformed to": (header(to="@library.example"), "improper-addressing"),
    "a to of 2000 bytes": (header(to="a" * 2000), "improper-addressing"),
    "a to of controls": (header(to="a&#x9f;b"), "improper-addressing"),
    "an unknown host": (header(to="elsewhere.example"), "host-unknown"),
    "the sender's own host": (header(to=PEER), "host-unknown"),
    "a person as host": (header(to="mia@library.example"), "host-unknown"),
    "no from": (header(from_=""), "improper-addressing"),
    "a malformed from": (header(from_="@town.example"), "improper-addressing"),
    "a person as sender": (header(from_=f"pat@{PEER}"), "improper-addressing"),
    "a from of markup": (header(from_="&lt;script&gt;"), "improper-addressing"),
    "our own name": (header(from_=LIBRARY), "invalid-from"),
    "our own name in capitals": (header(from_=LIBRARY.upper()), "invalid-from"),
    "our own service": (header(from_=f"rooms.{LIBRARY}"), "invalid-from"),
    "no version": (header(more=""), "unsupported-version"),
    "version 0.9": (header(more="version='0.9'"), "unsupported-version"),
    "201 attributes": (root(" ".join(f"a{n}=''" for n in range(201)), end=""), "policy-violation"),
    "no end within 10 kB": (root(f"{GOOD} a='{'x' * 10_001}", end=""), "policy-violation"),
}


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_a_bad_beginning_is_answered_by_a_header_and_the_error(town: Town, beginning: str) -> None:
    data, condition = BEGINNINGS[beginning]
    stream = town.stranger().connect()
    stream.send(data)
    stream.failed(condition)


def test_a_later_version_agrees_on_ours(town: Town) -> None:
    stream = town.stranger().connect()
    stream.open(more="version='2.0'")
    assert stream._root.get("version") == "1.0"


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_xml_ends_the_stream(stream: Stream, fault: str) -> None:
    data, condition = FAULTS[fault]
    stream.send(data)
    stream.failed(condition)


def test_the_stanza_before_the_fault_is_processed(town: Town) -> None:
    stranger = town.stranger()
    stream = stranger.proved()
    town.mia.send("<presence/>")
    stream.send(message(f"pat@{stranger.domain}", body=stranger.domain) + b"<!-- -->")
    while stranger.domain not in (town.mia.stanza("message").findtext("{jabber:client}body") or ""):
        pass
    stream.failed("restricted-xml")


# -- limits ------------------------------------------------------------------------------


def test_a_server_that_is_not_proved_is_stopped_at_10_kb_before_the_element_ends(town: Town) -> None:
    for stream in (town.stranger().opened(), town.stranger().secured(town.good)):
        stream.send(f"<auth xmlns='{SASL}' mechanism='EXTERNAL'>".encode() + b"A" * 9_940)
        stream.failed("policy-violation")


def test_a_proved_server_may_send_a_stanza_of_256_kb(town: Town) -> None:
    stranger = town.stranger()
    stream = stranger.proved(bidi=True)
    frame = message(f"pat@{stranger.domain}", f"nobody@{LIBRARY}", "%s")
    stream.send(frame % (b"x" * (262_144 - len(frame))))
    assert stream.ask().get("type") == "result"


@pytest.mark.parametrize(
    "opening",
    [b"<message to='mia@library.example'><body>", b"<message to='", b"<message><a>&amp;<![CDATA["],
    ids=["text", "attribute", "CDATA"],
)
def test_a_proved_server_is_stopped_at_the_limit_before_the_stanza_ends(town: Town, opening: bytes) -> None:
    stream = town.stranger().proved()
    stream.send(opening + b"x" * 262_144)
    stream.failed("policy-violation")


def test_a_stanza_that_never_ends_costs_no_more_than_the_limit(town: Town) -> None:
    """Sent on and on, in pieces, without a pause for the answer."""
    stream = town.stranger().proved()
    stream.send(b"<message>")
    before = town.server.memory()
    sent = 0
    while stream.try_send(b"<a>hello</a>" * 1000) and sent < 50_000_000:
        sent += 12_000
        if b"policy-violation" in stream.received():
            break
    stream.failed("policy-violation")
    assert town.server.memory() - before < 8_000_000
