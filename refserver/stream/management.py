"""Stream management without I/O: what was sent, handled and confirmed on one stream, and the words for it.

XEP-0198 for either side of any stream. Owns the counters and what a peer may get wrong about them. They
outlive the stream where it is resumed on another connection (only clients' are). When to ask, and what
becomes of what was not confirmed, is the shell's business.

Our stanzas are numbered from 1 with the stream's first, whether or not the stream is managed yet: a
confirmation of what came later holds for what went before it, since a stream keeps its order.
"""

from __future__ import annotations

from typing import Final

from attrs import define

from refserver import ns
from refserver.errors import Condition, StreamCondition, StreamError
from refserver.xml.element import Element, clark, element
from refserver.xml.write import serialise

ENABLE: Final = clark(ns.SM, "enable")
ENABLED: Final = clark(ns.SM, "enabled")
FAILED: Final = clark(ns.SM, "failed")
RESUME: Final = clark(ns.SM, "resume")
REQUEST: Final = clark(ns.SM, "r")
ANSWER: Final = clark(ns.SM, "a")
WORDS: Final = frozenset({ENABLE, ENABLED, FAILED, RESUME, REQUEST, ANSWER})

TURN_ON: Final = f"<enable xmlns='{ns.SM}'/>".encode()
TURNED_ON: Final = f"<enabled xmlns='{ns.SM}'/>".encode()
_ASK: Final = f"<r xmlns='{ns.SM}'/>".encode()

_MODULUS: Final = 1 << 32  # XEP-0198 4: after 2^32-1 comes 0
_LONGEST: Final = 20  # digits of a count that is worth repeating


@define(eq=False, weakref_slot=False)
class Management:
    """The counters of one stream.

    `sent` counts our stanzas, `confirmed` those of them that the peer has handled, `handled` the peer's that
    we have handled since it is managed. `on` once both sides count; `asked` while the peer owes an answer.
    """

    on: bool = False
    asked: bool = False
    sent: int = 0
    confirmed: int = 0
    handled: int = 0
    _start: int = 0  # what was sent before the peer began to count

    def start(self) -> None:
        """The peer counts what we send from now on: our <enable/> or <enabled/> goes out."""
        self._start = self.sent

    def turned_on(self) -> None:
        """We count what the peer sends from now on: its <enable/> or <enabled/> has come."""
        self.on = True
        self.handled = 0

    def request(self) -> bytes:
        """The request for the peer's count; b"" while the peer owes the last one, or does not count."""
        if self.asked or not self.on:
            return b""
        self.asked = True
        return _ASK

    def answer(self, handled: int | None = None) -> bytes:
        """The answer with our count, or an earlier one; b"" if the stream is not managed."""
        if not self.on:
            return b""
        count = self.handled if handled is None else handled
        return f"<a xmlns='{ns.SM}' h='{count % _MODULUS}'/>".encode()

    def enabled(self, resume_id: str, seconds: int) -> bytes:
        """Grant stream management; `resume_id` resumes the stream within `seconds` ("": never)."""
        attributes = {"id": resume_id, "resume": "true", "max": str(seconds)} if resume_id else None
        return serialise(element(ns.SM, "enabled", attributes))

    def resumed(self, resume_id: str) -> bytes:
        """The answer to a resumption that is granted, with our count."""
        return serialise(element(ns.SM, "resumed", {"previd": resume_id, "h": str(self.handled % _MODULUS)}))

    def acknowledged(self, received: Element) -> None:
        """The peer's count has come.

        Raises `StreamError`: bad-format if it is none, undefined-condition with handled-count-too-high if
        so much was never sent (XEP-0198 6). A count that goes back is one too high, modulo 2^32.
        """
        text = received.get("h", "")
        if not (text.isascii() and text.isdecimal()) or len(text) > _LONGEST:
            raise StreamError(StreamCondition.BAD_FORMAT, "an acknowledgement needs the count h")
        count, since = int(text), self.sent - self._start
        already = max(0, self.confirmed - self._start)
        more = (count - already) % _MODULUS
        if count >= _MODULUS or more > since - already:
            raise _too_high(count, since % _MODULUS)
        self.asked = False
        self.confirmed = max(self.confirmed, self._start + already + more)


def failed(condition: Condition, handled: int | None = None) -> bytes:
    """The answer to an <enable/> or <resume/> that cannot be granted, with our last count if it is known."""
    attributes = None if handled is None else {"h": str(handled % _MODULUS)}
    return serialise(element(ns.SM, "failed", attributes, element(ns.STANZAS, condition.value)))


def _too_high(count: int, sent: int) -> StreamError:
    counts = {"h": str(count), "send-count": str(sent)}
    return StreamError(
        StreamCondition.UNDEFINED_CONDITION,
        f"You acknowledged {count} stanzas, but only {sent} were sent so far.",
        element(ns.SM, "handled-count-too-high", counts),
    )
