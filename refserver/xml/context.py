"""The parsers, and the namespaces of a stream header in which they read.

Owns expat, through ElementTree's public parser: `SharedParser` reads the elements of all
connections whose headers declared the same well-known namespaces, `PrivateParser` reads
one element of one connection. Which bytes are given to which is decided in framer.py.
"""

from __future__ import annotations

import atexit
from collections.abc import Mapping
from typing import Final
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser
from xml.parsers.expat import ExpatError, errors

from refserver import ns
from refserver.errors import StreamCondition, StreamError
from refserver.xml.write import escape_attribute

_UNDEFINED_ENTITY: Final = errors.codes[errors.XML_ERROR_UNDEFINED_ENTITY]
_STANZAS: Final = ("message", "presence", "iq")
_STARTS: Final = tuple(f"<{name}".encode() for name in _STANZAS)
_CLIENT_PREFIX: Final = f"{{{ns.CLIENT}}}"
_CLIENT_STANZAS: Final = frozenset(_CLIENT_PREFIX + name for name in _STANZAS)
_LIKE_CLIENT: Final = (ns.SERVER, ns.COMPONENT)
# A parser never forgets a name; peers choose the names.
_RENEWED_AFTER: Final = 1 << 18  # bytes


def fault(error: ParseError | ExpatError) -> StreamError:
    """The stream error for an error of expat's (RFC 6120 11.1: entity references; 11.3)."""
    if error.code == _UNDEFINED_ENTITY:
        return StreamError(StreamCondition.RESTRICTED_XML)
    return StreamError(StreamCondition.NOT_WELL_FORMED)


def fault_of_text(text: bytes | bytearray, context: Context) -> StreamError:
    """The stream error for `text` between elements: it means nothing, if it is XML at all."""
    try:
        PrivateParser(context).feed(text)
    except StreamError as error:
        return error
    return StreamError(StreamCondition.BAD_FORMAT)


class SharedParser:
    """A parser past a stream header, which reads element after element of any connection.

    The caller must know that, if expat finds no error in the bytes, they are one element,
    whole, or else an opening tag cut short (framer.py, `Framer._whole`). Everything
    else would leak into the next connection's element.
    """

    __slots__ = ("_feed", "_left", "_opening", "_stream")

    def __init__(self, opening: bytes) -> None:
        self._opening = opening
        self._renew()

    def read(self, raw: bytes) -> Element | None:
        """The element that `raw` is; None if expat finds an error in it, or no end."""
        try:
            self._feed(raw)
        except ParseError:
            self._renew()
            return None
        except BaseException:  # memory, a signal: whatever it was, no half an element may stay
            self._renew()
            raise
        stream = self._stream
        if len(stream) != 1:
            self._renew()
            return None
        element = stream[0]
        del stream[0]
        self._left -= len(raw)
        if self._left < 0:
            self._renew()
        return element

    def close(self) -> None:
        """Let the parser go: it reads nothing any more."""
        del self._feed, self._stream

    def _renew(self) -> None:
        # The builder is given a root of our own, so that the stream's element can be had
        # from it while the parser is in the middle of the stream.
        builder = TreeBuilder()
        root = builder.start("root", {})
        parser = XMLParser(target=builder)
        parser.feed(self._opening)
        self._stream = root[0]
        self._feed = parser.feed
        self._left = _RENEWED_AFTER


class Context:
    """The namespaces and prefixes that a stream header declares for the elements after it.

    `content`: the default namespace, "" if none. `shared`: the shared parser, None if no
    other stream is likely to have the same header. `plain`: only `jabber:client` and
    `stream:` were declared, so the bytes of a stanza mean the same on any such stream.
    `like_client`: stanzas are to be put into `jabber:client`.
    """

    __slots__ = ("_content", "closing", "content", "like_client", "opening", "plain", "shared")

    def __init__(self, opening: bytes, closing: bytes, content: str, shared: SharedParser | None) -> None:
        self._content = content.encode()
        self.opening = opening
        self.closing = closing
        self.content = content
        self.shared = shared
        self.plain = shared is not None and content == ns.CLIENT
        self.like_client = content in _LIKE_CLIENT

    def read(self, raw: bytes) -> tuple[Element | None, bool]:
        """As `SharedParser.read`, for a context that has one and is not `plain`. True: it is in
        `jabber:client` already, and its bytes mean the same on clients' streams.

        Elements without prefix are in the stream's content namespace, so a stanza which does not name that
        one can be read as if a client had sent it; by a character reference (it names no other letters) it
        could be named covertly. A prefix that only this stream's header declared is an error then: None.
        """
        if raw.startswith(_STARTS) and self._content not in raw and b"&#" not in raw:
            element = _CLIENTS.read(raw)
            if element is None or element.tag in _CLIENT_STANZAS:
                return element, True
        assert self.shared is not None
        return self.shared.read(raw), False

    def to_client(self, stanza: Element) -> None:
        """Put a stanza of a server's or component's stream into `jabber:client`.

        Inside the server every stanza is in that namespace, whichever stream it came on: the
        content namespaces differ in name only (RFC 6120 4.8.3). Other elements are left alone.
        """
        prefix = f"{{{self.content}}}"
        if not stanza.tag.startswith(prefix) or stanza.tag[len(prefix) :] not in _STANZAS:
            return
        for element in stanza.iter():
            if element.tag.startswith(prefix):
                element.tag = _CLIENT_PREFIX + element.tag[len(prefix) :]


class PrivateParser:
    """Reads one element as its bytes come in; to be dropped afterwards."""

    __slots__ = ("_context", "_parser")

    def __init__(self, context: Context) -> None:
        self._context = context
        self._parser: XMLParser[Element] = XMLParser()
        self._parser.feed(context.opening)

    def feed(self, data: bytes | bytearray) -> None:
        """Raises `StreamError` at the first byte of `data` that cannot be XML."""
        try:
            self._parser.feed(bytes(data))
        except ParseError as error:
            raise fault(error) from error

    def element(self) -> Element:
        """The element. Raises `StreamError` if the bytes were not exactly one.

        The end of the stream is fed and the document closed, so expat says itself that
        nothing is open or unread, whatever it deferred (expat 2.6).
        """
        self.feed(self._context.closing)
        try:
            stream = self._parser.close()
        except ParseError as error:
            raise fault(error) from error
        if len(stream) != 1 or stream.text or stream[0].tail:
            raise StreamError(StreamCondition.NOT_WELL_FORMED)
        return stream[0]


def _opening(name: str, declarations: Mapping[str, str]) -> bytes:
    parts = [f"<{name}"]
    for prefix in sorted(declarations):
        attribute = f"xmlns:{prefix}" if prefix else "xmlns"
        parts.append(f" {attribute}='{escape_attribute(declarations[prefix])}'")
    return "".join([*parts, ">"]).encode()


def _well_known() -> dict[bytes, Context]:
    """The contexts that most streams have; each has one shared parser."""
    stream = {"stream": ns.STREAM}
    contexts = {}
    for content, more in (
        (ns.CLIENT, {}),
        (ns.SERVER, {}),
        (ns.SERVER, {"db": ns.DIALBACK}),
        (ns.COMPONENT, {}),
    ):
        opening = _opening("stream:stream", {"": content, **stream, **more})
        contexts[opening] = Context(opening, b"</stream:stream>", content, SharedParser(opening))
    return contexts


def _close_shared() -> None:
    """COMPAT: Python 3.12.0 and 3.12.1 crash where a parser outlives the modules (CPython's issue 111784)."""
    for context in _WELL_KNOWN.values():
        if context.shared is not None:
            context.shared.close()


_WELL_KNOWN: Final = _well_known()
atexit.register(_close_shared)
_CLIENTS: Final = next(context.shared for context in _WELL_KNOWN.values() if context.plain and context.shared)


def context_of(prefix: str, declarations: Mapping[str, str]) -> Context:
    """The context of a stream whose header had `prefix` ("" for none) and declared namespaces.

    `declarations` maps prefixes ("" for the default) to namespaces.
    """
    name = f"{prefix}:stream" if prefix else "stream"
    opening = _opening(name, declarations)
    known = _WELL_KNOWN.get(opening)
    if known is not None:
        return known
    return Context(opening, f"</{name}>".encode(), declarations.get("", ""), None)
