"""Reading a stream header: what comes before the first element (RFC 6120 4.7, 4.8, 11).

Owns the XML declaration and the opening tag of the root. What the attributes are worth
(host, version, content namespace) is for the stream machine to judge.
"""

from __future__ import annotations

import re
from typing import Final
from xml.parsers.expat import ExpatError, ParserCreate

from attrs import define, field, frozen

from refserver import ns
from refserver.errors import StreamCondition, StreamError
from refserver.xml.context import Context, context_of, fault
from refserver.xml.scan import Limits, Scanner

_LESS_THAN: Final = ord("<")
_SOLID: Final = re.compile(rb"[^ \t\r\n]")
_DECLARATION: Final = re.compile(rb"<\?xml[ \t\r\n]")
_UTF_16_MARKS: Final = (b"\xfe\xff", b"\xff\xfe")
_LANG: Final = f"{ns.XML} lang xml"  # as expat names it: namespace, name, prefix


@frozen
class StreamHeader:
    """The attributes of a stream header; None where one is absent.

    `content_namespace` is the default namespace, "" if none was declared.
    """

    to: str | None
    from_: str | None
    version: str | None
    id: str | None
    lang: str | None
    content_namespace: str


@frozen
class Opened:
    """A header that was read: `end` is the offset behind it, `empty` says that it ended the stream too."""

    header: StreamHeader
    context: Context
    end: int
    empty: bool


class Heading:
    """A stream header whose bytes may still be coming in."""

    __slots__ = ("_limits", "_scanner")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._scanner: Scanner | None = None

    def read(self, buffer: bytes | bytearray) -> Opened | None:
        """The header that `buffer` begins with, or None while it is incomplete.

        `buffer` must be the same at every call, with bytes added. Raises `StreamError`:
        not-well-formed, restricted-xml, unsupported-encoding, invalid-namespace, bad-format.
        """
        if self._scanner is None:
            # Clients of one kind send the same header, whole: it is parsed once. One so short is
            # within every limit.
            known = _known.get(bytes(buffer)) if len(buffer) <= _LONGEST_KNOWN else None
            if known is not None:
                return known
            start = _root_start(buffer)
            if start < 0:
                return None
            self._scanner = Scanner(self._limits, start)
        end = self._scanner.token_end(buffer)
        if end < 0:
            return None
        data = bytes(buffer[:end])
        opened = _parse(data)
        if end == len(buffer) and end <= _LONGEST_KNOWN:
            if len(_known) >= _MOST_KNOWN:
                _known.clear()
            _known[data] = opened
        return opened


_known: Final[dict[bytes, Opened]] = {}
_LONGEST_KNOWN: Final = 400  # bytes
_MOST_KNOWN: Final = 2000


def _root_start(buffer: bytes | bytearray) -> int:
    """The offset of the root's "<", or -1 while it is not there."""
    start = _markup(buffer, 0)
    if start < 0 or buffer[start + 1 : start + 2] != b"?":
        return start
    if _DECLARATION.match(buffer, start) is None:
        if len(buffer) - start < 6 and b"<?xml".startswith(buffer[start : start + 5]):
            return -1
        raise StreamError(StreamCondition.RESTRICTED_XML)
    end = buffer.find(b"?>", start)
    if buffer.find(b"<", start + 1, end if end >= 0 else len(buffer)) >= 0:
        raise StreamError(StreamCondition.NOT_WELL_FORMED)
    return -1 if end < 0 else _markup(buffer, end + 2)


def _markup(buffer: bytes | bytearray, position: int) -> int:
    """The offset of the "<" that comes next, only whitespace being before it, or -1."""
    solid = _SOLID.search(buffer, position)
    if solid is None:
        return -1
    start = solid.start()
    if buffer[start] != _LESS_THAN:
        if start == 0 and buffer[:2] in _UTF_16_MARKS:
            raise StreamError(StreamCondition.UNSUPPORTED_ENCODING)
        # A byte order mark of UTF-8 too: RFC 6120 11.6 makes it a character like others.
        raise StreamError(StreamCondition.NOT_WELL_FORMED)
    follows = buffer[start + 1 : start + 2]
    if follows == b"!":
        raise StreamError(StreamCondition.RESTRICTED_XML)
    return start if follows else -1


@define(eq=False)
class _Collector:
    """Collects what expat reports of a header."""

    name: list[str] = field(factory=list)  # namespace, local name, prefix
    attributes: dict[str, str] = field(factory=dict)
    declarations: dict[str, str] = field(factory=dict)
    xml_version: str = "1.0"
    encoding: str | None = None
    empty: bool = False

    def declaration(self, version: str, encoding: str | None, standalone: int) -> None:
        self.xml_version = version
        self.encoding = encoding

    def namespace(self, prefix: str | None, namespace: str | None) -> None:
        if prefix != "xml":
            self.declarations[prefix or ""] = namespace or ""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.name = name.split(" ")
        self.attributes = attributes

    def end(self, name: str) -> None:
        self.empty = True


def _parse(data: bytes) -> Opened:
    seen = _Collector()
    # Whatever encoding is declared, the bytes are read as UTF-8 (RFC 6120 11.6).
    parser = ParserCreate("UTF-8", " ")
    parser.namespace_prefixes = True
    parser.XmlDeclHandler = seen.declaration
    parser.StartNamespaceDeclHandler = seen.namespace
    parser.StartElementHandler = seen.start
    parser.EndElementHandler = seen.end
    try:
        parser.Parse(data)
    except ExpatError as error:
        raise fault(error) from error
    _check(seen)
    prefix = seen.name[2] if len(seen.name) > 2 else ""
    attributes = seen.attributes
    header = StreamHeader(
        to=attributes.get("to"),
        from_=attributes.get("from"),
        version=attributes.get("version"),
        id=attributes.get("id"),
        lang=attributes.get(_LANG),
        content_namespace=seen.declarations.get("", ""),
    )
    return Opened(header, context_of(prefix, seen.declarations), len(data), seen.empty)


def _check(seen: _Collector) -> None:
    if seen.encoding is not None and seen.encoding.upper() != "UTF-8":
        raise StreamError(StreamCondition.UNSUPPORTED_ENCODING)
    if not seen.name or seen.xml_version != "1.0":
        raise StreamError(StreamCondition.NOT_WELL_FORMED)
    if seen.name[0] != ns.STREAM:
        raise StreamError(StreamCondition.INVALID_NAMESPACE)  # RFC 6120 4.8.1
    if seen.name[1] != "stream":
        raise StreamError(StreamCondition.BAD_FORMAT)
