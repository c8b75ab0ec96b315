"""The canonical serialiser: elements to the bytes that we send.

Names carry no prefixes: an element whose namespace differs from its parent's declares its
own as the default. Exceptions are `xml:`, `stream:` on the outermost element (RFC 6120
4.8.5; the stream header declared it), and attributes of other namespaces, for which
Namespaces in XML requires a prefix. Attribute order is kept.

What cannot stand in XML 1.0 (most control characters, surrogates) becomes U+FFFD: text
comes from databases and people, and one bad character may not break a stream.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final
from xml.etree.ElementTree import Element, XMLParser

from refserver import ns
from refserver.xml.element import split

_ILLEGAL: Final = "\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff"
_IN_TEXT: Final = re.compile(f"[&<>\r{_ILLEGAL}]")
_IN_ATTRIBUTE: Final = re.compile(f"[&<>'\t\n\r{_ILLEGAL}]")
_REPLACEMENTS: Final = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    "'": "&apos;",
    # As they stand, XML makes a newline of the first, and of all three a space in attributes.
    "\r": "&#13;",
    "\n": "&#10;",
    "\t": "&#9;",
}
_STREAM_TAG: Final = f"{{{ns.STREAM}}}"
_XML_ATTRIBUTE: Final = f"{{{ns.XML}}}"

# (tag, namespace in scope) → start of the opening tag, closing tag, namespace in the element.
_names: Final[dict[tuple[str, str], tuple[str, str, str]]] = {}
_NAMES_KEPT: Final = 4096
_LONGEST_KEPT: Final = 200  # characters of a tag


def serialise(element: Element, content: str = ns.CLIENT) -> bytes:
    """The UTF-8 bytes of `element`, without its tail, for a stream whose content namespace is `content`.

    Inside the server every stanza is in `jabber:client`; outermost elements of that
    namespace are written without xmlns, so they are in the stream's content namespace,
    whichever it is. Where another namespace was between, `jabber:client` is declared
    (XEP-0297 wants forwarded stanzas to say it). `content` "" means that no stream header
    is in force, as in RFC 7395: then the element declares everything itself.
    """
    parts: list[str] = []
    scope = ns.CLIENT if content else ""
    if element.tag.startswith(_STREAM_TAG):
        name = f"stream:{element.tag[len(_STREAM_TAG) :]}"
        declaration = "" if content else f" xmlns:stream='{ns.STREAM}'"
        parts.append(f"<{name}{declaration}")
        _write_rest(element, f"</{name}>", scope, parts.append)
    else:
        _write(element, scope, parts.append)
    return "".join(parts).encode()


def escape(text: str) -> str:
    """`text` as character data."""
    # What is printable (str.isprintable) is legal too: the usual text passes without a regex.
    if text.isprintable() and "&" not in text and "<" not in text and ">" not in text:
        return text
    return _IN_TEXT.sub(_replacement, text)


def escape_attribute(text: str) -> str:
    """`text` as the value of an attribute, to be put between single quotes."""
    if text.isprintable() and "&" not in text and "<" not in text and ">" not in text and "'" not in text:
        return text
    return _IN_ATTRIBUTE.sub(_replacement, text)


def _replacement(match: re.Match[str]) -> str:
    return _REPLACEMENTS.get(match[0], "\ufffd")


def _write(element: Element, scope: str, add: Callable[[str], None]) -> None:
    tag = element.tag
    opening, closing, inside = _names.get((tag, scope)) or _learn(tag, scope)
    add(opening)
    _write_rest(element, closing, inside, add)


def _write_rest(element: Element, closing: str, scope: str, add: Callable[[str], None]) -> None:
    """All that follows the name and the default namespace in the opening tag."""
    attributes = element.items()
    if attributes:
        _write_attributes(attributes, add)
    text = element.text
    if len(element):
        add(f">{escape(text)}" if text else ">")
        for child in element:
            _write(child, scope, add)
            if child.tail:
                add(escape(child.tail))
        add(closing)
    elif text:
        add(f">{escape(text)}{closing}")
    else:
        add("/>")


def _write_attributes(attributes: Iterable[tuple[str, str]], add: Callable[[str], None]) -> None:
    prefixes: dict[str, str] = {}
    for name, value in attributes:
        if name[0] == "{":
            name = _prefixed(name, prefixes, add)
        add(f" {name}='{escape_attribute(value)}'")


def _prefixed(name: str, prefixes: dict[str, str], add: Callable[[str], None]) -> str:
    """The qualified name of an attribute in a namespace; declares the prefix if it is new."""
    if name.startswith(_XML_ATTRIBUTE):
        return f"xml:{name[len(_XML_ATTRIBUTE) :]}"
    namespace, local = split(name)
    prefix = prefixes.get(namespace)
    if prefix is None:
        prefix = prefixes[namespace] = f"ns{len(prefixes)}"
        add(f" xmlns:{prefix}='{escape_attribute(namespace)}'")
    return f"{prefix}:{local}"


def _learn(tag: str, scope: str) -> tuple[str, str, str]:
    namespace, name = split(tag)
    declaration = "" if namespace == scope else f" xmlns='{escape_attribute(namespace)}'"
    names = f"<{name}{declaration}", f"</{name}>", namespace
    if len(tag) <= _LONGEST_KEPT:  # peers choose tags: what is kept of them is bounded
        if len(_names) >= _NAMES_KEPT:
            _names.clear()
        _names[tag, scope] = names
    return names


def parse(data: bytes) -> Element:
    """The element that `refserver.xml.write.serialise` wrote, unprefixed names being jabber:client's."""
    parser = XMLParser()
    parser.feed(f"<own xmlns='{ns.CLIENT}'>".encode())
    parser.feed(data)
    parser.feed(b"</own>")
    own: Element = parser.close()
    return own[0]
