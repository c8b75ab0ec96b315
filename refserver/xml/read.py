"""Reading back elements that this server wrote itself. Strangers' bytes go through the framer."""

from __future__ import annotations

from xml.etree.ElementTree import Element, XMLParser

from refserver import ns

__all__ = ["parse"]


def parse(data: bytes) -> Element:
    """The element that `refserver.xml.write.serialise` wrote, unprefixed names being jabber:client's."""
    parser = XMLParser()
    parser.feed(f"<own xmlns='{ns.CLIENT}'>".encode())
    parser.feed(data)
    parser.feed(b"</own>")
    own: Element = parser.close()
    return own[0]
