"""The priority of a presence (RFC 6121 4.7.2.3)."""

from __future__ import annotations

import re
from typing import Final

from refserver import ns
from refserver.errors import Condition, StanzaError
from refserver.stanza import Stanza
from refserver.xml.element import clark

__all__ = ["priority_of"]

LOWEST: Final = -128
HIGHEST: Final = 127

_PRIORITY: Final = clark(ns.CLIENT, "priority")
_BYTE: Final = re.compile(r"[ \t\r\n]*([+-]?[0-9]{1,9})[ \t\r\n]*").fullmatch


def priority_of(stanza: Stanza) -> int:
    """The priority that a presence announces, 0 if none.

    Raises `StanzaError` bad-request for more than one, for what is no integer, and for one
    out of bounds.
    """
    found = stanza.element.findall(_PRIORITY)
    if not found:
        return 0
    if len(found) > 1:
        raise StanzaError(Condition.BAD_REQUEST, "a presence has at most one priority")
    match = _BYTE(found[0].text or "")
    if match is None or len(found[0]) or not LOWEST <= int(match[1]) <= HIGHEST:
        raise StanzaError(Condition.BAD_REQUEST, f"a priority is an integer from {LOWEST} to {HIGHEST}")
    return int(match[1])
