"""XML as XMPP needs it: bytes to elements (framer), elements to bytes (write), and elements.

- framer: cuts a stream's bytes into its header, its elements and its end
- header: reads a stream header
- scan: the limits, and where the markup of an unfinished element ends
- context: the parsers, and the namespaces they read in
- element: makes elements and looks into them
- write: the canonical serialiser

Specifications: XML 1.0, Namespaces in XML 1.0, RFC 6120 section 11. No module here knows
what a stanza means.
"""

from __future__ import annotations

from refserver.xml.element import Element
from refserver.xml.framer import Frame, Framer, StreamEnd
from refserver.xml.header import StreamHeader
from refserver.xml.scan import Limits
from refserver.xml.write import serialise

__all__ = ["Element", "Frame", "Framer", "Limits", "StreamEnd", "StreamHeader", "serialise"]
