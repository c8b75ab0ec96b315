"""The canonical serialiser: the bytes of known elements."""

from __future__ import annotations

from xml.etree.ElementTree import Element

import pytest

from refserver import ns
from refserver.errors import StreamCondition, StreamError
from refserver.xml.element import element
from refserver.xml.write import escape, escape_attribute, serialise


def message(*children: Element, text: str | None = None, **attributes: str) -> Element:
    return element(ns.CLIENT, "message", attributes, *children, text=text)


def test_stanzas_have_no_xmlns_and_payloads_have_theirs():
    stanza = message(
        element(ns.CLIENT, "body", text="hi"),
        element(
            "urn:a", "x", {"k": "v"}, element("urn:a", "y"), element("urn:b", "z"), element("urn:a", "y")
        ),
        to="a@b",
    )
    expected = (
        b"<message to='a@b'><body>hi</body><x xmlns='urn:a' k='v'><y/><z xmlns='urn:b'/><y/></x></message>"
    )
    assert serialise(stanza) == expected
    assert serialise(stanza, ns.SERVER) == expected
    assert serialise(stanza, ns.COMPONENT) == expected


@pytest.mark.parametrize("content", [ns.CLIENT, ns.SERVER])
def test_a_forwarded_stanza_says_that_it_is_a_clients(content: str):
    stanza = message(element("urn:xmpp:forward:0", "forwarded", None, message(element(ns.CLIENT, "body"))))
    assert serialise(stanza, content) == (
        b"<message><forwarded xmlns='urn:xmpp:forward:0'>"
        b"<message xmlns='jabber:client'><body/></message></forwarded></message>"
    )


def test_without_a_stream_header_everything_is_declared():
    assert (
        serialise(message(element(ns.CLIENT, "body")), "")
        == b"<message xmlns='jabber:client'><body/></message>"
    )
    assert serialise(element(ns.STREAM, "features"), "") == (
        b"<stream:features xmlns:stream='http://etherx.jabber.org/streams'/>"
    )


def test_elements_of_the_stream_have_its_prefix():
    features = element(ns.STREAM, "features", None, element(ns.BIND, "bind"))
    assert serialise(features) == b"<stream:features><bind xmlns='%s'/></stream:features>" % ns.BIND.encode()
    error = StreamError(StreamCondition.CONFLICT).element()
    assert serialise(error) == b"<stream:error><conflict xmlns='%s'/></stream:error>" % ns.STREAMS.encode()


def test_no_namespace_is_declared_inside_another():
    assert (
        serialise(message(element("", "x", None, element("", "y"))))
        == b"<message><x xmlns=''><y/></x></message>"
    )


def test_attributes_in_namespaces_have_prefixes():
    stanza = message(**{f"{{{ns.XML}}}lang": "en", "{u}a": "1", "{v}b": "2", "{u}c": "3"})
    assert serialise(stanza) == (
        b"<message xml:lang='en' xmlns:ns0='u' ns0:a='1' xmlns:ns1='v' ns1:b='2' ns0:c='3'/>"
    )


def test_text_and_tails_are_kept_but_not_the_outermost_tail():
    inner = element(ns.CLIENT, "b", text="x")
    inner.tail = "<y>"
    stanza = message(inner, text="a&b")
    stanza.tail = "z"
    assert serialise(stanza) == b"<message>a&amp;b<b>x</b>&lt;y&gt;</message>"


def test_what_means_something_to_xml_is_escaped():
    assert escape("a<b>&'\"\r\n\t") == "a&lt;b&gt;&amp;'\"&#13;\n\t"
    assert escape_attribute("a<b>&'\"\r\n\t") == 'a&lt;b&gt;&amp;&apos;"&#13;&#10;&#9;'
    assert serialise(element("a&'b", "x")) == b"<x xmlns='a&amp;&apos;b'/>"


def test_plain_text_is_returned_as_it_is():
    for text in ("", "plain", "žluťoučký 漢字 😀"):
        assert escape(text) is text
        assert escape_attribute(text) is text


@pytest.mark.parametrize("character", ["\x00", "\x08", "\x0b", "\x1f", "\ud800", "\ufffe", "\uffff"])
def test_what_xml_cannot_hold_is_replaced(character: str):
    assert escape(f"a{character}b") == "a\ufffdb"
    assert escape_attribute(f"a{character}b") == "a\ufffdb"
    assert serialise(message(text=character)) == "<message>\ufffd</message>".encode()


def test_names_chosen_by_peers_do_not_pile_up():
    from refserver.xml import write

    for number in range(10_000):
        serialise(element(f"urn:{number}", "x"))
    serialise(element("urn:" + "x" * 10_000, "x"))
    assert len(write._names) <= 4096
    assert max(len(tag) for tag, _ in write._names) <= 200
