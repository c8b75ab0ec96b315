"""Our own stream to another server, against peers that are slow, wrong or hostile."""

from __future__ import annotations

import re

import pytest

from refserver import ns
from refserver.errors import Cause, Condition, StanzaError, StreamCondition, StreamError, StreamFault
from refserver.jid import JID
from refserver.stanza import Stanza
from refserver.stream.dialback import make_key
from refserver.stream.events import (
    Established,
    KeyToVerify,
    Refused,
    StartTLS,
    StreamClosed,
    StreamFailed,
    VerifyAnswered,
)
from refserver.stream.server_outbound import NEXT_STATES, NOT_READING, OutboundState, ServerOutbound
from tests.unit.server_pair import (
    BIDI,
    OURS,
    PEER,
    PROCEED,
    SECRET,
    STARTTLS,
    Initiating,
    answer,
    message,
    policy,
    result,
    tls,
    verify,
)

THIRD = "third.example"
STANZAS = "urn:ietf:params:xml:ns:xmpp-stanzas"
MECHANISMS = (
    "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms>"
)
OFFER_TLS = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>"
OFFER_BIDI = "<bidi xmlns='urn:xmpp:features:bidi'/>"
OFFER_ERRORS = "<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>"
SUCCESS = b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"
FAILURE = b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>"
END = b"</stream:stream>"


def features(*offers: str) -> bytes:
    return f"<stream:features>{''.join(offers)}</stream:features>".encode()


def stream_error(condition: str, text="") -> bytes:
    space = "urn:ietf:params:xml:ns:xmpp-streams"
    more = f"<text xmlns='{space}'>{text}</text>" if text else ""
    return f"<stream:error><{condition} xmlns='{space}'/>{more}</stream:error></stream:stream>".encode()


def from_peer(write, **options) -> bytes:
    """A dialback element of the serving peer's."""
    return write(**{"from_": PEER, "to": OURS, "key": "", **options})


def established(*offers: str, **options) -> Initiating:
    """A stream that EXTERNAL has opened; `offers` in its last features."""
    shell = Initiating(**options)
    shell.send(answer() + features(MECHANISMS, *offers) + SUCCESS + answer("s2") + features(*offers))
    assert Established(OURS, PEER, "certificate") == shell.events[-1]
    shell.events.clear()
    return shell


def keyed(*offers: str, **options) -> Initiating:
    """A stream whose key is being verified."""
    shell = Initiating(dialback=True, **options)
    shell.take()
    shell.send(answer() + features(*offers))
    assert not shell.events
    return shell


# -- the way to an established stream ---------------------------------------------


def test_every_phase_has_its_row_and_can_end():
    assert set(OutboundState) == set(NEXT_STATES)
    assert all(OutboundState.CLOSED in row for row in NEXT_STATES.values())
    assert set(OutboundState) == {OutboundState.CONNECTING}.union(*NEXT_STATES.values())
    assert OutboundState.OPEN not in NOT_READING


def test_the_way_with_starttls_and_external():
    shell = Initiating(direct=False)
    pattern = (
        rb"<\?xml version='1.0'\?><stream:stream xmlns='jabber:server' xmlns:stream='[^']*'"
        rb" xmlns:db='jabber:server:dialback' from='library.example' to='peer.example' version='1.0'"
        rb" xml:lang='en'>"
    )
    header = shell.take()
    assert re.fullmatch(pattern, header)
    assert b"" == shell.send(answer())
    assert STARTTLS == shell.send(features(OFFER_TLS, MECHANISMS))
    assert header == shell.send(PROCEED)
    assert [StartTLS(PEER)] == shell.events
    auth = shell.send(answer() + features(MECHANISMS))
    assert (
        b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>bGlicmFyeS5leGFtcGxl</auth>"
        == auth
    )
    assert header == shell.send(SUCCESS)
    assert not shell.stream.carries(OURS, PEER)
    assert b"" == shell.send(answer("s2") + features())
    assert Established(OURS, PEER, "certificate") == shell.events[-1]
    assert shell.stream.carries(OURS, PEER)
    assert not shell.stream.carries(OURS, THIRD)
    assert "s2" == shell.stream.id


def test_the_way_with_a_key():
    shell = Initiating(dialback=True)
    shell.take()
    sent = shell.send(answer("id1") + features())
    key = make_key(SECRET, PEER, OURS, "id1")
    assert f"<db:result from='library.example' to='peer.example'>{key}</db:result>".encode() == sent
    assert not shell.stream.carries(OURS, PEER)
    shell.send(from_peer(result, type_="valid"))
    assert [Established(OURS, PEER, "dialback")] == shell.events
    assert shell.stream.carries(OURS, PEER)


def test_a_certificate_that_is_not_taken_is_followed_by_a_key():
    shell = Initiating(dialback=True)
    sent = shell.send(answer() + features(MECHANISMS) + FAILURE)
    assert b"<db:result " in sent
    shell.send(from_peer(result, type_="valid"))
    assert [Established(OURS, PEER, "dialback")] == shell.events


def test_by_certificates_only_it_is_not():
    shell = Initiating()
    assert shell.send(answer() + features(MECHANISMS) + FAILURE).endswith(END)
    refused, closed = shell.events
    assert (StreamFault(Cause.OUR_CERTIFICATE_REFUSED), True) == (refused.fault, refused.permanent)
    assert StreamClosed() == closed
    assert shell.stream.closed


def test_what_comes_before_the_handshake_is_dropped():
    shell = Initiating(direct=False)
    shell.react = lambda event: None  # type: ignore[method-assign]  # the handshake takes its time
    shell.send(answer() + features(OFFER_TLS) + PROCEED + answer("evil") + features(MECHANISMS))
    assert b"" == shell.send(answer("evil") + features(MECHANISMS))
    shell.walk(shell.stream.tls_started(tls(PEER)))
    assert b"<auth " in shell.send(answer() + features(MECHANISMS))


def test_tls_that_fails_at_the_peer_can_be_tried_again():
    shell = Initiating(direct=False)
    shell.send(answer() + features(OFFER_TLS))
    shell.send(b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
    assert not shell.of(Refused)[0].permanent
    assert Condition.REMOTE_SERVER_TIMEOUT is shell.of(Refused)[0].condition


def test_direct_tls_checks_the_certificate_before_a_word():
    shell = Initiating(tls(THIRD))
    assert b"" == shell.take()
    assert [Refused, StreamClosed] == [type(event) for event in shell.events]


def test_a_stanza_is_written_for_servers():
    stanza = Stanza.message(JID.parse(f"pat@{PEER}"), JID.parse(f"mia@{OURS}/desk"), body="x", id="1")
    opening = b"<message to='pat@peer.example' from='mia@library.example/desk' type='chat' id='1'>"
    assert opening + b"<body>x</body></message>" == stanza.encode(ns.SERVER)


def test_the_peers_limit_is_learnt():
    limit = "<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>{}</max-bytes></limits>"
    assert 262144 == established(limit.format(262144)).stream.max_bytes
    for odd in ("", "x", "-1", "1" * 40, "\u0663"):
        assert 0 == established(limit.format(odd)).stream.max_bytes


# -- peers at fault ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "condition"),
    [
        (answer().replace(b"jabber:server'", b"jabber:client'", 1), "invalid-namespace"),
        (answer().replace(b"version='1.0' xmlns", b"xmlns"), "unsupported-version"),
        (answer() + b"<iq/>", "not-authorized"),
        (answer() + message(), "not-authorized"),
        (answer() + SUCCESS, "unsupported-stanza-type"),
        (answer() + PROCEED, "unsupported-stanza-type"),
        (answer() + from_peer(result, type_="valid"), "unsupported-stanza-type"),
        (answer() + features(MECHANISMS) + from_peer(result, type_="valid"), "unsupported-stanza-type"),
        (answer() + features(MECHANISMS) + features(MECHANISMS), "unsupported-stanza-type"),
        (
            answer() + features(MECHANISMS) + b"<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
            "unsupported-stanza-type",
        ),
        (b"HTTP/1.1 400 Bad Request\r\n", "not-well-formed"),
        (answer() + b"<stream:features>" + b"x" * 11_000, "policy-violation"),
        (answer() + b"\0", "not-well-formed"),
    ],
)
def test_a_peer_at_fault_is_told_and_all_that_waits_is_refused(sent, condition):
    shell = Initiating()
    assert shell.send(sent).endswith(b"</stream:error></stream:stream>")
    assert condition == shell.condition
    assert [(OURS, PEER)] == [(each.from_, each.to) for each in shell.of(Refused)]
    assert b"" == shell.send(answer())


def test_a_key_needs_a_stream_with_an_id():
    shell = Initiating(dialback=True)
    shell.send(answer().replace(b" id='s1'", b"") + features())
    assert "bad-format" == shell.condition


@pytest.mark.parametrize(
    ("condition", "permanent", "cause", "detail"),
    [
        ("host-unknown", True, Cause.NOT_SERVED, ""),
        ("host-gone", True, Cause.NOT_SERVED, ""),
        ("not-authorized", True, Cause.WE_ARE_REFUSED, ""),
        ("system-shutdown", False, Cause.SHUT_DOWN, ""),
        ("remote-connection-failed", False, Cause.CLOSED_WITH_ERROR, "remote-connection-failed"),
        ("no-such-condition", False, Cause.CLOSED_WITH_ERROR, "undefined-condition"),
    ],
)
def test_the_peers_error_is_a_cause_with_its_words(condition, permanent, cause, detail):
    shell = Initiating()
    shell.send(answer(from_="", to="") + stream_error(condition, "because"))
    refused, closed = shell.events
    assert (StreamFault(cause, detail, "because"), permanent) == (refused.fault, refused.permanent)
    expected = Condition.REMOTE_SERVER_NOT_FOUND if permanent else Condition.REMOTE_SERVER_TIMEOUT
    assert expected is refused.condition
    assert condition in (closed.peer_error, "no-such-condition")


def test_the_peers_words_are_cut_off():
    shell = Initiating()
    shell.send(answer() + stream_error("policy-violation", "x" * 5000))
    assert len(str(shell.events[0].fault)) < 300


# -- one way only ------------------------------------------------------------------


def test_stanzas_do_not_come_back_without_bidi():
    for shell in (established(), established(OFFER_BIDI, bidi=False)):
        shell.send(message(from_=f"pat@{PEER}", to=f"mia@{OURS}"))
        assert "not-authorized" == shell.condition
        assert not shell.of(Stanza)


def test_with_bidi_only_the_reverse_comes_back():
    shell = Initiating()
    assert BIDI + b"<auth " in shell.send(answer() + features(MECHANISMS, OFFER_BIDI))
    shell.send(SUCCESS + answer() + features())
    shell.send(message(from_=f"pat@{PEER}", to=f"mia@{OURS}"))
    assert isinstance(shell.events[-1], Stanza)
    shell.send(message(from_=f"pat@{THIRD}", to=f"mia@{OURS}"))
    assert "invalid-from" == shell.condition


def test_with_bidi_nothing_comes_before_the_pair_is_proved():
    shell = keyed(OFFER_BIDI)
    assert shell.stream.bidi
    shell.send(message(from_=f"pat@{PEER}", to=f"mia@{OURS}"))
    assert "invalid-from" == shell.condition


@pytest.mark.parametrize("sent", [message(to="x@other.example"), message(to="x@elsewhere.example")])
def test_with_bidi_nothing_comes_for_another_domain(sent):
    shell = established(OFFER_BIDI)
    shell.send(sent)
    assert "improper-addressing" == shell.condition


def test_a_peer_that_wants_another_pair_must_use_its_own_stream():
    shell = established(OFFER_BIDI)
    assert b"<not-acceptable " in shell.send(result(from_=f"rooms.{PEER}", to=OURS))
    shell.send(message(from_=f"x@rooms.{PEER}", to=f"mia@{OURS}"))
    assert "invalid-from" == shell.condition


# -- dialback -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [
        result(from_=PEER, to="other.example", type_="valid"),
        result(from_=THIRD, to=OURS, type_="valid"),
        result(from_=OURS, to=PEER, type_="valid"),
        result(from_=PEER, to=OURS),
        verify(from_=PEER, to=OURS),
        verify(from_=PEER, to=OURS, type_="valid"),
    ],
)
def test_answers_to_what_was_never_asked_end_the_stream(sent):
    for shell in (keyed(), established(dialback=True)):
        shell.send(sent)
        assert "policy-violation" == shell.condition
        assert not shell.of(Established)


def test_an_answer_counts_once():
    shell = keyed()
    shell.send(from_peer(result, type_="valid") * 2)
    assert [Established, StreamFailed] == [type(event) for event in shell.events]


def test_a_result_where_the_certificate_was_enough_is_an_attack():
    shell = established(dialback=True)
    shell.send(from_peer(result, type_="valid"))
    assert "policy-violation" == shell.condition


@pytest.mark.parametrize(
    ("answered", "condition", "permanent"),
    [
        (from_peer(result, type_="invalid"), Condition.INTERNAL_SERVER_ERROR, False),
        (
            from_peer(
                result,
                type_="error",
                key=f"<error type='cancel'><item-not-found xmlns='{STANZAS}'/></error>",
            ),
            Condition.REMOTE_SERVER_NOT_FOUND,
            True,
        ),
        (from_peer(result, type_="error"), Condition.REMOTE_SERVER_TIMEOUT, False),
    ],
)
def test_a_refused_key_ends_the_stream_if_nothing_else_is_on_it(answered, condition, permanent):
    shell = keyed()
    assert END == shell.send(answered)
    refused, closed = shell.events
    assert (condition, permanent) == (refused.condition, refused.permanent)
    assert StreamClosed() == closed


def test_another_pair_needs_a_peer_that_answers_with_errors():
    assert not established(dialback=True).stream.can_prove("other.example", PEER)
    assert not established(OFFER_ERRORS).stream.can_prove("other.example", PEER)
    assert not keyed(OFFER_ERRORS).stream.can_prove("other.example", PEER)
    shell = established(OFFER_ERRORS, dialback=True)
    assert shell.stream.can_prove("other.example", PEER)
    assert not shell.stream.can_prove(OURS, THIRD)  # its certificate does not say so
    with pytest.raises(RuntimeError):
        shell.stream.prove(OURS, THIRD)


def test_another_pair_is_proved_on_the_same_stream():
    shell = established(OFFER_ERRORS, dialback=True, proofs=tls(PEER, f"rooms.{PEER}"))
    shell.stream.prove("other.example", f"rooms.{PEER}")
    key = make_key(SECRET, f"rooms.{PEER}", "other.example", "s2")
    assert f"<db:result from='other.example' to='rooms.{PEER}'>{key}</db:result>".encode() == shell.take()
    shell.stream.prove("other.example", f"rooms.{PEER}")
    assert b"" == shell.take()  # once is enough
    assert not shell.stream.carries("other.example", f"rooms.{PEER}")
    shell.send(from_peer(result, from_=f"rooms.{PEER}", to="other.example", type_="valid"))
    assert shell.stream.carries("other.example", f"rooms.{PEER}")
    assert not shell.stream.carries("other.example", PEER)


def test_another_pair_that_is_refused_costs_only_that():
    shell = established(OFFER_ERRORS, dialback=True)
    shell.stream.prove("other.example", PEER)
    shell.send(from_peer(result, to="other.example", type_="invalid"))
    assert ["other.example"] == [each.from_ for each in shell.of(Refused)]
    assert shell.stream.carries(OURS, PEER)
    assert not shell.stream.closed


# -- asking an authoritative server --------------------------------------------------

ASKED = KeyToVerify(PEER, OURS, "k<1", "inbound")


@pytest.mark.parametrize("verify_only", [True, False])
def test_a_key_waits_for_the_stream_and_is_answered(verify_only):
    shell = Initiating(tls(), dialback=True, verify_only=verify_only)
    shell.walk(shell.stream.verify(ASKED))
    assert b"<db:verify" not in shell.take()
    sent = shell.send(answer() + features(MECHANISMS * verify_only))
    assert b"<db:verify from='library.example' to='peer.example' id='inbound'>k&lt;1</db:verify>" in sent
    assert verify_only == (b"<db:result" not in sent)
    shell.send(from_peer(verify, id_="inbound", type_="valid"))
    assert [VerifyAnswered(ASKED, True)] == shell.events
    shell.walk(shell.stream.verify(ASKED))
    shell.send(from_peer(verify, id_="inbound", type_="invalid"))
    assert VerifyAnswered(ASKED, False) == shell.events[-1]


def test_whatever_goes_wrong_there_the_server_was_not_found():
    shell = Initiating(dialback=True, verify_only=True)
    shell.walk(shell.stream.verify(ASKED))
    shell.send(answer() + features() + from_peer(verify, id_="inbound", type_="error"))
    (answered,) = shell.events
    assert Condition.REMOTE_SERVER_NOT_FOUND is answered.verdict.condition


@pytest.mark.parametrize(
    "sent",
    [
        verify(from_=PEER, to=OURS, id_="another", type_="valid"),
        verify(from_=PEER, to="other.example", id_="inbound", type_="valid"),
        verify(from_=THIRD, to=OURS, id_="inbound", type_="valid"),
    ],
)
def test_the_answer_must_be_to_what_was_asked(sent):
    shell = Initiating(dialback=True, verify_only=True)
    shell.walk(shell.stream.verify(ASKED))
    shell.send(answer() + features() + sent)
    assert "policy-violation" == shell.condition
    (answered,) = shell.of(VerifyAnswered)
    assert isinstance(answered.verdict, StanzaError)


def test_only_the_authority_is_asked():
    with pytest.raises(RuntimeError):
        list(Initiating(dialback=True).stream.verify(KeyToVerify(THIRD, OURS, "k", "1")))


def test_a_stream_for_keys_carries_no_stanzas():
    shell = Initiating(dialback=True, verify_only=True)
    shell.send(answer() + features(MECHANISMS, OFFER_BIDI))
    assert not shell.stream.bidi
    assert not shell.stream.carries(OURS, PEER)
    shell.send(message(from_=f"pat@{PEER}", to=f"mia@{OURS}"))
    assert "not-authorized" == shell.condition
    assert not shell.of(Refused)


# -- the end --------------------------------------------------------------------------

LOST = StreamFault(Cause.CONNECTION_LOST, "reset by the peer")
ENDINGS = {
    "closed by the peer": lambda shell: shell.send(END),
    "failed by the peer": lambda shell: shell.send(stream_error("reset")),
    "closed by us": lambda shell: shell.walk(shell.stream.close()),
    "failed by us": lambda shell: shell.walk(
        shell.stream.fail(StreamError(StreamCondition.CONNECTION_TIMEOUT))
    ),
    "lost": lambda shell: shell.walk(shell.stream.lost(LOST)),
    "garbage": lambda shell: shell.send(b"<!"),
}


def waiting() -> Initiating:
    """A stream on which a pair and two keys wait, one of them sent."""
    shell = keyed()
    shell.walk(shell.stream.verify(ASKED))
    shell.walk(shell.stream.verify(ASKED))
    return shell


@pytest.mark.parametrize("start", [Initiating, waiting, lambda: Initiating(direct=False)])
@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
def test_whatever_ends_the_stream_all_that_is_open_is_answered_once(start, ending):
    shell = start()
    if not shell.stream.id:
        shell.send(answer())
    ending(shell)
    ending(shell)
    assert [(OURS, PEER)] == [(each.from_, each.to) for each in shell.of(Refused)]
    assert (2 if start is waiting else 0) == len(shell.of(VerifyAnswered))
    assert all(isinstance(each.verdict, StanzaError) for each in shell.of(VerifyAnswered))
    shell.walk(shell.stream.lost(LOST))
    assert 1 == len(shell.of(Refused))
    assert shell.stream.closed
    assert not shell.stream.carries(OURS, PEER)


def test_a_key_that_comes_after_the_end_is_answered():
    shell = established()
    shell.send(END)
    shell.walk(shell.stream.verify(ASKED))
    assert isinstance(shell.events[-1], VerifyAnswered)


def test_our_error_is_sent_where_there_is_a_stream():
    error = StreamError(StreamCondition.SYSTEM_SHUTDOWN)
    shell = established()
    shell.walk(shell.stream.fail(error))
    assert b"<system-shutdown " in shell.take()
    unborn = ServerOutbound(OURS, PEER, policy(), SECRET)
    assert [Refused, StreamFailed] == [type(each) for each in unborn.fail(error)]
    assert b"" == unborn.take_output()


def test_a_connection_that_could_not_be_had_is_a_reason():
    unborn = ServerOutbound(OURS, PEER, policy(), SECRET)
    assert [Refused(OURS, PEER, LOST, False)] == list(unborn.lost(LOST))
    assert not list(unborn.lost(LOST))


def test_a_handshake_that_ends_after_the_stream_did_changes_nothing():
    shell = Initiating(direct=False)
    shell.react = lambda event: None  # type: ignore[method-assign]  # the handshake takes its time
    shell.send(answer() + features(OFFER_TLS) + PROCEED)
    shell.walk(shell.stream.close())
    shell.take()
    assert not list(shell.stream.tls_started(tls(PEER)))
    assert b"" == shell.take()
    assert shell.stream.closed


def test_after_our_close_only_the_peers_end_matters():
    shell = established(OFFER_BIDI)
    shell.walk(shell.stream.close())
    assert END == shell.send(message(from_=f"pat@{PEER}", to=f"mia@{OURS}"))
    assert not shell.events
    shell.send(END)
    assert [StreamClosed()] == shell.events
