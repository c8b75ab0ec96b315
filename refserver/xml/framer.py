"""Bytes in, a stream's header, elements and end out: where one element ends and the next begins.

Owns the bytes of a connection that are not yet an element, the limits on them, and what is
allowed between elements. It knows no element beyond five names that it looks for, and
judges nothing that an element says. RFC 6120 section 11, XML 1.0.

Two ways lead to an element. If it is whole in the buffer, and a simple search finds its
end, the shared parser reads it (`Framer._whole`, with the proof that this is safe). All
else (unfinished elements, comments, CDATA, elements inside their like, unusual stream
headers, whatever has an error) goes through a scanner and a private parser, as the bytes
come in, so that errors and limits are noticed at once and not when the element ends.

Bytes between elements are answered so: whitespace is skipped (RFC 6120 11.7); "<!" and
"<?" are restricted-xml (11.1), CDATA there included; other text is bad-format (4.9.3.1),
for it is well-formed but means nothing, or not-well-formed where it is not XML at all.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Final

from attrs import frozen

from refserver.errors import StreamCondition, StreamError
from refserver.xml.context import Context, PrivateParser, fault_of_text
from refserver.xml.element import Element
from refserver.xml.header import Heading, StreamHeader
from refserver.xml.scan import Limits, Scanner


class Unfinished:
    """An element that is read as its bytes come in; it is at the start of the buffer."""

    __slots__ = ("_fed", "_parser", "_scanner")

    def __init__(self, context: Context, limits: Limits) -> None:
        self._scanner = Scanner(limits)
        self._parser = PrivateParser(context)
        self._fed = 0

    def read(self, buffer: bytes | bytearray) -> int:
        """The offset behind the element, or -1 while it is unfinished. Raises `StreamError`.

        Only text and complete tags are fed: expat before 2.6 reads an incomplete one
        again each time that it gets a byte more.
        """
        end = self._scanner.element_end(buffer)
        settled = self._scanner.settled if end < 0 else end
        if settled > self._fed:
            self._parser.feed(buffer[self._fed : settled])
            self._fed = settled
        return end

    def element(self) -> Element:
        """The element, once its end was read. Raises `StreamError` if it is none after all."""
        return self._parser.element()


_LESS_THAN: Final = ord("<")
_SLASH: Final = ord("/")
_BANG: Final = ord("!")
_QUERY: Final = ord("?")
_SOLID: Final = re.compile(rb"[^ \t\r\n]")
# By the second byte of an element: start and end of the stanza it may be.
_UNKNOWN: Final = (b"", b"")
_KINDS: Final = {
    ord("m"): (b"<message", b"</message>"),
    ord("p"): (b"<presence", b"</presence>"),
    ord("i"): (b"<iq", b"</iq>"),
    ord("a"): (b"<auth", b"</auth>"),
    ord("r"): (b"<response", b"</response>"),
}


@frozen
class StreamEnd:
    """The peer closed its stream; whatever it sends after that is ignored."""


Frame = StreamHeader | Element | StreamEnd


class Framer:
    """The framing of one connection's incoming bytes. Not for use by two threads.

    `raw` holds, until the next item is asked for, the bytes of the element that came last, if
    they may be used on client streams: they begin with `<message`, `<presence` or `<iq`, declare
    no namespace in the opening tag, have no CDATA section, and mean the same where a header
    declares only `jabber:client` and `stream:`; else b"".
    """

    __slots__ = (
        "_buffer",
        "_context",
        "_ended",
        "_heading",
        "_limits",
        "_most",
        "_position",
        "_restarted",
        "_unfinished",
        "_unquestioned",
        "raw",
    )

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.raw = b""
        self._buffer: bytes | bytearray = b""
        self._position = 0  # of the first byte in the buffer that is not dealt with
        self._context: Context | None = None  # None: a stream header comes next
        self._heading: Heading | None = None
        self._unfinished: Unfinished | None = None
        self._restarted = False
        self._ended = False

    @property
    def limits(self) -> Limits:
        """May be set at any time; an element or header that has begun keeps depth and attributes."""
        return self._limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._limits = limits
        self._most = limits.stanza_bytes or sys.maxsize
        # Shorter elements can neither be too deep (<a></a> for each level) nor have too many
        # attributes (" a=''" for each).
        self._unquestioned = min(7 * limits.depth, 5 * limits.attributes, self._most)

    @property
    def pending(self) -> int:
        """Bytes kept: those of an unfinished header or element, or not asked for yet."""
        return len(self._buffer) - self._position

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take `data` and yield what is complete, one at a time.

        Between two items the caller may call `reset` and `discard`, set `limits`, or stop; what
        it did not ask for comes out of the next `feed`. An item comes with its last byte.
        Raises `StreamError` for every fault of the stream; after that the framer is of no use.
        """
        if self._ended:
            data = b""
        if self._position >= len(self._buffer):
            self._buffer = data
            self._position = 0
        else:
            self._compact()
            self._buffer += data
        return self._frames()

    def reset(self) -> None:
        """A new stream begins (RFC 6120 4.3.3): a header is next. Unread bytes are kept."""
        self._context = self._heading = self._unfinished = None
        self._restarted = True
        self._ended = False

    def discard(self) -> None:
        """Drop the unread bytes: they came before TLS and must not count after it."""
        self._heading = self._unfinished = None
        self._buffer = b""
        self._position = 0

    def _frames(self) -> Iterator[Frame]:
        while self._position < len(self._buffer):
            frame = self._next()
            if frame is None:
                break
            yield frame
        self.raw = b""
        if self._position >= len(self._buffer):
            self.discard()
        elif self.pending > self._most:
            raise StreamError(StreamCondition.POLICY_VIOLATION, "too large")
        else:
            self._compact()

    def _next(self) -> Frame | None:
        """The next item in the buffer, None if it is not complete."""
        self.raw = b""
        context = self._context
        if context is None:
            return self._header()
        if self._unfinished is not None:
            return self._resume(context, self._unfinished)
        buffer, start = self._buffer, self._position
        if buffer[start] != _LESS_THAN:
            if not self._skip_whitespace():
                return None
            start = self._position
            if buffer[start] != _LESS_THAN:
                raise fault_of_text(buffer[start:].partition(b"<")[0], context)
        if start + 1 == len(buffer):
            return None
        if buffer[start + 1] in b"/!?":
            return self._end(context)
        element = self._whole(context)
        if element is None:
            self._cut()
            self._unfinished = Unfinished(context, self._limits)
            return self._resume(context, self._unfinished)
        return element

    def _whole(self, context: Context) -> Element | None:
        """The element at the position, by way of the shared parser, if that is safe; else None.

        A search proposes where it ends; expat decides. The proposal starts with "<" and a byte
        that is not one of "/!?". Let expat find no error in it, which includes that no "<" is
        in a tag or a value.

        1. It ends with the first ">", and "/" is before that. Then it has no other ">", so
           either the ">" ended the opening tag, and as "/>", for "/" cannot stand there
           otherwise: an element, whole, and nothing after it. Or the ">" is in a quoted value,
           the tag was cut short, and there is no element: `SharedParser.read` sees that.
        2. It ends with `</message>` (presence, iq alike), has no `<message` but perhaps at its
           start, and no "<!" and no "<?". Without these "<" only begins tags, so the last
           bytes are an end tag. It closed an element called `message`, prefix and all. The
           only such opening tag is the first, so that very element ended with the last byte.
        """
        shared = context.shared
        buffer, start = self._buffer, self._position
        tag_end = end = buffer.find(b">", start) + 1
        if shared is None or not end:
            return None
        if buffer[end - 2] == _SLASH:
            raw = bytes(buffer[start:end])
        else:
            opening, closing = _KINDS.get(buffer[start + 1], _UNKNOWN)
            end = buffer.find(closing, end)
            if end < 0 or not closing:
                return None
            end += len(closing)
            raw = bytes(buffer[start:end])
            if (
                raw.find(opening, 1) >= 0
                or (_BANG in raw and raw.find(b"<!") >= 0)
                or (_QUERY in raw and raw.find(b"<?") >= 0)
            ):
                return None
        if end - start > self._unquestioned and not self._within_limits(raw):
            return None
        plain = context.plain
        if plain:
            element = shared.read(raw)
        else:
            element, plain = context.read(raw)
        if element is None:
            return None
        self._position = end
        return self._finished(context, element, raw, tag_end - start, plain)

    def _within_limits(self, raw: bytes) -> bool:
        """True if `raw` is surely within the limits; the scanner counts exactly."""
        limits = self._limits
        if len(raw) > self._most or raw.count(b"</") >= limits.depth:
            return False
        return raw.count(b"=") <= limits.attributes or max(map(len, raw.split(b"<"))) <= 5 * limits.attributes

    def _resume(self, context: Context, unfinished: Unfinished) -> Element | None:
        end = unfinished.read(self._buffer)
        if end < 0:
            return None
        if end > self._most:
            raise StreamError(StreamCondition.POLICY_VIOLATION, "too large")
        element = unfinished.element()
        self._unfinished = None
        self._position = end
        raw = bytes(self._buffer[:end])
        return self._finished(context, element, b"" if b"<![" in raw else raw, raw.find(b">"), context.plain)

    def _finished(self, context: Context, element: Element, raw: bytes, tag_end: int, plain: bool) -> Element:
        if plain:
            if raw.startswith((b"<message", b"<presence", b"<iq")) and raw.find(b"xmlns", 0, tag_end) < 0:
                self.raw = raw
        elif context.like_client:
            context.to_client(element)
        return element

    def _header(self) -> StreamHeader | None:
        if self._heading is None:
            # Whitespace behind what ended the last stream still belonged to that one.
            if self._restarted and not self._skip_whitespace():
                return None
            self._cut()
            self._heading = Heading(self._limits)
        opened = self._heading.read(self._buffer)
        if opened is None:
            return None
        if opened.end > self._most:
            raise StreamError(StreamCondition.POLICY_VIOLATION, "too large")
        self._heading = None
        self._context = opened.context
        self._position = opened.end
        if opened.empty:  # <stream:stream/>: its end comes next
            self._buffer = opened.context.closing
            self._position = 0
        return opened.header

    def _end(self, context: Context) -> StreamEnd | None:
        """The end of the stream, or the fault in what looks like it, or like nothing we take."""
        buffer, start = self._buffer, self._position
        if buffer[start + 1] != _SLASH:
            raise StreamError(StreamCondition.RESTRICTED_XML)
        end = buffer.find(b">", start) + 1
        if not end:
            return None
        PrivateParser(context).feed(buffer[start:end])  # whose only open element is the stream
        self.discard()
        self._ended = True
        return StreamEnd()

    def _skip_whitespace(self) -> bool:
        """Go to the next byte that is not whitespace; False if there is none."""
        solid = _SOLID.search(self._buffer, self._position)
        self._position = len(self._buffer) if solid is None else solid.start()
        return solid is not None

    def _cut(self) -> None:
        """Drop what is before the position."""
        self._buffer = self._buffer[self._position :]
        self._position = 0

    def _compact(self) -> None:
        """Keep only what is not dealt with, in a buffer that can grow."""
        if not isinstance(self._buffer, bytearray):
            self._buffer = bytearray(self._buffer[self._position :])
        else:
            del self._buffer[: self._position]
        self._position = 0
