"""A stanza forwarded in the bytes it came in means the same as one written anew."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from hypothesis import given, settings
from hypothesis import strategies as st

from refserver import ns
from refserver.errors import StanzaError
from refserver.jid import JID
from refserver.stanza import Stanza
from refserver.xml.framer import Framer, Limits, StreamEnd, StreamHeader

HEADER = f"<stream:stream xmlns='jabber:client' xmlns:stream='{ns.STREAM}'>".encode()
SENDERS = st.sampled_from(["mia@library.example/desk", "home.example/<&>", "library.example/\"'"])
VALUES = st.sampled_from(["", "x", "&amp;", "&#64;", "&apos;", "&lt;/message&gt;", ">", "é", "a\nb"])
QUOTES = st.sampled_from("'\"")
SPACES = st.sampled_from([" ", "\n", "  ", "\t "])
ADDRESSES = st.sampled_from(
    ["pat@home.example", "PAT@home.example", "pat&#64;home.example", "home.example/&lt;", "home.example./x"]
)
ATTRIBUTES = st.one_of(
    st.tuples(st.just("to"), ADDRESSES),
    st.tuples(st.just("from"), st.just("mia@library.example")),
    st.tuples(st.sampled_from(["id", "type", "xml:lang", "a"]), VALUES),
)
CHILDREN = st.lists(
    st.sampled_from(
        [
            "<body>hi</body>",
            "<body>&lt;&amp;&#10;&gt;</body>",
            "<x xmlns='urn:a'><y/></x>",
            "<a:x xmlns:a='urn:a' a:b='c'/>",
            "<![CDATA[<]]>",
            "text",
            "<body\n/>",
            "<body from='eve@home.example'/>",
            "<message xmlns='jabber:client'/>",
        ]
    ),
    max_size=4,
)


@st.composite
def written(draw: st.DrawFn) -> bytes:
    """The bytes of a message, in one of the many ways to write it."""
    tag = "<message"
    for name, value in dict(draw(st.lists(ATTRIBUTES, max_size=4))).items():
        quote = draw(QUOTES)
        tag += f"{draw(SPACES)}{name}={quote}{value}{quote}"
    tag += draw(st.sampled_from(["", " ", "\n"]))
    content = "".join(draw(CHILDREN))
    if not content and draw(st.booleans()):
        return f"{tag}/>".encode()
    return f"{tag}>{content}</message>".encode()


def received(data: bytes) -> tuple[Element, bytes]:
    framer = Framer(Limits(0))
    frames = framer.feed(HEADER + data)
    assert isinstance(next(frames), StreamHeader)
    element = next(frames)
    assert not isinstance(element, StreamHeader | StreamEnd)
    raw = framer.raw
    assert list(frames) == []
    return element, raw


def meaning(element: Element) -> tuple[object, ...]:
    attributes = frozenset(element.attrib.items())
    text, tail = element.text or "", element.tail or ""
    return element.tag, attributes, text, tail, *map(meaning, element)


@given(written(), SENDERS)
@settings(max_examples=300)
def test_spliced_bytes_mean_the_same_as_those_written_anew(data: bytes, sender: str) -> None:
    element, raw = received(data)
    try:
        stanza = Stanza.received(element, raw)
    except StanzaError:
        return
    stanza.from_ = JID.parse(sender)
    sent, _ = received(stanza.wire())
    anew, _ = received(stanza.encode(ns.CLIENT))
    assert meaning(anew) == meaning(sent)
    assert sender == sent.get("from")


@given(written(), SENDERS)
def test_what_was_changed_is_written_as_it_is_now(data: bytes, sender: str) -> None:
    element, raw = received(data)
    try:
        stanza = Stanza.received(element, raw)
    except StanzaError:
        return
    stanza.from_ = JID.parse(sender)
    stanza.element.set("id", "changed")
    stanza.changed()
    sent, _ = received(stanza.wire())
    assert ("changed", False) == (sent.get("id"), stanza.can_splice)


def test_an_ordinary_message_is_spliced() -> None:
    element, raw = received(b"<message to='pat@home.example'><body>hi</body></message>")
    stanza = Stanza.received(element, raw)
    stanza.from_ = JID.parse("mia@library.example/desk")
    assert stanza.can_splice
    assert (
        b"<message from='mia@library.example/desk' to='pat@home.example'><body>hi</body></message>"
        == stanza.wire()
    )
