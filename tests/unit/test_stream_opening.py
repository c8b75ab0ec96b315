"""A stream's beginning: headers, and what is wrong with them."""

from __future__ import annotations

import re

import pytest

from refserver.stream.events import StreamFailed
from tests.unit.stream_shell import HEADER, Shell, header, opened


def error_of(answer: bytes) -> str:
    """The condition after a whole answer header, checked to be followed by the closing tag."""
    match = re.fullmatch(
        rb"<\?xml version='1.0'\?><stream:stream [^>]* id='[^']+' from='[^']*'[^>]* version='1.0'"
        rb" xml:lang='en'>"
        rb"<stream:error><([a-z-]+) xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>.*</stream:error>"
        rb"</stream:stream>",
        answer,
    )
    assert match is not None, answer
    return match[1].decode()


def test_the_header_is_answered_with_ours_and_the_features():
    answer = Shell().send(HEADER)
    match = re.match(
        rb"<\?xml version='1.0'\?><stream:stream xmlns='jabber:client'"
        rb" xmlns:stream='http://etherx.jabber.org/streams' id='[A-Za-z0-9_-]{20,}' from='library.example'"
        rb" version='1.0' xml:lang='en'><stream:features><",
        answer,
    )
    assert match is not None
    assert answer.endswith(b"</stream:features>")


def test_each_stream_has_an_id_of_its_own():
    assert opened().stream.id != opened().stream.id


def test_the_domain_is_prepared():
    shell = Shell()
    assert b" from='library.example' " in shell.send(header("LIBRARY.example"))
    assert shell.stream.host.text == "library.example"


@pytest.mark.parametrize(
    "from_, to", [("Pat@Library.example", b" to='pat@library.example'"), ("p at@x", b""), ("", b"")]
)
def test_a_peer_that_names_itself_is_addressed(from_, to):
    answer = Shell().send(header(more=f" from='{from_}'"))
    assert b" from='library.example'" + to + b" version=" in answer


def test_what_is_repeated_is_escaped():
    answer = Shell().send(header(more=""" from="library.example/a&apos;b&lt;c" """))
    assert b" to='library.example/a&apos;b&lt;c'" in answer


@pytest.mark.parametrize("version", ["1.0", "1.1", "2.0", "01.0", "10.3"])
def test_any_version_from_1_0_on_agrees_on_1_0(version):
    shell = Shell()
    assert b" version='1.0' " in shell.send(header(version=version))
    assert not shell.events


@pytest.mark.parametrize("version", [None, "", "0.9", "1", "one", "-1.0", "1.0.0", "1.0\n", "9" * 99 + ".0"])
def test_an_older_or_unreadable_version_is_unsupported(version):
    shell = Shell()
    assert "unsupported-version" == error_of(shell.send(header(version=version)))
    assert shell.stream.closed


@pytest.mark.parametrize("to", [None, "", "@library.example", "a b", "library.example/", "x" * 1024])
def test_a_stream_to_no_address_is_improperly_addressed(to):
    assert "improper-addressing" == error_of(Shell().send(header(to)))


@pytest.mark.parametrize("to", ["unknown.example", "pat@library.example", "library.example/desk"])
def test_a_stream_to_another_host_is_refused_with_an_empty_from(to):
    answer = Shell().send(header(to))
    assert "host-unknown" == error_of(answer)
    assert b" from='' " in answer


@pytest.mark.parametrize(
    "bad",
    [
        header(content="jabber:server"),
        header(content="urn:x"),
        header(content=""),
        header(stream="urn:x"),
        header(stream="http://etherx.jabber.org/streams/"),
        b"<stream to='library.example' version='1.0'>",
    ],
)
def test_wrong_namespaces_are_refused(bad):
    assert "invalid-namespace" == error_of(Shell().send(bad))


@pytest.mark.parametrize(
    "bad, condition",
    [
        (b"GET / HTTP/1.1\r\n\r\n", "not-well-formed"),
        (b"<?xml version='1.0' encoding='ISO-8859-1'?>" + HEADER[21:], "unsupported-encoding"),
        (b"<!DOCTYPE x [<!ENTITY a 'b'>]>", "restricted-xml"),
        (HEADER[:21] + b"<!-- x -->" + HEADER[21:], "restricted-xml"),
        (HEADER[:21] + b"<?x y?>" + HEADER[21:], "restricted-xml"),
        (b"<stream:stream to='library.example'>", "not-well-formed"),
        (HEADER[:-1] + b" to='again'>", "not-well-formed"),
        (HEADER.replace(b"library", b"&library;"), "restricted-xml"),
        (HEADER.replace(b"library", b"\xc0\xaf"), "not-well-formed"),
        (HEADER.replace(b"library", b"&#1;"), "not-well-formed"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 40, "not-well-formed"),
    ],
)
def test_what_is_no_header_is_refused_behind_our_header(bad, condition):
    shell = Shell()
    assert condition == error_of(shell.send(bad))
    assert isinstance(shell.last, StreamFailed)
    assert len(shell.events) == 1


def test_a_header_is_limited_as_it_arrives():
    shell = Shell()
    assert b"" == shell.send(HEADER[:-1] + b" x='" + b"y" * 9_000)
    assert "policy-violation" == error_of(shell.send(b"y" * 1_000))


def test_nothing_is_read_behind_a_fault():
    shell = Shell()
    shell.send(header("unknown.example") + HEADER)
    assert len(shell.events) == 1
    assert b"" == shell.send(HEADER)
    assert len(shell.events) == 1


def test_an_error_of_ours_before_the_header_still_comes_behind_one():
    from refserver.errors import StreamCondition, StreamError

    shell = Shell()
    shell.stream.fail(StreamError(StreamCondition.CONNECTION_TIMEOUT))
    assert "connection-timeout" == error_of(shell.take())


def test_a_second_header_inside_the_stream_is_refused():
    shell = opened()
    shell.send(HEADER[21:])
    shell.send(b"</stream:stream>")
    assert shell.condition == "unsupported-stanza-type"
