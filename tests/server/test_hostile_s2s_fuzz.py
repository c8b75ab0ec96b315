"""Garbage from other servers over real sockets, in both roles: from who comes to us, and from whom we go to.

Whatever comes, we answer in well-formed XML (the stranger's parser would raise), end the stream, log nothing
unexpected, take no more memory, and serve the next server. The machines alone are fuzzed, with more examples,
in tests/property/test_s2s_stream.py. The examples here are the same in every run.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.server.live import SASL, STARTTLS, TLS, Raw
from tests.server.strangers import (
    BIDI,
    LIBRARY,
    OFFER_DIALBACK,
    OFFER_EXTERNAL,
    OFFER_TLS,
    STRANGERS,
    SUCCESS,
    TOWN,
    Stranger,
    Town,
    dialback,
    external,
    features,
    header,
    message,
)

EXAMPLES = 80
MEMORY = 12_000_000  # bytes that the server may have grown by, caches included
ALERT = b"\x15\x03"  # of a handshake that could not be, behind <proceed/>
NUMBER = STRANGERS - 1
PEER = f"n{NUMBER}.{TOWN}"  # nobody is at home there
MORE = "id='s1' version='1.0'"
ME, YOU = f"pat@{PEER}", f"mia@{LIBRARY}"
ERROR = "<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
SM = "xmlns='urn:xmpp:sm:3'"

PIECES = [
    *(header(PEER), header(PEER, LIBRARY, MORE), header(""), header(PEER, PEER), header(LIBRARY)),
    *(STARTTLS, f"<proceed xmlns='{TLS}'/>".encode(), SUCCESS, f"<failure xmlns='{SASL}'/>".encode()),
    *(external(), external(PEER), external(LIBRARY), f"<response xmlns='{SASL}'>=</response>".encode()),
    *(features(), features(OFFER_TLS), features(OFFER_EXTERNAL), features(OFFER_DIALBACK)),
    features(OFFER_EXTERNAL, OFFER_DIALBACK, "<bidi xmlns='urn:xmpp:features:bidi'/>", f"<sm {SM}/>"),
    features("<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>1</max-bytes></limits>"),
    *(
        dialback(name, from_, to, "key", id="s1", **type_)
        for name in ("result", "verify")
        for from_, to in ((PEER, LIBRARY), (LIBRARY, PEER), (f"rooms.{LIBRARY}", LIBRARY))
        for type_ in ({}, {"type": "valid"}, {"type": "invalid"}, {"type": "x"})
    ),
    dialback("result", PEER, LIBRARY, ERROR, type="error"),
    *(BIDI, message(ME, YOU), message(ME, f"ask@{LIBRARY}"), message(YOU, ME), message("@", "@")),
    *(
        f"<{kind} from='{ME}' to='{LIBRARY}' id='1' type='get'><a/></{kind}>".encode()
        for kind in ("iq", "presence")
    ),
    f"<presence from='{ME}' to='{YOU}' type='subscribe'/>".encode(),
    f"<presence from='{ME}' to='room@rooms.{LIBRARY}/n'/>".encode(),
    f"<iq type='get' id='2' from='{ME}' to='{LIBRARY}'><ping xmlns='urn:xmpp:ping'/></iq>".encode(),
    *(f"<{name} {SM}/>".encode() for name in ("enable", "enabled", "r", "a", "resume", "failed")),
    *(f"<a {SM} h='{h}'/>".encode() for h in ("0", "1", "4294967295", "-1", "x")),
    *(
        b"<stream:error/>",
        b"</stream:stream>",
        b"<!--",
        b"-->",
        b"<![CDATA[",
        b"]]>",
        b"<?a?>",
        b"&#0;",
        b"&a;",
    ),
    *(b"<", b">", b"/>", b"'", b" ", b"\xff", b"\0", b"<a>" * 120, b"x" * 12_000, b"<message", b"</message>"),
]
WORDS = st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=20)), max_size=12)
CUTS = st.lists(st.integers(0, 5_000), max_size=3)


def said(raw: Raw, words: list[bytes], cuts: list[int]) -> None:
    """Send it in pieces, then no more; our server must end its side in well-formed XML."""
    data = b"".join(words)
    parse = raw._parse
    raw._parse = lambda data: parse(data.partition(ALERT)[0])  # type: ignore[method-assign]
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in pairwise(edges):
        if not raw.try_send(data[start:end]):
            break
    with suppress(OSError):
        socket.socket.shutdown(raw._socket, socket.SHUT_WR)  # an SSLSocket's own would end reading too
    with suppress(ssl.SSLError):  # our words about an end of TLS in the middle
        raw.closed()


def come(stranger: Stranger, stage: str) -> Raw:
    """A stream to us, as far as `stage`."""
    if stage == "connected":
        return stranger.connect()
    if stage == "opened":
        return stranger.opened()
    if stage == "proved":
        return stranger.proved(bidi=True)
    return stranger.secured(stranger.town.good if stage == "certified" else None)


def be_visited(town: Town, stranger: Stranger, stage: str) -> Raw:
    """Our stream to a stranger, as far as `stage`."""
    with stranger.at_home() as door:
        town.write_to(stranger)
        visit = door.answer()
    if stage == "proved":
        visit.serve()
        visit.expect(b"</message>")
        return visit
    if stage in ("secured", "certified"):
        visit.shake_hands()
    visit.greeted()
    if stage != "connected":
        visit.send(header(stranger.domain, LIBRARY, MORE))
    return visit


STAGES = st.sampled_from(["connected", "opened", "secured", "certified", "proved"])
SETTINGS = settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None)


@contextmanager
def harmless(town: Town) -> Iterator[None]:
    before = town.server.memory()
    with town.unharmed():
        yield
    assert town.server.memory() - before < MEMORY


def test_nothing_that_comes_to_us_does_harm(believing_town: Town) -> None:
    town = believing_town
    complaints = len(town.server.complaints())

    @SETTINGS
    @given(STAGES, WORDS, CUTS)
    def one(stage: str, words: list[bytes], cuts: list[int]) -> None:
        said(come(Stranger(town, NUMBER), stage), words, cuts)
        assert [] == town.server.complaints()[complaints:]

    with harmless(town):
        one()


def test_nothing_that_answers_us_does_harm(believing_town: Town) -> None:
    complaints = len(believing_town.server.complaints())

    @SETTINGS
    @given(STAGES, WORDS, CUTS)
    def one(stage: str, words: list[bytes], cuts: list[int]) -> None:
        stranger = believing_town.stranger()
        named = [word.replace(PEER.encode(), stranger.domain.encode()) for word in words]
        said(be_visited(believing_town, stranger, stage), named, cuts)
        assert [] == believing_town.server.complaints()[complaints:]

    with harmless(believing_town):
        one()
