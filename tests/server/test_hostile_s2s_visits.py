"""Servers that we connect to and that answer badly: our stream ends, what mia wrote is kept or returned.

Each fault is tried in the place of the header, of the features, under TLS, and once the stream stands.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.server.live import SASL, STREAM, TLS
from tests.server.strangers import (
    LIBRARY,
    OFFER_DIALBACK,
    OFFER_EXTERNAL,
    OFFER_TLS,
    SUCCESS,
    Door,
    Stranger,
    Town,
    Visit,
    dialback,
    features,
    header,
    message,
)
from tests.server.test_hostile_xml import FAULTS

PEER = "n1.town.example"
MORE = "id='s1' version='1.0'"
HEADER = header(PEER, LIBRARY, MORE)


@pytest.fixture(autouse=True)
def unharmed(town: Town) -> Iterator[None]:
    with town.unharmed():
        yield


@pytest.fixture
def stranger(town: Town) -> Stranger:
    return town.stranger()


@pytest.fixture
def door(town: Town, stranger: Stranger) -> Iterator[Door]:
    """Mia has written to somebody there."""
    with stranger.at_home() as door:
        town.write_to(stranger)
        yield door


@pytest.fixture(params=["features are due", "TLS features are due", "SASL is due", "it stands"])
def visit(request: pytest.FixtureRequest, town: Town, door: Door) -> Visit:
    """Our stream, as far as the parameter says."""
    visit = door.answer()
    if request.param == "it stands":
        visit.serve()
        visit.expect(b"</message>")
        return visit
    if request.param != "features are due":
        visit.shake_hands()
    visit.greeted()
    visit.send(header(visit.name, LIBRARY, MORE))
    if request.param == "SASL is due":
        visit.send(features(OFFER_EXTERNAL))
        visit.expect(b"</auth>")
    return visit


def root(more: str, prolog: str = "", end: str = ">") -> bytes:
    return f"{prolog}<stream:stream {more}{end}".encode()


NAMESPACES = f"xmlns='jabber:server' xmlns:stream='{STREAM}'"
GOOD = f"from='{PEER}' to='{LIBRARY}' {MORE} {NAMESPACES}"

BEGINNINGS = {
    "a DOCTYPE": (b"<!DOCTYPE x [<!ENTITY a 'b'>]>" + HEADER[21:], "restricted-xml"),
    "a comment": (root(GOOD, "<!-- hello -->"), "restricted-xml"),
    "a processing instruction": (root(GOOD, "<?php phpinfo() ?>"), "restricted-xml"),
    "a greeting of SMTP": (b"220 mail.example ESMTP\r\n", "not-well-formed"),
    "an answer of HTTP": (b"HTTP/1.1 400 Bad Request\r\n\r\n<html>", "not-well-formed"),
    "an alert of TLS": (bytes.fromhex("15030100020228"), "not-well-formed"),
    "UTF-16 declared": (root(GOOD, "<?xml version='1.0' encoding='UTF-16'?>"), "unsupported-encoding"),
    "UTF-16": (HEADER.decode().encode("utf-16"), "unsupported-encoding"),
    "bad UTF-8": (root(GOOD).replace(b"1.0", b"\xff"), "not-well-formed"),
    "an undefined entity": (root(GOOD.replace("1.0", "&one;")), "restricted-xml"),
    "a wrong stream namespace": (root(GOOD.replace(STREAM, "urn:other")), "invalid-namespace"),
    "the content namespace of clients": (
        root(GOOD.replace("jabber:server", "jabber:client")),
        "invalid-namespace",
    ),
    "another root": (root(GOOD).replace(b"<stream:stream", b"<stream:flow"), "bad-format"),
    "no version": (root(GOOD.replace("version='1.0'", "")), "unsupported-version"),
    "version 0.9": (root(GOOD.replace("'1.0'", "'0.9'")), "unsupported-version"),
    "201 attributes": (root(" ".join(f"a{n}=''" for n in range(201)), end=""), "policy-violation"),
    "no end within 10 kB": (root(f"{GOOD} a='{'x' * 10_001}", end=""), "policy-violation"),
}


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_a_bad_beginning_ends_our_stream(door: Door, beginning: str) -> None:
    data, condition = BEGINNINGS[beginning]
    visit = door.answer()
    visit.greeted()
    visit.send(data)
    visit.failed(condition)


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_xml_ends_our_stream(visit: Visit, fault: str) -> None:
    data, condition = FAULTS[fault]
    visit.send(data)
    visit.failed(condition)


LIMITS = {
    "features that never end": b"<stream:features><a>" + b"x" * 10_000,
    "an attribute of 300 kB": b"<stream:features a='" + b"x" * 300_000,
}


@pytest.mark.parametrize("row", LIMITS)
def test_who_is_not_proved_sends_10_kb_at_most(town: Town, door: Door, row: str) -> None:
    visit = door.answer()
    visit.greeted()
    visit.send(header(visit.name, LIBRARY, MORE))
    visit.try_send(LIMITS[row])
    visit.failed("policy-violation")


def test_who_is_proved_sends_256_kb_at_most_before_the_stanza_ends(door: Door) -> None:
    visit = door.answer()
    visit.serve()
    visit.expect(b"</message>")
    visit.try_send(b"<message><body>" + b"x" * 262_144)
    visit.failed("policy-violation")


UNWANTED = {
    "a message": (message("pat@{0}"), "not-authorized"),
    "an iq": (b"<iq type='get' id='1' from='{0}' to='library.example'><a xmlns='b'/></iq>", "not-authorized"),
    "something foreign": (b"<a xmlns='urn:b'/>", "unsupported-stanza-type"),
    "a challenge": (f"<challenge xmlns='{SASL}'/>".encode(), "unsupported-stanza-type"),
    "our own starttls": (f"<starttls xmlns='{TLS}'/>".encode(), "unsupported-stanza-type"),
    "proceed": (f"<proceed xmlns='{TLS}'/>".encode(), "unsupported-stanza-type"),
}


@pytest.mark.parametrize("row", UNWANTED)
def test_who_was_not_asked_is_not_heard(visit: Visit, row: str) -> None:
    """Not even once the stream stands: nothing comes in on a stream of ours without bidi."""
    data, condition = UNWANTED[row]
    visit.send(data.replace(b"{0}", visit.name.encode()))
    visit.failed(condition)


UNASKED = {
    "a valid key": dialback("result", "{0}", LIBRARY, type="valid"),
    "an invalid key": dialback("result", "{0}", LIBRARY, type="invalid"),
    "a verdict": dialback("verify", "{0}", LIBRARY, type="valid", id="s1"),
    "a key": dialback("result", "{0}", LIBRARY, "k"),
    "a question": dialback("verify", "{0}", LIBRARY, "k", id="s1"),
}


@pytest.mark.parametrize("row", UNASKED)
def test_an_answer_that_nobody_asked_for_ends_our_stream(door: Door, row: str) -> None:
    """An attack, says XEP-0220 4."""
    visit = door.answer()
    visit.serve()
    visit.expect(b"</message>")
    visit.send(UNASKED[row].replace(b"{0}", visit.name.encode()))
    visit.failed("policy-violation")


# -- TLS ---------------------------------------------------------------------------------------


def test_what_comes_behind_proceed_in_plain_is_never_read(door: Door) -> None:
    """An attacker who puts bytes there must not be taken for the server (CVE-2011-0411)."""
    visit = door.answer()
    visit.greeted()
    visit.answer(OFFER_TLS)
    visit.expect(rb"<starttls [^>]*/>")
    evil = header(visit.name, LIBRARY, MORE) + features() + message(f"pat@{visit.name}")
    visit.send(f"<proceed xmlns='{TLS}'/>".encode() + evil)
    visit.secure()
    visit.greeted()
    visit.answer(OFFER_EXTERNAL)
    visit.expect(rb"</auth>")


def test_plain_bytes_in_place_of_the_handshake_end_the_connection(door: Door) -> None:
    visit = door.answer()
    visit.greeted()
    visit.answer(OFFER_TLS)
    visit.expect(rb"<starttls [^>]*/>")
    visit.send(f"<proceed xmlns='{TLS}'/>")
    visit._parse = lambda data: None  # type: ignore[method-assign]  # what comes is no XML
    visit.expect(b"\x16\x03")  # we shake hands
    visit.send(HEADER + features())
    assert b"stream:" not in visit.closed()


@pytest.mark.parametrize("among", ["town", "believing_town"])
def test_a_server_that_offers_no_tls_is_left(request: pytest.FixtureRequest, among: str) -> None:
    town: Town = request.getfixturevalue(among)
    stranger = town.stranger()
    with stranger.at_home() as door:
        town.write_to(stranger)
        visit = door.answer()
        visit.greeted()
        visit.answer(OFFER_EXTERNAL, OFFER_DIALBACK)
        assert b"</stream:stream>" == visit.closed()
        assert "remote-server-not-found" == town.returned(stranger)
        assert 0 == door.visitors()


@pytest.mark.parametrize("among", ["town", "believing_town"])
def test_a_server_that_offers_tls_and_cannot_is_left(request: pytest.FixtureRequest, among: str) -> None:
    town: Town = request.getfixturevalue(among)
    stranger = town.stranger()
    with stranger.at_home() as door:
        town.write_to(stranger)
        visit = door.answer()
        visit.greeted()
        visit.answer(OFFER_TLS)
        visit.expect(rb"<starttls [^>]*/>")
        visit.send(f"<failure xmlns='{TLS}'/>")
        assert b"</stream:stream>" == visit.closed()


def test_tls_is_not_started_twice(town: Town, door: Door, stranger: Stranger) -> None:
    """Who offers it again under TLS is asked for something else."""
    visit = door.answer()
    visit.shake_hands()
    visit.greeted()
    visit.answer(OFFER_TLS)
    assert b"</stream:stream>" == visit.closed()
    assert "remote-server-not-found" == town.returned(stranger)


# -- what becomes of the message ---------------------------------------------------------------

REFUSALS = {
    "host-unknown": "remote-server-not-found",
    "host-gone": "remote-server-not-found",
    "not-authorized": "remote-server-not-found",
    "invalid-from": "remote-server-not-found",
    "unsupported-version": "remote-server-not-found",
}


@pytest.mark.parametrize("condition", REFUSALS)
def test_a_server_that_will_not_have_us_is_believed_at_once(
    town: Town, stranger: Stranger, door: Door, condition: str
) -> None:
    visit = door.answer()
    visit.greeted()
    visit.answer(OFFER_TLS)
    error = f"<{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"
    visit.send(f"<stream:error>{error}</stream:error></stream:stream>")
    assert visit.closed().endswith(b"</stream:stream>")
    assert REFUSALS[condition] == town.returned(stranger)
    assert 0 == door.visitors()


def test_who_is_in_trouble_is_tried_again_and_the_message_arrives(
    town: Town, stranger: Stranger, door: Door
) -> None:
    """Once broken off without a word, once by an error; all is well the third time."""
    door.answer().hang_up()
    visit = door.answer()
    visit.greeted()
    visit.send(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
    visit.failed("not-well-formed")
    visit.hang_up()
    visit = door.answer()
    visit.serve()
    assert stranger.domain.encode() in visit.expect(b"</message>")


def test_a_server_that_takes_our_certificate_and_then_does_not_is_left(
    town: Town, stranger: Stranger, door: Door
) -> None:
    visit = door.answer()
    visit.shake_hands()
    visit.greeted()
    visit.answer(OFFER_EXTERNAL)
    visit.expect(b"</auth>")
    visit.send(f"<failure xmlns='{SASL}'><not-authorized/></failure>")
    visit.closed()
    assert "remote-server-not-found" == town.returned(stranger)


def test_success_that_was_not_asked_for_is_none(door: Door) -> None:
    visit = door.answer()
    visit.shake_hands()
    visit.greeted()
    visit.send(header(visit.name, LIBRARY, MORE) + SUCCESS)
    visit.failed("unsupported-stanza-type")
