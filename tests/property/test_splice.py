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


# -- between servers ---------------------------------------------------------------

SERVER_HEADER = (
    f"<stream:stream xmlns='{ns.SERVER}' xmlns:stream='{ns.STREAM}' xmlns:db='{ns.DIALBACK}'>".encode()
)
"""As Prosody and ejabberd write it."""
COMPONENT_HEADER = f"<stream:stream xmlns='{ns.COMPONENT}' xmlns:stream='{ns.STREAM}'>".encode()
DECLARED = [
    ns.CLIENT,
    ns.SERVER,
    ns.COMPONENT,
    ns.CLIENT.replace(":", "&#58;"),
    ns.SERVER.replace("b", "&#x62;"),
    "urn:x",
]
"""The declarations of a child, by name or covertly."""


@st.composite
def odd_children(draw: st.DrawFn) -> str:
    """Elements in or below elements of a content namespace that is named, or whose prefix the header has."""
    space, name = draw(st.sampled_from(DECLARED)), draw(st.sampled_from(["x", "body", "message"]))
    quote = draw(QUOTES)
    return draw(
        st.sampled_from(
            [
                f"<{name} xmlns={quote}{space}{quote}><y/></{name}>",
                f"<x xmlns='urn:y'><{name} xmlns={quote}{space}{quote}>a</{name}></x>",
                f"<p:{name} xmlns:p={quote}{space}{quote} p:a='b'/>",
                f"<x xmlns=''><{name}/></x>",
                "<body>a <stream:x/> b</body>",
            ]
        )
    )


@st.composite
def server_stanzas(draw: st.DrawFn) -> bytes:
    """As a server may send them: addresses always, and elements whose namespaces matter."""
    kind = draw(st.sampled_from(["message", "presence"]))
    sender = draw(st.sampled_from(["sam@school.example/x", "Sam@School.example/x", "s@b/&lt;&#x27;"]))
    words = [f" to='{draw(st.sampled_from(ADDRESSES))}'", f" from='{sender}'"]
    words.append(draw(attributes(st.sampled_from(["id", "xml:lang", "class"]))).rstrip())
    opening = kind + "".join(draw(st.permutations(words)))
    parts = st.one_of(children(), odd_children(), CONTENT, st.just("<db:x/>"))
    inside = "".join(draw(st.lists(parts, max_size=4)))
    return (f"<{opening}>{inside}</{kind}>" if inside else f"<{opening}/>").encode()


def received_from_server(data: bytes, header: bytes = SERVER_HEADER) -> Stanza:
    framer = Framer(Limits(0))
    frames = framer.feed(header + data)
    next(frames)
    frame = next(frames)
    assert isinstance(frame, Element)
    return Stanza.received(frame, framer.raw)


def parsed_by_server(data: bytes, header: bytes = SERVER_HEADER) -> Element:
    """The one stanza that the bytes are on a server's stream, in the namespace that we keep it in."""
    (found,) = fromstring(header + data + b"</stream:stream>")
    content = ns.SERVER if header == SERVER_HEADER else ns.COMPONENT
    for each in found.iter():
        each.tag = each.tag.replace(f"{{{content}}}", f"{{{ns.CLIENT}}}")
    return found


def sent_by_server(data: bytes, header: bytes, stanza: Stanza) -> object:
    """What the other server wrote, with the addresses in their normal form."""
    tree = parsed_by_server(data, header)
    assert stanza.to is not None
    assert stanza.from_ is not None
    tree.set("to", stanza.to.text)
    tree.set("from", stanza.from_.text)
    return meaning(tree)


@settings(max_examples=250, deadline=None)
@given(server_stanzas(), st.sampled_from([SERVER_HEADER, COMPONENT_HEADER]))
def test_what_another_server_sent_is_read_and_forwarded_as_it_meant_it(data: bytes, header: bytes) -> None:
    if header == COMPONENT_HEADER:
        data = data.replace(b"<db:x/>", b"")  # no such prefix there
    stanza = received_from_server(data, header)
    expected = sent_by_server(data, header, stanza)
    assert expected == meaning(parsed(stanza.wire()))
    assert expected == meaning(parsed(stanza.copy().wire()))
    tags = [each.tag for each in parsed_by_server(data, header).iter()]
    assert tags == [each.tag for each in stanza.element.iter()]


@settings(max_examples=250, deadline=None)
@given(stanzas(), odd_children())
def test_what_another_server_gets_means_what_was_sent(data: bytes, odd: str) -> None:
    """It gets from the raw bytes what it would get from the tree."""
    end = data.rfind(b"</")
    if end >= 0:
        data = data[:end] + odd.encode() + data[end:]
    stanza = received(data)
    header = HEADER.replace(ns.CLIENT.encode(), ns.SERVER.encode())
    spliced = stanza.encode(ns.SERVER)
    stanza.changed()
    (one,), (other,) = (
        fromstring(header + each + b"</stream:stream>") for each in (spliced, stanza.encode(ns.SERVER))
    )
    assert meaning(one) == meaning(other)


def test_most_of_what_servers_send_is_forwarded_as_it_came() -> None:
    for data in (
        b"<message from='sam@school.example/x' to='pat@library.example' id='1'><body>&amp;</body></message>",
        b'<presence to="pat@library.example" from="sam@school.example/x"><x xmlns="urn:x"/></presence>',
        b"<message to='a@b' from='c@d'><x xmlns='urn:x'><message xmlns='jabber:client'/></x></message>",
    ):
        assert received_from_server(data).wire() == data
    for data in (
        b"<message to='a@b' from='c@d'><x xmlns='urn:x'><message xmlns='jabber:server'/></x></message>",
        b"<message to='a@b' from='c@d'><db:x/></message>",
        b"<message to='a@B' from='c@d'/>",
        b"<message to='a@b' from='c@D'/>",
    ):
        assert not received_from_server(data).can_splice, data


def test_most_of_what_clients_send_goes_to_other_servers_as_it_came() -> None:
    data = b"<message to='pat@library.example' type='chat'><body>a</body><x xmlns='urn:x'/></message>"
    assert received(data).encode(ns.SERVER) == received(data).wire()
    covert = data.replace(b"urn:x", b"jabber&#58;client")
    assert b"&#" not in received(covert).encode(ns.SERVER)
