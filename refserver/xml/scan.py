"""A scanner that finds the end of one element's markup while its bytes come in.

Owns lexing only: where a tag or a CDATA section ends, how deep the element is, how many
attributes a tag has. Whether it is well-formed is for expat to say. On well-formed XML the
two cannot differ: "<" begins markup and nothing else, ">" ends a tag unless it is in a
quoted value (XML 1.0 productions 10, 14, 40-44). On anything else expat finds the error.

Every byte is looked at once, however the bytes are chunked, so that nobody gets more work
out of us by sending single bytes.
"""

from __future__ import annotations

import re
from typing import Final

from attrs import define, field, frozen

from refserver.errors import StreamCondition, StreamError


@frozen
class Limits:
    """The limits on what a peer sends; beyond them the stream ends with policy-violation.

    `stanza_bytes`: bytes of one element, or of the stream header; 0 for no limit.
    `depth`: elements open at once, the stanza counted, the stream not.
    `attributes`: attributes of one element, namespace declarations counted.
    """

    stanza_bytes: int
    depth: int = 100
    attributes: int = 200


_CDATA: Final = b"<![CDATA["
_SLASH: Final = ord("/")
_IN_TAG: Final = re.compile(rb"[<>'\"]")
_IN_VALUE: Final = {b"'": re.compile(rb"[<']"), b'"': re.compile(rb'[<"]')}


@define(eq=False, weakref_slot=False)
class Scanner:
    """Goes over a growing buffer, which must always be the same one with bytes added."""

    _limits: Limits
    _position: int = 0  # the first byte not looked at
    _markup: int = field(default=-1, init=False)  # where the unfinished tag or section begins; -1: in text
    _quote: bytes = field(default=b"", init=False)  # what ends the attribute value we are in
    _values: int = field(default=0, init=False)  # attribute values in the unfinished tag
    _depth: int = field(default=0, init=False)  # elements open

    def element_end(self, buffer: bytes | bytearray) -> int:
        """The offset behind the element that began first, or -1 while it is unfinished.

        Raises `StreamError`: policy-violation for depth and attributes, restricted-xml for
        comments, processing instructions and declarations, not-well-formed for "<" in a tag.
        """
        end = self.token_end(buffer)
        while end >= 0 and self._depth > 0:
            end = self.token_end(buffer)
        return end

    def token_end(self, buffer: bytes | bytearray) -> int:
        """The offset behind the next complete tag or CDATA section, or -1. Raises as above."""
        if self._markup < 0 and not self._find_markup(buffer):
            return -1
        start = self._markup
        kind = buffer[start + 1 : start + 2]
        if not kind:
            return -1
        if kind in b"!?":
            end = self._section_end(buffer)
        else:
            end = self._tag_end(buffer)
            if end >= 0:
                self._count(closes=kind == b"/", empty=buffer[end - 2] == _SLASH)
        if end >= 0:
            self._markup = -1
            self._position = end
        return end

    @property
    def settled(self) -> int:
        """The offset up to which there is only complete markup, and text."""
        return self._position if self._markup < 0 else self._markup

    def _find_markup(self, buffer: bytes | bytearray) -> bool:
        self._markup = buffer.find(b"<", self._position)
        self._position = len(buffer) if self._markup < 0 else self._markup + 1
        self._values = 0
        return self._markup >= 0

    def _tag_end(self, buffer: bytes | bytearray) -> int:
        while True:
            pattern = _IN_VALUE[self._quote] if self._quote else _IN_TAG
            found = pattern.search(buffer, self._position)
            if found is None:
                self._position = len(buffer)
                return -1
            self._position = found.end()
            delimiter = found[0]
            if delimiter == b"<":
                raise StreamError(StreamCondition.NOT_WELL_FORMED)
            if delimiter == b">":
                return self._position
            if self._quote:
                self._quote = b""
            else:
                self._quote = bytes(delimiter)
                self._values += 1
                if self._values > self._limits.attributes:
                    raise StreamError(StreamCondition.POLICY_VIOLATION, "too many attributes")

    def _section_end(self, buffer: bytes | bytearray) -> int:
        """The end of a CDATA section; all else that begins so is prohibited (RFC 6120 11.1)."""
        start = self._markup
        if not _CDATA.startswith(buffer[start : start + len(_CDATA)]):
            raise StreamError(StreamCondition.RESTRICTED_XML)
        end = buffer.find(b"]]>", max(self._position, start + len(_CDATA)))
        if end < 0:
            self._position = max(self._position, len(buffer) - 2)
            return -1
        return end + 3

    def _count(self, closes: bool, empty: bool) -> None:
        if closes:
            self._depth -= 1
            return
        if self._depth >= self._limits.depth:
            raise StreamError(StreamCondition.POLICY_VIOLATION, "nested too deeply")
        if not empty:
            self._depth += 1
