"""What the serialiser writes is read back as the same element, and written again as the same bytes."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from hypothesis import given
from hypothesis import strategies as st

from refserver import ns
from refserver.xml import Framer, Limits, StreamEnd, StreamHeader
from refserver.xml.write import escape, escape_attribute, serialise

HEADER = f"<stream:stream xmlns='%s' xmlns:stream='{ns.STREAM}'>"
# All that XML 1.0 allows (production 2), with more than the usual share of what must be escaped.
TEXT = st.text(
    st.one_of(
        st.sampled_from("<>&'\"\r\n\t ]"),
        st.characters(codec="utf-8", exclude_characters="\ufffe\uffff", min_codepoint=32),
    ),
    max_size=12,
)
NAMES = st.sampled_from(["a", "body", "message", "é-1.x", "_"])
NAMESPACES = st.sampled_from([ns.CLIENT, "urn:a", "urn:b", "a&'<b>", ""])
ATTRIBUTES = st.sampled_from(
    ["a", "to", f"{{{ns.XML}}}lang", "{urn:a}a", "{urn:b}a", "{urn:a}b", "{a&'b}c", "é"]
)


@st.composite
def elements(draw: st.DrawFn, depth: int = 3) -> Element:
    namespace = draw(NAMESPACES)
    name = draw(NAMES)
    made = Element(f"{{{namespace}}}{name}" if namespace else name)
    for attribute, value in draw(st.dictionaries(ATTRIBUTES, TEXT, max_size=3)).items():
        made.set(attribute, value)
    made.text = draw(st.none() | TEXT)
    for _ in range(draw(st.integers(0, 3)) if depth else 0):
        child = draw(elements(depth=depth - 1))
        child.tail = draw(st.none() | TEXT)
        made.append(child)
    return made


def parsed(data: bytes, content: str = ns.CLIENT) -> Element:
    framer = Framer(Limits(0))
    header, element = framer.feed(HEADER.encode() % content.encode() + data)
    assert isinstance(header, StreamHeader)
    assert not isinstance(element, StreamHeader | StreamEnd)
    assert framer.pending == 0
    return element


def same(left: Element, right: Element) -> bool:
    return (
        left.tag == right.tag
        and left.attrib == right.attrib
        and list(left.attrib) == list(right.attrib)
        and (left.text or "") == (right.text or "")
        and (left.tail or "") == (right.tail or "")
        and len(left) == len(right)
        and all(map(same, left, right))
    )


@given(elements())
def test_what_is_written_is_read_as_the_same(element: Element):
    assert same(parsed(serialise(element)), element)


@given(elements())
def test_without_a_stream_header_too(element: Element):
    """Then nothing is inherited, whatever the default namespace is where it is read."""
    data = serialise(element, "")
    if element.tag.startswith("{"):
        assert same(parsed(data), element)
        assert same(parsed(data, "urn:other"), element)
    else:
        assert same(parsed(data, ""), element)


@given(elements())
def test_writing_again_gives_the_same_bytes(element: Element):
    written = serialise(element)
    assert serialise(parsed(written)) == written


@given(elements())
def test_stanzas_cross_a_server_stream_unchanged(element: Element):
    element.tag = f"{{{ns.CLIENT}}}message"
    assert same(parsed(serialise(element, ns.SERVER), ns.SERVER), element)


@given(st.text(st.characters()), st.text(st.characters()))
def test_any_text_at_all_is_written_as_xml(text: str, value: str):
    data = f"<a b='{escape_attribute(value)}'>{escape(text)}</a>".encode()
    element = parsed(data)
    assert len(element.get("b", "")) == len(value)
    assert len(element.text or "") == len(text)


@given(TEXT)
def test_legal_text_is_read_back_as_it_was(text: str):
    element = parsed(f"<a b='{escape_attribute(text)}'>{escape(text)}</a>".encode())
    assert (element.text or "", element.get("b")) == (text, text)
