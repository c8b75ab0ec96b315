"""Whole streams, cut anywhere, and streams of garbage."""

from __future__ import annotations

import base64
import re
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from refserver.stanza import Stanza
from refserver.stream.events import Malformed, Reply, StreamClosed, StreamFailed
from tests.unit.scram_client import ScramClient
from tests.unit.stream_shell import (
    BIND,
    HEADER,
    STARTTLS,
    Shell,
    auth,
    bound,
    opened,
    plain,
    sasl,
)

STANZAS = (
    b"<presence/> <message to='mia@library.example' id='1'><body>a &amp; b</body></message>"
    b"<message to='@' id='2'/><iq type='get' id='3'><ping xmlns='urn:xmpp:ping'/></iq></stream:stream>"
)


def tell(event) -> str:
    if isinstance(event, Stanza):
        return f"{event.kind} {event.id} {event.wire()!r}"
    if isinstance(event, Reply):
        return f"reply {event.stanza.wire()!r}"
    return event.error.condition.value if isinstance(event, Malformed) else repr(event)


def feed(shell: Shell, data: bytes, cuts: list[int]) -> bytes:
    """Send `data` in pieces; what came out, without what is random."""
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    output = b"".join(shell.send(data[start:end]) for start, end in pairwise(edges))
    return re.sub(rb"id='[A-Za-z0-9_-]{20,}'", b"id=''", output)


def log_in(cuts: list[int]) -> tuple[list[str], bytes]:
    """STARTTLS, SCRAM-PLUS, bind, stanzas, the end: events and output."""
    shell = Shell(tls=None)
    client = ScramClient("pat", "secret", binding=("tls-exporter", b"e" * 32))
    output = feed(shell, HEADER, cuts) + feed(shell, STARTTLS, cuts)
    challenge = feed(shell, HEADER + auth("SCRAM-SHA-256-PLUS", client.first()), cuts)
    text = base64.b64decode(re.findall(rb"<challenge [^>]*>([^<]+)<", challenge)[0])
    feed(shell, sasl("response", client.final(text)), cuts)
    bind = BIND.replace(b"bind'/>", b"bind'><resource>desk</resource></bind>")
    output += feed(shell, HEADER + bind + STANZAS, cuts)
    return [tell(event) for event in shell.events], output


WHOLE = log_in([])


def test_the_login_that_is_cut_below_succeeds():
    events, output = WHOLE
    assert events[-1] == "StreamClosed(peer_error='')"
    assert output.endswith(b"</stream:stream>")
    words = [event.split()[0] for event in events[-6:-1]]
    assert ["presence", "message", "jid-malformed", "reply", "iq"] == words


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 2_000), max_size=12))
def test_a_login_is_the_same_however_it_is_cut(cuts):
    assert log_in(cuts) == WHOLE


@settings(deadline=None)
@given(st.lists(st.integers(0, 2_000), max_size=30))
def test_a_pipelined_login_is_the_same_however_it_is_cut(cuts):
    shells = Shell(), Shell()
    data = (
        HEADER
        + plain(password="wrong")
        + plain()
        + HEADER
        + BIND.replace(b"/><", b"><resource>desk</resource></bind><")
    )
    data += STANZAS
    outputs = [feed(shell, data, cuts if n else []) for n, shell in enumerate(shells)]
    assert outputs[0] == outputs[1]
    events = [[tell(event) for event in shell.events] for shell in shells]
    assert events[0] == events[1]
    assert isinstance(shells[0].last, StreamClosed)


PIECES = [
    HEADER,
    HEADER[:-1],
    STARTTLS,
    plain(),
    plain(password="wrong"),
    plain("nobody"),
    auth("PLAIN"),
    auth("SCRAM-SHA-1", b"n,,n=pat,r=c1"),
    sasl("response", b"\0pat\0secret"),
    sasl("response"),
    sasl("abort"),
    BIND,
    b"<iq type='get' id='r1'><query xmlns='jabber:iq:register'/></iq>",
    b"<iq type='set' id='s1'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>",
    b"<presence/>",
    b"<message to='@'/>",
    b"<message from='mia@library.example'/>",
    b"<iq/>",
    b"<x xmlns='urn:x'/>",
    b"<stream:error/>",
    b"</stream:stream>",
    b"<message",
    b">",
    b"/>",
    b"&",
    b"<!",
    b"<?",
    b" ",
    b"\xff",
    b"\0",
]
GARBAGE = st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=20)), max_size=12).map(b"".join)
STARTS = st.sampled_from([Shell, opened, bound, lambda **options: opened(registration=True)])


@settings(max_examples=300, deadline=None)
@given(STARTS, GARBAGE, st.lists(st.integers(0, 2_000), max_size=6), st.booleans())
def test_garbage_ends_the_stream_or_waits_within_limits(start, garbage, cuts, asks):
    shell = start()
    shell.asks = asks
    feed(shell, garbage, cuts)
    ends = [event for event in shell.events if isinstance(event, StreamClosed | StreamFailed)]
    if shell.stream.closed:
        assert ends == shell.events[-1:]
    else:
        assert not ends
        assert shell.stream._framer.pending <= shell.stream._framer.limits.stanza_bytes


@settings(max_examples=200, deadline=None)
@given(GARBAGE, st.lists(st.integers(0, 2_000), max_size=6))
def test_nobody_gets_in_without_the_password(garbage, cuts):
    shell = Shell()
    shell.accounts.clear()
    feed(shell, HEADER + garbage, cuts)
    assert shell.stream.account is None
    assert not shell.stanzas
