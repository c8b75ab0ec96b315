"""Stream management between servers (XEP-0198): both sides of a stream, and peers that get it wrong."""

from __future__ import annotations

import pytest

from refserver.errors import StreamCondition, StreamError
from refserver.stanza import Stanza
from refserver.stream.events import Confirmed, CountWanted, Established, Managed, StreamClosed
from tests.unit.server_pair import (
    BIDI,
    HEADER,
    OURS,
    PEER,
    Federation,
    Initiating,
    Serving,
    answer,
    external,
    message,
    result,
    tls,
)
from tests.unit.test_s2s_stream_initiating import END, MECHANISMS, SUCCESS, features, from_peer

OFFER = "<sm xmlns='urn:xmpp:sm:3'/>"
ENABLE, ENABLED = b"<enable xmlns='urn:xmpp:sm:3'/>", b"<enabled xmlns='urn:xmpp:sm:3'/>"
RESUME = b"<resume xmlns='urn:xmpp:sm:3' h='0' previd='x'/>"
ASK = b"<r xmlns='urn:xmpp:sm:3'/>"
STANZAS = "urn:ietf:params:xml:ns:xmpp-stanzas"


def told(count: int) -> bytes:
    return f"<a xmlns='urn:xmpp:sm:3' h='{count}'/>".encode()


def failed(condition: str) -> bytes:
    return f"<failed xmlns='urn:xmpp:sm:3'><{condition} xmlns='{STANZAS}'/></failed>".encode()


# -- the receiving side ------------------------------------------------------------


def served(**options) -> Serving:
    shell = Serving(tls(PEER), management=True, **options)
    shell.send(HEADER)
    shell.send(external() + HEADER)
    shell.events.clear()
    return shell


def managed(**options) -> Serving:
    shell = served(**options)
    assert ENABLED == shell.send(ENABLE)
    assert [Managed(True)] == shell.events
    shell.events.clear()
    return shell


def test_it_is_offered_to_who_is_authenticated_and_to_nobody_else():
    shell = Serving(tls(PEER), management=True, dialback=True)
    assert OFFER.encode() not in shell.send(HEADER)
    assert OFFER.encode() in shell.send(external() + HEADER)
    assert OFFER.encode() not in Serving(tls(PEER), management=False).send(HEADER)


def test_what_was_handled_is_told_when_it_is_asked_for():
    shell = managed()
    assert told(0) == shell.send(ASK)
    assert told(2) + told(3) == shell.send(message() + message() + ASK + message() + ASK)
    assert 3 == len(shell.of(Stanza))


def test_a_stanza_counts_only_after_the_shell_has_taken_it():
    shell = managed()
    events = shell.stream.receive(message() + message() + ASK)
    next(events)
    assert 0 == shell.stream.management.handled
    next(events)
    assert 1 == shell.stream.management.handled
    (asked,) = events
    assert CountWanted(2) == asked


def test_the_count_is_told_when_the_shell_says_so():
    shell = managed()
    events = list(shell.stream.receive(message() + ASK + message() + ASK))
    assert [CountWanted(1), CountWanted(2)] == [each for each in events if isinstance(each, CountWanted)]
    assert b"" == shell.take()
    shell.stream.tell_count(1)
    assert told(1) == shell.take()
    shell.stream.close()
    shell.take()
    shell.stream.tell_count(2)
    assert b"" == shell.take(), "the last count has been told with the end"


def test_a_stanza_that_was_refused_counts_too():
    shell = managed()
    shell.send(message(from_=f"@{PEER}"))
    assert told(1) == shell.send(ASK)


def test_only_stanzas_count_and_only_since_it_is_managed():
    shell = served(dialback=True)
    shell.send(message() + ENABLE + result() + message())
    assert told(1) == shell.send(ASK)


def test_enable_comes_once():
    shell = managed()
    assert shell.send(ENABLE).startswith(failed("unexpected-request") + told(0) + b"<stream:error>")
    assert "policy-violation" == shell.condition


def test_before_authentication_it_is_refused_and_the_stream_goes_on():
    shell = Serving(tls(PEER), management=True)
    shell.send(HEADER)
    assert failed("unexpected-request") == shell.send(ENABLE)
    assert failed("unexpected-request") == shell.send(RESUME)
    shell.send(external() + HEADER)
    assert ENABLED == shell.send(ENABLE)


def test_who_tries_too_often_before_authentication_is_disconnected():
    shell = Serving(tls(PEER), management=True, max_auth_attempts=3)
    shell.send(HEADER)
    assert 2 * failed("unexpected-request") == shell.send(ENABLE * 2)
    assert failed("unexpected-request") in shell.send(ENABLE)
    assert "policy-violation" == shell.condition


def test_there_is_nothing_to_resume():
    shell = served()
    assert failed("item-not-found") == shell.send(RESUME)
    assert ENABLED == shell.send(ENABLE)


@pytest.mark.parametrize("sent", [ASK, told(0), ENABLED, failed("unexpected-request")])
def test_without_enable_the_other_words_end_the_stream(sent):
    shell = served()
    shell.send(sent)
    assert "unsupported-stanza-type" == shell.condition


@pytest.mark.parametrize("sent", [ENABLE, RESUME])
def test_where_policy_has_none_enable_ends_the_stream(sent):
    shell = Serving(tls(PEER), management=False)
    shell.send(HEADER)
    shell.send(external() + HEADER)
    shell.send(sent)
    assert "unsupported-stanza-type" == shell.condition


def test_it_follows_a_key_too():
    shell = Serving(verdict=True, dialback=True, management=True)
    shell.send(HEADER)
    shell.send(result())
    assert isinstance(shell.events[-1], Established)
    assert ENABLED == shell.send(ENABLE)


def test_more_acknowledged_than_sent_ends_the_stream():
    shell = managed()
    out = shell.send(told(1))
    assert b"<handled-count-too-high xmlns='urn:xmpp:sm:3' h='1' send-count='0'/>" in out
    assert "undefined-condition" == shell.condition


def test_with_bidi_ours_are_counted_and_confirmed():
    shell = Serving(tls(PEER), management=True)
    shell.send(HEADER)
    shell.send(BIDI + external() + HEADER)
    shell.send(ENABLE)
    shell.stream.management.sent += 3
    shell.send(told(2))
    assert Confirmed(2) == shell.events[-1]


@pytest.mark.parametrize(
    "end",
    [
        lambda shell: shell.send(END),
        lambda shell: shell.stream.close(),
        lambda shell: shell.stream.fail(StreamError(StreamCondition.SYSTEM_SHUTDOWN)),
    ],
    ids=["theirs", "ours", "an error"],
)
def test_the_last_count_goes_out_before_the_end(end):
    shell = managed()
    shell.send(message())
    out = (end(shell) or b"") + shell.take()
    assert out.startswith(told(1))
    assert out.endswith(END)


# -- the initiating side -----------------------------------------------------------


def begun(*offers: str, **options) -> Initiating:
    """A stream that EXTERNAL has opened, with `offers` in its last features."""
    shell = Initiating(management=True, **options)
    shell.send(answer() + features(MECHANISMS))
    shell.send(SUCCESS)
    return shell


def opened(**options) -> Initiating:
    shell = begun(**options)
    assert ENABLE == shell.send(answer("s2") + features(OFFER))
    assert shell.stream.managed is None
    shell.send(ENABLED)
    assert [Established(OURS, PEER, "certificate"), Managed(True)] == shell.events
    assert shell.stream.managed
    shell.events.clear()
    return shell


def test_it_is_turned_on_before_anything_is_sent():
    opened()


def test_where_it_is_not_offered_or_not_wanted_it_is_not_asked_for():
    shell = begun()
    assert b"" == shell.send(answer("s2") + features())
    assert shell.stream.managed is False
    shell = Initiating(management=False)
    shell.send(answer() + features(MECHANISMS) + SUCCESS)
    assert b"" == shell.send(answer("s2") + features(OFFER))


def test_before_authentication_an_offer_is_not_taken():
    shell = Initiating(management=True)
    assert ENABLE not in shell.send(answer() + features(MECHANISMS, OFFER))
    assert ENABLE not in shell.send(SUCCESS)
    assert b"" == shell.send(answer("s2") + features()), "the last features hold"


def test_it_is_turned_on_when_a_key_was_valid():
    shell = Initiating(dialback=True, management=True)
    shell.take()
    assert ENABLE not in shell.send(answer() + features(OFFER))
    assert ENABLE == shell.send(from_peer(result, type_="valid"))


def test_a_peer_that_will_not_is_used_without():
    shell = begun()
    shell.send(answer("s2") + features(OFFER) + failed("service-unavailable"))
    assert Managed(False) == shell.events[-1]
    assert shell.stream.managed is False
    assert shell.stream.carries(OURS, PEER)


def test_what_the_peer_confirms_is_told():
    shell = opened()
    shell.stream.management.sent += 2
    shell.send(told(1) + told(2))
    assert [Confirmed(1), Confirmed(2)] == shell.events


def test_a_peer_that_confirms_too_much_is_left():
    shell = opened()
    shell.stream.management.sent += 2
    out = shell.send(told(3))
    assert b"<handled-count-too-high xmlns='urn:xmpp:sm:3' h='3' send-count='2'/>" in out
    assert "undefined-condition" == shell.condition


def test_the_peer_may_ask_too():
    shell = opened()
    assert told(0) == shell.send(ASK)


def test_with_bidi_what_comes_is_counted():
    shell = Initiating(management=True)
    shell.send(answer() + features(MECHANISMS, "<bidi xmlns='urn:xmpp:features:bidi'/>") + SUCCESS)
    shell.send(answer("s2") + features(OFFER) + ENABLED)
    back = message(f"pat@{PEER}", f"mia@{OURS}")
    assert told(2) == shell.send(back + back + ASK)


@pytest.mark.parametrize("sent", [ENABLED, failed("conflict"), ENABLE, RESUME])
def test_words_out_of_place_end_the_stream(sent):
    shell = opened()
    shell.send(sent)
    assert "unsupported-stanza-type" == shell.condition


@pytest.mark.parametrize("sent", [ASK, told(0), ENABLED])
def test_words_of_who_was_not_asked_end_the_stream(sent):
    shell = begun()
    shell.send(answer("s2") + features() + sent)
    assert "unsupported-stanza-type" == shell.condition


def test_the_last_count_is_told_at_the_end():
    shell = opened()
    shell.walk(shell.stream.close())
    assert told(0) + END == shell.take()
    other = opened()
    assert told(0) + END == other.send(END)
    assert StreamClosed() == other.events[-1]


# -- both --------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [0, 1])
def test_two_servers_agree_on_it(chunk):
    both = Federation(management=True, chunk=chunk)
    assert Managed(True) == both.theirs.events[-1] == both.ours.events[-1]
    stream = both.theirs.stream
    stream.management.sent += 2
    both.theirs.send(both.ours.send(message() + message() + stream.management.request()))
    assert Confirmed(2) == both.theirs.events[-1]
    assert not stream.management.asked
