"""What other servers may get wrong about stream management (XEP-0198) and our pings, over real sockets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.server.live import STANZAS
from tests.server.strangers import (
    LIBRARY,
    OFFER_EXTERNAL,
    SUCCESS,
    Stream,
    Town,
    Visit,
    features,
    header,
    message,
)

SM = "urn:xmpp:sm:3"
OFFER = f"<sm xmlns='{SM}'/>"
ENABLE, ENABLED, ASK = (f"<{name} xmlns='{SM}'/>".encode() for name in ("enable", "enabled", "r"))
TOO_HIGH = f"{{{SM}}}handled-count-too-high"


@pytest.fixture(autouse=True)
def unharmed(town: Town) -> Iterator[None]:
    with town.unharmed():
        yield


def told(count: int) -> bytes:
    return f"<a xmlns='{SM}' h='{count}'/>".encode()


def refused(raw: Stream | Visit) -> str:
    """The condition in the next <failed/>."""
    failed = raw.element()
    assert failed.tag == f"{{{SM}}}failed"
    return failed[0].tag.removeprefix(STANZAS)


def managed(town: Town) -> Stream:
    """A stream of theirs to us that is managed."""
    stream = town.stranger().proved()
    stream.send(ENABLE)
    assert stream.element().tag == f"{{{SM}}}enabled"
    return stream


def visited(town: Town) -> Visit:
    """A stream of ours to them that is managed; mia's message has come."""
    stranger = town.stranger()
    with stranger.at_home() as door:
        town.write_to(stranger)
        visit = door.answer()
        visit.shake_hands()
        visit.greeted()
        visit.answer(OFFER_EXTERNAL)
        visit.expect(rb"<auth [^>]*>[^<]*</auth>")
        visit.send(SUCCESS)
        visit.greeted()
        visit.send(header(visit.name, LIBRARY, "id='s2' version='1.0'") + features(OFFER))
        visit.expect(rb"<enable xmlns='urn:xmpp:sm:3'/>.*</message>")
        visit.send(ENABLED)
        visit.expect(rb"<r xmlns='urn:xmpp:sm:3'/>")
    return visit


# -- their streams ---------------------------------------------------------------------------


def test_what_was_taken_is_counted(town: Town) -> None:
    stream = managed(town)
    stream.send(message(f"pat@{stream.name}") * 3 + ASK)
    assert stream.element().attrib == {"h": "3"}


def test_enable_before_authentication_is_refused_and_the_stream_lives_on(town: Town) -> None:
    stream = town.stranger().secured(town.good)
    stream.send(ENABLE)
    assert refused(stream) == "unexpected-request"
    assert OFFER.encode() in stream.external()


def test_who_keeps_trying_before_authentication_is_disconnected(town: Town) -> None:
    stream = town.stranger().secured(town.good)
    stream.send(ENABLE * 20)
    stream.failed("policy-violation")


def test_enable_twice_ends_the_stream(town: Town) -> None:
    stream = managed(town)
    stream.send(ENABLE)
    assert refused(stream) == "unexpected-request"
    stream.failed("policy-violation")


def test_nothing_can_be_resumed(town: Town) -> None:
    stream = town.stranger().proved()
    stream.send(f"<resume xmlns='{SM}' h='0' previd='guessed'/>")
    assert refused(stream) == "item-not-found"


def test_a_count_of_what_we_never_sent_ends_the_stream(town: Town) -> None:
    stream = managed(town)
    stream.send(told(1))
    error = stream.failed("undefined-condition")
    (detail,) = error.findall(TOO_HIGH)
    assert detail.attrib == {"h": "1", "send-count": "0"}


@pytest.mark.parametrize("count", ["-1", "x", "", "9" * 100])
def test_a_count_that_is_none_ends_the_stream(town: Town, count: str) -> None:
    stream = managed(town)
    stream.send(f"<a xmlns='{SM}' h='{count}'/>")
    stream.failed("bad-format")


@pytest.mark.parametrize("word", [ASK, told(0), ENABLED])
def test_without_enable_nothing_else_is_possible(town: Town, word: bytes) -> None:
    stream = town.stranger().proved()
    stream.send(word)
    stream.failed("unsupported-stanza-type")


def test_a_flood_of_questions_is_answered(town: Town) -> None:
    stream = managed(town)
    stream.send(ASK * 2_000)
    assert [stream.element().get("h") for _ in range(2_000)] == ["0"] * 2_000


# -- our streams -----------------------------------------------------------------------------


def test_who_confirms_more_than_we_sent_is_left(town: Town) -> None:
    visit = visited(town)
    visit.send(told(2))
    error = visit.failed("undefined-condition")
    (detail,) = error.findall(TOO_HIGH)
    assert detail.attrib == {"h": "2", "send-count": "1"}


def test_who_does_not_confirm_is_sent_the_message_again_but_not_a_third_time(town: Town) -> None:
    stranger = town.stranger()
    with stranger.at_home() as door:
        town.write_to(stranger)
        for _ in range(2):
            visit = door.answer()
            visit.serve()
            visit.expect(b"</message>")
            visit.hang_up()
        assert town.returned(stranger) == "remote-server-timeout"


def test_who_confirms_is_not_sent_the_message_again(town: Town) -> None:
    stranger = town.stranger()
    with stranger.at_home() as door:
        town.write_to(stranger)
        visit = door.answer()
        visit.serve()
        visit.expect(b"</message>.*urn:xmpp:ping")
        ping = next(element for element in iter(visit.element, None) if element.tag.endswith("}iq"))
        back = stranger.proved()
        back.send(f"<iq type='error' id='{ping.get('id')}' from='{stranger.domain}' to='{LIBRARY}'/>")
        back.send(f"<iq type='get' id='next' from='{stranger.domain}' to='{LIBRARY}'><x xmlns='x'/></iq>")
        visit.expect(b"id=.next.")  # what came before it was taken
        visit.hang_up()
        town.write_to(stranger, "another")
        again = door.answer()
        again.serve()
        sent = again.expect(b"</message>")
    assert b"another" in sent
    assert b"hello" not in sent
