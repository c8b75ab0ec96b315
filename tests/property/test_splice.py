"""Forwarding raw bytes means the same as writing the stanza anew, whatever a client wrote."""

from __future__ import annotations

from xml.etree.ElementTree import Element, fromstring

from hypothesis import given, settings
from hypothesis import strategies as st

from refserver import ns
from refserver.jid import JID
from refserver.stanza import Stanza
from refserver.xml import Framer, Limits
from refserver.xml.element import clark, element

HEADER = f"<stream:stream xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAM}'>".encode()
SENDER = JID.parse("mia@library.example/d'<&>\"esk")
ADDRESSES = [
    "pat@library.example",
    "Pat@Library.Example/x",
    "library.example",
    "a@b/&lt;&amp;c&gt;",
    "a@b/&#x27;",
]

# What stands between tags, and in attribute values, as somebody may write it.
ENTITIES = ["&amp;", "&lt;", "&gt;", "&#10;", "&#xD;", "&#9;"]
CHARACTERS = st.sampled_from(["a", " ", "\n", "\r", "\t", "é", "\U0001f4da", ">", "/", "=", *ENTITIES])
TEXT = st.lists(CHARACTERS, max_size=8).map("".join)
CONTENT = st.one_of(TEXT, TEXT.map(lambda text: f"<![CDATA[{text}]]>"))
QUOTES = st.sampled_from("'\"")
SPACES = st.sampled_from([" ", "\n ", "  "])
NAMES = st.sampled_from(["body", "x", "message", "iq", "a-b", "stream:error", "p:x"])
NAMESPACES = st.sampled_from(["", "urn:x", ns.CLIENT, ns.DELAY, ns.STREAM])


@st.composite
def attributes(draw: st.DrawFn, names: st.SearchStrategy[str]) -> str:
    chosen = draw(st.lists(names, max_size=3, unique=True))
    made = ""
    for name in chosen:
        quote = draw(QUOTES)
        value = draw(TEXT).replace(quote, "")
        made += f"{draw(SPACES)}{name}{draw(st.sampled_from(['', ' ']))}={quote}{value}{quote}"
    return made + draw(st.sampled_from(["", " "]))


@st.composite
def children(draw: st.DrawFn, depth: int = 0) -> str:
    name = draw(NAMES)
    declared = draw(st.sampled_from(["", f" xmlns='{draw(NAMESPACES)}'"]))
    if name.startswith("p:"):
        declared += " xmlns:p='urn:p'"
    opening = name + declared + draw(attributes(st.sampled_from(["id", "xml:lang", "a", "b"])))
    parts = st.one_of(CONTENT, children(depth + 1)) if depth < 3 else CONTENT
    inside = "".join(draw(st.lists(parts, max_size=3)))
    if not inside and draw(st.booleans()):
        return f"<{opening}/>"
    return f"<{opening}>{inside}</{name}>"


@st.composite
def stanzas(draw: st.DrawFn) -> bytes:
    kind = draw(st.sampled_from(["message", "presence"]))
    to = draw(st.sampled_from(["", *(f" to='{address}'" for address in ADDRESSES)]))
    more = draw(attributes(st.sampled_from(["id", "xml:lang", "class", "x"])))
    opening = kind + draw(st.sampled_from([to + more, more.rstrip() + to]))
    inside = "".join(draw(st.lists(st.one_of(children(), CONTENT), max_size=4)))
    return (f"<{opening}>{inside}</{kind}>" if inside or draw(st.booleans()) else f"<{opening}/>").encode()


def received(data: bytes) -> Stanza:
    """The stanza as a client's stream delivers it, stamped."""
    framer = Framer(Limits(0))
    frames = framer.feed(HEADER + data)
    next(frames)
    frame = next(frames)
    assert isinstance(frame, Element)
    stanza = Stanza.received(frame, framer.raw)
    stanza.from_ = SENDER
    return stanza


def parsed(data: bytes) -> Element:
    """The one stanza that the bytes are on a client's stream."""
    (found,) = fromstring(HEADER + data + b"</stream:stream>")
    assert not found.tail
    return found


def meaning(tree: Element) -> object:
    inside = [(meaning(child), child.tail or "") for child in tree]
    return tree.tag, dict(tree.attrib), tree.text or "", inside


def intended(data: bytes, to: JID | None) -> object:
    """What the client wrote, with the addresses that the server knows."""
    tree = parsed(data)
    tree.set("from", SENDER.text)
    if to is not None:
        tree.set("to", to.text)
    return meaning(tree)


@settings(max_examples=250, deadline=None)
@given(stanzas())
def test_what_is_forwarded_means_what_was_sent(data: bytes) -> None:
    stanza = received(data)
    assert intended(data, stanza.to) == meaning(parsed(stanza.wire()))
    assert intended(data, stanza.to) == meaning(parsed(stanza.encode(ns.CLIENT)))


@settings(max_examples=100, deadline=None)
@given(stanzas())
def test_copies_are_the_stanza_with_another_address(data: bytes) -> None:
    stanza, to = received(data), JID.parse("sam@library.example/<x>")
    expected = intended(data, to)
    assert expected == meaning(parsed(stanza.wire_to(to)))
    copy = stanza.copy_to(to)
    assert copy.wire() == stanza.wire_to(to) == copy.encode(ns.CLIENT)
    assert stanza.element is copy.element
    assert intended(data, stanza.to) == meaning(parsed(stanza.wire()))  # the copies have not changed it


@settings(max_examples=100, deadline=None)
@given(stanzas())
def test_a_changed_stanza_is_written_as_it_is_now(data: bytes) -> None:
    stanza = received(data)
    stanza.wire()
    deep = stanza.copy()
    stanza.element.append(element("urn:new", "new"))
    stanza.changed()
    assert clark("urn:new", "new") == parsed(stanza.wire())[-1].tag
    assert intended(data, deep.to) == meaning(parsed(deep.wire()))


@settings(max_examples=100, deadline=None)
@given(stanzas())
def test_for_another_server_it_is_in_the_namespace_of_servers(data: bytes) -> None:
    """The content namespaces differ in name only (RFC 6120 4.8.3)."""
    stanza = received(data)
    header = HEADER.replace(ns.CLIENT.encode(), ns.SERVER.encode())
    (tree,) = fromstring(header + stanza.encode(ns.SERVER) + b"</stream:stream>")
    assert clark(ns.SERVER, stanza.kind) == tree.tag
    assert stanza.element.text == tree.text
    assert len(stanza.element) == len(tree)


def test_most_of_what_clients_send_is_spliced() -> None:
    """Or the tests above would compare the serialiser with itself."""
    for data in (
        b"<message to='pat@library.example' type='chat' id='1'><body>a &amp; b</body></message>",
        b'<message type="chat" to="pat@library.example/x"><x xmlns="urn:x"><y/></x></message>',
        b"<presence/>",
        b"<message to='pat@library.example'><p:x xmlns:p='urn:p'/></message>",
    ):
        assert received(data).can_splice, data
    for data in (
        b"<message to='Pat@library.example'/>",
        b"<message to='pat@library.example' xmlns:p='urn:p'/>",
        b"<message to='pat@library.example'><body><![CDATA[a]]></body></message>",
        b"<message from='mia@library.example' to='pat@library.example'/>",
    ):
        assert not received(data).can_splice, data
