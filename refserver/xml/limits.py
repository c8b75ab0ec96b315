"""How large a stream's header and elements may be."""

from __future__ import annotations

from attrs import frozen

__all__ = ["Limits"]


@frozen
class Limits:
    """What a peer may send; beyond it the stream ends with policy-violation.

    `stanza_bytes`: bytes of one element, or of the stream header; 0 for no limit.
    `depth`: elements open at once, the stanza counted, the stream not.
    `attributes`: attributes of one element, namespace declarations counted.
    """

    stanza_bytes: int
    depth: int = 100
    attributes: int = 200
