"""Streams between servers, cut anywhere, and streams of garbage in both roles."""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from refserver.errors import Cause, StreamFault
from refserver.stanza import Stanza
from refserver.stream.events import (
    Established,
    KeyToVerify,
    Refused,
    StanzaRefused,
    StreamClosed,
    StreamFailed,
    VerifyAnswered,
)
from tests.unit.server_pair import (
    BIDI,
    HEADER,
    OURS,
    PEER,
    PROCEED,
    STARTTLS,
    End,
    Federation,
    Initiating,
    Serving,
    answer,
    external,
    header,
    message,
    result,
    tls,
    verify,
)

FEATURES = b"<stream:features>%s</stream:features>"
MECHANISMS = (
    b"<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms>"
)
SUCCESS = b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"
CUTS = st.lists(st.integers(0, 3_000), max_size=12)


def tell(event) -> str:
    if isinstance(event, Stanza):
        return f"{event.kind} {event.id} {event.copy().wire()!r}"
    if isinstance(event, StanzaRefused):
        return f"{event.error.condition} {event.reply and event.reply.wire()!r}"
    return re.sub(r"stream_id='[^']*'", "", repr(event))


def feed(shell: End, data: bytes, cuts: list[int]) -> bytes:
    """Send `data` in pieces; what came out, without what is random."""
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    output = b"".join(shell.send(data[start:end]) for start, end in pairwise(edges))
    return re.sub(rb"id='[A-Za-z0-9_-]{20,}'", b"id=''", output)


STREAM = (
    HEADER
    + BIDI
    + external()
    + HEADER
    + message()
    + result(to="other.example")
    + verify()
    + message(to="x@other.example")
    + message(to="\u200b@library.example".replace("\u200b", "&#x200b;"))
    + result(from_="third.example")
    + b"</stream:stream>"
)


@settings(max_examples=100, deadline=None)
@given(CUTS)
def test_an_inbound_stream_is_the_same_however_it_is_cut(cuts):
    shells = [Serving(tls(PEER), dialback=True, verdict=True) for _ in range(2)]
    outputs = [feed(shell, STREAM, cuts if number else []) for number, shell in enumerate(shells)]
    assert outputs[0] == outputs[1]
    told = [[tell(event) for event in shell.events] for shell in shells]
    assert told[0] == told[1]
    assert StreamClosed() == shells[0].events[-1]
    assert 2 == len(shells[0].of(Stanza))
    assert 3 == len(shells[0].of(Established))


OUTBOUND = (
    answer()
    + FEATURES % (MECHANISMS + b"<bidi xmlns='urn:xmpp:features:bidi'/>")
    + SUCCESS
    + answer("s2")
    + FEATURES % b""
    + message()
    + result(from_="third.example")
    + message(from_=f"x@{PEER}")
    + b"</stream:stream>"
)


@settings(max_examples=100, deadline=None)
@given(CUTS)
def test_an_outgoing_stream_is_the_same_however_it_is_cut(cuts):
    shells = [Initiating() for _ in range(2)]
    outputs = [feed(shell, OUTBOUND, cuts if number else []) for number, shell in enumerate(shells)]
    assert outputs[0] == outputs[1]
    told = [[tell(event) for event in shell.events] for shell in shells]
    assert told[0] == told[1]
    assert StreamClosed() == shells[0].events[-1]
    assert 2 == len(shells[0].of(Stanza))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 300), st.booleans(), st.booleans(), st.booleans())
def test_two_servers_come_to_the_same_end_whatever_the_size_of_reads(chunk, proved, dialback, liar):
    both = Federation(tls(PEER) if proved else tls(), chunk=chunk, dialback=dialback, liar=liar)
    welcome = proved or (dialback and not liar)
    assert welcome == bool(both.ours.of(Established)) == bool(both.theirs.of(Established))
    assert welcome == (not both.theirs.of(Refused))
    assert welcome == bool(both.deliver(message()))


PIECES = [
    HEADER,
    HEADER[:-1],
    header(to="other.example"),
    header(from_="third.example"),
    answer(),
    STARTTLS,
    PROCEED,
    BIDI,
    SUCCESS,
    b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
    b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
    FEATURES % b"",
    FEATURES % MECHANISMS,
    FEATURES % b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
    FEATURES % b"<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>",
    external(),
    external(None),
    external(OURS),
    b"<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>=</response>",
    *(
        write(from_=from_, to=to, type_=type_)
        for write in (result, verify)
        for from_, to in ((PEER, OURS), ("third.example", OURS), (OURS, PEER), ("@", ""))
        for type_ in ("", "valid", "invalid", "error", "x")
    ),
    message(),
    message(from_="pat@third.example"),
    message(from_=None),
    message(to="@"),
    message(from_="@/"),
    f"<iq from='{PEER}' to='{OURS}'/>".encode(),
    b"<stream:error/>",
    b"</stream:stream>",
    b"<db:result",
    b"<db:result from='&x;'/>",
    b">",
    b"/>",
    b"&",
    b"<!",
    b"<?",
    b" ",
    b"\xff",
    b"\0",
]
GARBAGE = st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=20)), max_size=14).map(b"".join)


def ends_well(shell: End) -> None:
    """It ended with one last event, or waits within its limits."""
    ends = [event for event in shell.events if isinstance(event, StreamClosed | StreamFailed)]
    if shell.stream.closed:
        assert ends == shell.events[-1:]
    else:
        assert not ends
        assert shell.stream._framer.pending <= shell.stream._framer.limits.stanza_bytes


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from([b"", HEADER, HEADER + external() + HEADER, HEADER + result()]),
    GARBAGE,
    CUTS,
    st.sampled_from([None, True, False]),
    st.booleans(),
)
def test_garbage_ends_an_inbound_stream_or_waits_within_limits(start, garbage, cuts, verdict, direct):
    shell = Serving(tls(PEER), direct=direct, dialback=True, verdict=verdict)
    feed(shell, start + garbage, cuts)
    ends_well(shell)
    for asked in shell.of(KeyToVerify):
        shell.walk(shell.stream.key_verified(asked, False))


@settings(max_examples=300, deadline=None)
@given(GARBAGE, CUTS, st.booleans())
def test_nobody_gets_in_without_a_proof(garbage, cuts, dialback):
    shell = Serving(tls(), dialback=dialback, verdict=False)
    feed(shell, HEADER + garbage, cuts)
    assert not shell.of(Stanza)
    assert not shell.of(Established)


@settings(max_examples=300, deadline=None)
@given(GARBAGE, CUTS)
def test_who_is_proved_speaks_for_nobody_else(garbage, cuts):
    shell = Serving(tls(PEER), dialback=True, verdict=False)
    feed(shell, HEADER + external() + HEADER + garbage, cuts)
    assert {(PEER, OURS)} >= {(each.from_.domainpart, each.to.domainpart) for each in shell.of(Stanza)}


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from([b"", answer(), OUTBOUND[: OUTBOUND.index(b"<message")], answer() + FEATURES % b""]),
    GARBAGE,
    CUTS,
    st.booleans(),
    st.booleans(),
)
def test_garbage_ends_an_outgoing_stream_or_waits_within_limits(start, garbage, cuts, direct, dialback):
    shell = Initiating(direct=direct, dialback=dialback)
    asked = KeyToVerify(PEER, OURS, "k", "s1")
    shell.walk(shell.stream.verify(asked))
    feed(shell, start + garbage, cuts)
    ends_well(shell)
    shell.walk(shell.stream.lost(StreamFault(Cause.CONNECTION_LOST)))
    # Whatever happened: one answer about the pair and one about the key.
    answers = [
        each for each in shell.of(Refused) + shell.of(Established) if (OURS, PEER) == (each.from_, each.to)
    ]
    assert 1 == len(answers)
    assert 1 == len(shell.of(VerifyAnswered))


@settings(max_examples=300, deadline=None)
@given(GARBAGE, CUTS)
def test_without_bidi_nothing_ever_comes_from_an_outgoing_stream(garbage, cuts):
    shell = Initiating(dialback=True, bidi=False)
    feed(shell, answer() + FEATURES % b"<bidi xmlns='urn:xmpp:features:bidi'/>" + garbage, cuts)
    assert not shell.of(Stanza)
