"""One element read while its bytes come in, by a parser of its own."""

from __future__ import annotations

from refserver.xml.context import Context, PrivateParser
from refserver.xml.element import Element
from refserver.xml.limits import Limits
from refserver.xml.scan import Scanner

__all__ = ["Unfinished"]


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
