"""The end of a stream, from either side."""

from __future__ import annotations

import pytest

from refserver.errors import StreamCondition, StreamError
from refserver.stream.events import StreamClosed, StreamFailed
from tests.unit.stream_shell import HEADER, Shell, authenticated, bound, opened, plain

END = b"</stream:stream>"


@pytest.mark.parametrize("make", [opened, authenticated, bound])
def test_the_peers_closing_tag_is_answered_once(make):
    shell = make()
    assert END == shell.send(END + b"<presence/>")
    assert [StreamClosed()] == shell.events
    assert shell.stream.closed
    assert b"" == shell.send(END)
    shell.stream.close()
    shell.stream.fail(StreamError(StreamCondition.SYSTEM_SHUTDOWN))
    assert b"" == shell.take()
    assert 1 == len(shell.events)


def test_our_closing_tag_is_sent_once_and_the_peers_awaited():
    shell = bound()
    shell.stream.close()
    shell.stream.close()
    assert END == shell.take()
    assert not shell.stream.closed
    assert b"" == shell.send(b"<presence/><message to='@'/>" + END)
    assert [StreamClosed()] == shell.events
    assert shell.stream.closed


def test_what_the_peer_still_sends_is_ignored():
    shell = bound()
    shell.stream.close()
    shell.take()
    shell.send(b"<presence/><x xmlns='urn:x'/><iq from='mia@library.example'/>" + plain())
    assert not shell.events


def test_bad_xml_after_our_closing_tag_ends_it_silently():
    shell = bound()
    shell.stream.close()
    assert END == shell.take()
    assert b"" == shell.send(b"<a></b>")
    assert shell.condition == "not-well-formed"
    assert shell.stream.closed


def test_closing_amid_a_batch_stops_the_stanzas():
    shell = bound()
    events = shell.stream.receive(b"<presence id='1'/><presence id='2'/></stream:stream>")
    next(events)
    shell.stream.close()
    assert [StreamClosed()] == list(events)
    assert END == shell.take()


def test_failing_amid_a_batch_stops_it():
    shell = bound()
    events = shell.stream.receive(b"<presence id='1'/><presence id='2'/></stream:stream>")
    next(events)
    shell.stream.fail(StreamError(StreamCondition.CONFLICT))
    assert [] == list(events)
    assert shell.take().endswith(b"</stream:error>" + END)


def test_an_error_of_ours_closes_the_stream():
    shell = bound()
    shell.stream.fail(StreamError(StreamCondition.SYSTEM_SHUTDOWN, "until tomorrow"))
    answer = shell.take()
    assert answer.startswith(
        b"<stream:error><system-shutdown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/><text "
    )
    assert answer.endswith(b"until tomorrow</text></stream:error>" + END)
    assert shell.stream.closed
    shell.stream.fail(StreamError(StreamCondition.SYSTEM_SHUTDOWN))
    assert b"" == shell.take()


def test_an_error_after_our_closing_tag_is_not_sent():
    shell = bound()
    shell.stream.close()
    assert END == shell.take()
    shell.stream.fail(StreamError(StreamCondition.CONNECTION_TIMEOUT))
    assert b"" == shell.take()
    assert shell.stream.closed


def test_closing_before_the_header_sends_nothing():
    shell = Shell()
    shell.stream.close()
    assert b"" == shell.take()
    assert shell.stream.closed
    assert b"" == shell.send(HEADER)


@pytest.mark.parametrize(
    "error, condition",
    [
        (b"<conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>", "conflict"),
        (b"<text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>x</text>", "undefined-condition"),
        (b"<a\xc3\xa9/>", "undefined-condition"),
        (b"", "undefined-condition"),
    ],
)
@pytest.mark.parametrize("make", [opened, bound])
def test_the_peers_error_ends_the_stream(make, error, condition):
    shell = make()
    assert END == shell.send(b"<stream:error>" + error + b"</stream:error></stream:stream>")
    assert [StreamClosed(condition)] == shell.events


def test_an_empty_stream_is_opened_and_closed():
    shell = Shell()
    answer = shell.send(HEADER[:-1] + b"/>")
    assert b"<stream:features>" in answer
    assert answer.endswith(END)
    assert [StreamClosed()] == shell.events


def test_a_closing_tag_of_another_name_is_an_error():
    shell = bound()
    shell.send(b"</stream>")
    assert isinstance(shell.last, StreamFailed)
    assert shell.condition == "not-well-formed"
