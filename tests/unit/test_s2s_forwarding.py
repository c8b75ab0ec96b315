"""What another server sends goes to our clients in the bytes it came in, on streams of both directions.

That these mean the same is tests/property/test_splice.py's to show; here, that they are used.
"""

from __future__ import annotations

import pytest

from refserver import ns
from refserver.jid import JID
from refserver.stanza import Stanza
from refserver.xml import Framer, Limits
from refserver.xml.element import Element
from tests.unit.server_pair import (
    HEADER,
    OURS,
    PEER,
    End,
    Initiating,
    Serving,
    answer,
    external,
    message,
    tls,
)

CLIENT_HEADER = HEADER.replace(b"jabber:server'", b"jabber:client'").replace(
    f" xmlns:db='{ns.DIALBACK}'".encode(), b""
)


def serving() -> End:
    """The peer's stream to us."""
    shell = Serving(tls(PEER))
    shell.send(HEADER)
    shell.send(external() + HEADER)
    return shell


def initiating() -> End:
    """Our stream to the peer, who sends on it too (XEP-0288)."""
    mechanisms = f"<mechanisms xmlns='{ns.SASL}'><mechanism>EXTERNAL</mechanism></mechanisms>"
    offers = f"<stream:features>{mechanisms}<bidi xmlns='{ns.FEATURE_BIDI}'/></stream:features>"
    shell = Initiating(bidi=True)
    shell.send(answer() + offers.encode())
    shell.send(f"<success xmlns='{ns.SASL}'/>".encode() + answer("s2") + b"<stream:features/>")
    return shell


@pytest.mark.parametrize("stream", [serving, initiating])
def test_a_client_gets_the_bytes_that_came(stream):
    shell = stream()
    sent = [message(more=f" n='{number}'") for number in range(3)]
    shell.events.clear()
    shell.send(b"".join(sent))
    assert [event.wire() for event in shell.events if isinstance(event, Stanza)] == sent


def test_an_address_that_was_written_otherwise_is_written_anew():
    shell = serving()
    shell.events.clear()
    shell.send(message(to=f"Mia@{OURS}"))
    (stanza,) = shell.events
    assert stanza.wire() == message(to=f"mia@{OURS}").replace(
        f" from='pat@{PEER}/home' to='mia@{OURS}'".encode(),
        f" to='mia@{OURS}' from='pat@{PEER}/home'".encode(),
    )


def test_another_server_gets_a_client_s_bytes_and_the_sender():
    written = f"<message to='pat@{PEER}' type='chat'><body>a &amp; b</body></message>".encode()
    framer = Framer(Limits(0))
    frames = framer.feed(CLIENT_HEADER + written)
    (stanza,) = (Stanza.received(frame, framer.raw) for frame in frames if isinstance(frame, Element))
    stanza.from_ = JID.parse(f"mia@{OURS}/desk")
    expected = written.replace(b"<message", f"<message from='mia@{OURS}/desk'".encode())
    assert stanza.encode(ns.SERVER) == expected
