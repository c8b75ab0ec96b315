"""What another server may do on its stream to us: opening, TLS, EXTERNAL, stanzas."""

from __future__ import annotations

import re

import pytest

from refserver import ns
from refserver.errors import Condition
from refserver.jid import JID
from refserver.stanza import Stanza
from refserver.stream.events import (
    Authenticated,
    AuthenticationFailed,
    Established,
    StanzaRefused,
    StartTLS,
    StreamClosed,
)
from tests.unit.server_pair import (
    BIDI,
    HEADER,
    OURS,
    PEER,
    PROCEED,
    STARTTLS,
    Serving,
    external,
    header,
    message,
    tls,
)


def opened(proofs=None, **options) -> Serving:
    shell = Serving(tls(PEER) if proofs is None else proofs, **options)
    shell.send(HEADER)
    return shell


def established(**options) -> Serving:
    shell = opened(**options)
    shell.send(external() + HEADER)
    assert Established(PEER, OURS, "certificate") == shell.events[-1]
    shell.events.clear()
    return shell


# -- opening ---------------------------------------------------------------------


def test_our_header_names_both_domains_and_declares_dialback():
    answer = Serving(tls(PEER)).send(HEADER)
    pattern = (
        rb"<\?xml version='1.0'\?><stream:stream xmlns='jabber:server' xmlns:stream='[^']*'"
        rb" xmlns:db='jabber:server:dialback' id='[^']{16,}' from='library.example' to='peer.example'"
        rb" version='1.0' xml:lang='en'><stream:features>.*</stream:features>"
    )
    assert re.fullmatch(pattern, answer)


@pytest.mark.parametrize(
    ("sent", "condition"),
    [
        (header(from_=None), "improper-addressing"),
        (header(to=None), "improper-addressing"),
        (header(from_="pat@peer.example"), "improper-addressing"),
        (header(from_="peer.example/x"), "improper-addressing"),
        (header(from_="@"), "improper-addressing"),
        (header(to="nobody.example"), "host-unknown"),
        (header(to="mia@library.example"), "host-unknown"),
        (header(from_=OURS), "invalid-from"),
        (header(from_="other.example"), "invalid-from"),
        (header(content="jabber:client"), "invalid-namespace"),
        (header().replace(b"version='1.0' xmlns", b"xmlns"), "unsupported-version"),
        (header().replace(b"http://etherx", b"http://x"), "invalid-namespace"),
    ],
)
def test_a_bad_header_gets_ours_and_the_error(sent, condition):
    shell = Serving(tls(PEER))
    answer = shell.send(sent)
    assert answer.startswith(b"<?xml version='1.0'?><stream:stream xmlns='jabber:server' ")
    assert answer.endswith(b"</stream:error></stream:stream>")
    assert condition == shell.condition
    assert shell.stream.closed


def test_who_is_not_welcome_is_told_so():
    shell = Serving(tls(PEER), welcomes=lambda from_, to: (from_, to) != (PEER, OURS))
    shell.send(HEADER)
    assert "policy-violation" == shell.condition
    other = Serving(tls(PEER), welcomes=lambda from_, to: (from_, to) != (PEER, OURS))
    other.send(header(to="other.example"))
    assert not other.condition


def test_domains_are_prepared():
    shell = Serving(tls("straße.example"))
    shell.send(header("STRASSE.example".replace("SS", "ß"), "LIBRARY.Example"))
    assert "straße.example" == shell.stream.peer
    shell.send(external() + header("straße.example"))
    assert Established("straße.example", OURS, "certificate") == shell.events[-1]


# -- features and TLS ------------------------------------------------------------


def test_without_tls_only_tls_is_offered():
    answer = Serving(direct=False, dialback=True).send(HEADER)
    features = answer[answer.index(b"<stream:features>") :]
    assert b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>" in features
    for absent in (b"mechanisms", b"dialback", b"bidi"):
        assert absent not in features


def test_external_is_offered_where_it_would_succeed():
    assert b"<mechanism>EXTERNAL</mechanism>" in Serving(tls(PEER)).send(HEADER)
    for proofs in (tls(), tls("rooms.peer.example"), tls(OURS)):
        assert b"mechanisms" not in Serving(proofs, dialback=True).send(HEADER)


def test_features_follow_policy():
    full = Serving(tls(PEER), dialback=True).send(HEADER)
    assert b"<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>" in full
    assert b"<bidi xmlns='urn:xmpp:features:bidi'/>" in full
    assert b"<max-bytes>10000</max-bytes>" in full
    bare = Serving(tls(PEER), bidi=False).send(HEADER)
    assert b"dialback'><errors" not in bare
    assert b"bidi" not in bare
    shell = opened(dialback=True)
    after = shell.send(external() + HEADER)
    assert b"<errors/>" in after
    assert b"<max-bytes>262144</max-bytes>" in after
    assert b"bidi" not in after
    assert b"mechanisms" not in after


def test_starttls_begins_the_stream_anew():
    shell = Serving(tls(PEER), direct=False)
    shell.send(HEADER)
    assert PROCEED == shell.send(STARTTLS + HEADER + external())
    assert [StartTLS(OURS)] == shell.events
    assert b"EXTERNAL" in shell.send(HEADER)


def test_nothing_but_tls_is_possible_without_it():
    shell = Serving(tls(PEER), direct=False, dialback=True)
    shell.send(HEADER)
    assert b"<encryption-required/>" in shell.send(external())
    assert isinstance(shell.events[-1], AuthenticationFailed)
    shell.send(message())
    assert "not-authorized" == shell.condition


def test_bidi_is_not_possible_without_tls_nor_afterwards_nor_against_policy():
    for shell in (Serving(direct=False), established(), opened(bidi=False)):
        shell.send(HEADER if not shell.stream.peer else b"")
        shell.send(BIDI)
        assert not shell.stream.bidi
        assert "unsupported-stanza-type" == shell.condition


# -- EXTERNAL --------------------------------------------------------------------


@pytest.mark.parametrize("authzid", ["", PEER, "PEER.example"])
def test_a_certificate_authenticates(authzid):
    shell = opened()
    assert b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>" == shell.send(external(authzid))
    assert [Authenticated(JID.parse(PEER), "EXTERNAL")] == shell.events
    shell.send(HEADER)
    assert Established(PEER, OURS, "certificate") == shell.events[-1]
    assert shell.stream._framer.limits.stanza_bytes == 262_144


def test_without_initial_response_the_identity_is_asked_for():
    shell = opened()
    assert b"<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>" == shell.send(external(None))
    answer = shell.send(b"<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>=</response>")
    assert answer.startswith(b"<success ")


@pytest.mark.parametrize("authzid", ["rooms.peer.example", OURS, "pat@peer.example", "@", "peer.example/x"])
def test_nobody_acts_for_another_domain(authzid):
    shell = opened(tls(PEER, "rooms.peer.example", OURS))
    assert b"<invalid-authzid/>" in shell.send(external(authzid))
    assert not shell.of(Authenticated)
    shell.send(message())
    assert "not-authorized" == shell.condition


@pytest.mark.parametrize(
    ("text", "condition"),
    [(b"!", b"incorrect-encoding"), (b"/w==", b"malformed-request"), (b"AGEAYg==", b"invalid-authzid")],
)
def test_garbage_is_no_identity(text, condition):
    shell = opened()
    sent = external(PEER).replace(b">" + external(PEER).split(b">")[1], b">" + text + b"</auth", 1)
    assert b"<" + condition + b"/>" in shell.send(sent)


def test_external_without_proof_is_no_mechanism():
    shell = opened(tls(), dialback=True)
    assert b"<invalid-mechanism/>" in shell.send(external())
    for name in (b"PLAIN", b"SCRAM-SHA-256", b"ANONYMOUS"):
        assert shell.send(external().replace(b"EXTERNAL", name)).startswith(b"<failure ")
    assert not shell.of(Authenticated)


def test_failures_are_counted():
    shell = opened()
    for _ in range(5):
        shell.send(external(OURS))
    assert "policy-violation" == shell.condition
    assert [1, 2, 3, 4, 5] == [event.attempt for event in shell.of(AuthenticationFailed)]


def test_who_has_authenticated_stays_the_same():
    shell = opened(tls(PEER, "third.example"))
    shell.send(external() + header("third.example"))
    assert "invalid-from" == shell.condition
    assert not shell.of(Established)


def test_the_host_stays_the_same():
    shell = opened()
    shell.send(external() + header(to="other.example"))
    assert "not-authorized" == shell.condition


def test_one_authenticates_once():
    shell = established()
    shell.send(external())
    assert "policy-violation" == shell.condition


# -- stanzas ---------------------------------------------------------------------


def test_a_stanza_comes_with_its_addresses():
    shell = established()
    shell.send(message() + b" " + message(to=OURS, from_=PEER))
    first, second = shell.events
    assert ("a & b", f"pat@{PEER}/home", f"mia@{OURS}") == (first.body, first.from_.text, first.to.text)
    assert (PEER, OURS) == (second.from_.text, second.to.text)


@pytest.mark.parametrize(
    ("sent", "condition"),
    [
        (message(from_=None), "improper-addressing"),
        (message(to=None), "improper-addressing"),
        (message().replace(b"to='mia@library.example'", b"to=''"), "improper-addressing"),
        (message(from_="pat@third.example"), "invalid-from"),
        (message(from_="pat@rooms.peer.example"), "invalid-from"),
        (message(from_=f"mia@{OURS}"), "invalid-from"),
        (message(to="mia@nobody.example"), "host-unknown"),
        (message(to="mia@other.example"), "improper-addressing"),
        (message(from_="third.example", to="@"), "improper-addressing"),
        (message(from_="@"), "improper-addressing"),
        (message(from_="\u200b@third.example"), "invalid-from"),
        (b"<auth/>", "unsupported-stanza-type"),
        (b"<x xmlns='urn:x'/>", "unsupported-stanza-type"),
        (b"<message xmlns='jabber:client' from='peer.example' to='library.example'/>", None),
    ],
)
def test_what_was_not_negotiated_ends_the_stream(sent, condition):
    shell = established()
    shell.send(sent)
    if condition is not None:
        assert condition == shell.condition
    assert not [each for each in shell.of(Stanza) if each.from_.domainpart != PEER]


@pytest.mark.parametrize(
    ("sent", "condition", "answered"),
    [
        (message(to="\u200b@library.example"), Condition.JID_MALFORMED, OURS),
        (message(from_="\u200b@peer.example"), Condition.JID_MALFORMED, None),
        (
            f"<iq type='get' from='{PEER}' to='mia@{OURS}'><x xmlns='y'/></iq>".encode(),
            Condition.BAD_REQUEST,
            f"mia@{OURS}",
        ),
        (f"<iq type='result' from='{PEER}' to='{OURS}'/>".encode(), Condition.BAD_REQUEST, None),
        (f"<presence type='x' from='{PEER}' to='{OURS}'/>".encode(), Condition.BAD_REQUEST, OURS),
    ],
)
def test_one_users_bad_stanza_is_not_the_streams_fault(sent, condition, answered):
    shell = established()
    shell.send(sent)
    (refused,) = shell.of(StanzaRefused)
    assert condition is refused.error.condition
    if answered is None:
        assert refused.reply is None
    else:
        assert answered == refused.reply.from_.text
        assert "error" == refused.reply.type
        assert PEER == refused.reply.to.domainpart
    shell.send(message())
    assert isinstance(shell.events[-1], Stanza)


def test_stanzas_are_limited_more_tightly_before():
    large = message(more=f" x='{'y' * 20_000}'")
    early = opened()
    early.send(large)
    assert "policy-violation" == early.condition
    late = established()
    late.send(large)
    assert late.of(Stanza)
    late.send(message(more=f" x='{'y' * 300_000}'"))
    assert "policy-violation" == late.condition


def test_nothing_goes_back_without_bidi():
    shell = established()
    assert not shell.stream.carries(OURS, PEER)


def test_with_bidi_only_the_reverse_of_what_is_proved_goes_back():
    shell = opened()
    assert b"" == shell.send(BIDI)
    assert not shell.stream.carries(OURS, PEER)
    shell.send(external())
    assert not shell.stream.carries(OURS, PEER)  # the stream has yet to begin anew
    shell.send(HEADER)
    assert shell.stream.carries(OURS, PEER)
    assert not shell.stream.carries("other.example", PEER)
    assert not shell.stream.carries(PEER, OURS)
    reply = Stanza.message(JID.parse(f"pat@{PEER}"), JID.parse(f"mia@{OURS}"), body="x")
    assert reply.encode(ns.SERVER).startswith(b"<message to='pat@peer.example' from='mia@library.example'")
    shell.send(b"</stream:stream>")
    assert not shell.stream.carries(OURS, PEER)


# -- the end ---------------------------------------------------------------------


@pytest.mark.parametrize("start", [opened, established])
def test_the_peer_closes(start):
    shell = start()
    assert b"</stream:stream>" == shell.send(b"</stream:stream>" + message())
    assert StreamClosed() == shell.events[-1]
    assert shell.stream.closed


def test_the_peers_error_ends_the_stream():
    shell = established()
    error = b"<stream:error><system-shutdown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"
    assert b"</stream:stream>" == shell.send(error)
    assert StreamClosed("system-shutdown") == shell.events[-1]


def test_after_our_close_nothing_is_taken():
    shell = established()
    shell.stream.close()
    assert b"</stream:stream>" == shell.send(message())
    shell.send(message() + b"</stream:stream>")
    assert [StreamClosed()] == shell.events
