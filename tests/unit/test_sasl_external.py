"""EXTERNAL without a stream: whom the peer may act as."""

from __future__ import annotations

import pytest

from refserver.jid import JID
from refserver.sasl import Challenge, FakeVerifiers, SaslCondition, SaslFailure, Success, Surroundings, begin

PEER = JID.parse("peer.example")


def surroundings(proved: JID | None = PEER, offered=("EXTERNAL",)) -> Surroundings:
    return Surroundings("library.example", FakeVerifiers(b"k" * 32), {}, offered, proved=proved)


@pytest.mark.parametrize("authzid", [b"", b"peer.example", b"Peer.Example"])
def test_who_is_proved_may_act_as_itself(authzid):
    assert Success(PEER) == begin("EXTERNAL", surroundings()).respond(authzid)


def test_without_a_first_word_it_is_asked_for():
    exchange = begin("EXTERNAL", surroundings())
    assert Challenge(b"") == exchange.respond(None)
    assert Success(PEER) == exchange.respond(b"")


@pytest.mark.parametrize(
    ("authzid", "condition"),
    [
        (b"third.example", SaslCondition.INVALID_AUTHZID),
        (b"pat@peer.example", SaslCondition.INVALID_AUTHZID),
        (b"@", SaslCondition.INVALID_AUTHZID),
        (b"\xff", SaslCondition.MALFORMED_REQUEST),
    ],
)
def test_nobody_acts_for_another(authzid, condition):
    with pytest.raises(SaslFailure) as failure:
        begin("EXTERNAL", surroundings()).respond(authzid)
    assert condition is failure.value.condition


@pytest.mark.parametrize("authzid", [b"", b"peer.example"])
def test_where_nobody_is_proved_it_fails(authzid):
    with pytest.raises(SaslFailure) as failure:
        begin("EXTERNAL", surroundings(proved=None)).respond(authzid)
    assert SaslCondition.NOT_AUTHORIZED is failure.value.condition


def test_where_it_is_not_offered_it_does_not_exist():
    with pytest.raises(SaslFailure) as failure:
        begin("EXTERNAL", surroundings(offered=("SCRAM-SHA-1",)))
    assert SaslCondition.INVALID_MECHANISM is failure.value.condition
