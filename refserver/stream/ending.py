"""Why an outgoing stream came to nothing, in plain words, and what that means for what was waiting."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from refserver import ns
from refserver.errors import Condition, StreamCondition
from refserver.xml.element import Element, child_text, split

_CONDITIONS: Final = {condition.value: condition for condition in StreamCondition}
_WORDS: Final = {
    StreamCondition.HOST_UNKNOWN: "the server does not know this domain",
    StreamCondition.HOST_GONE: "the server does not serve this domain any more",
    StreamCondition.NOT_AUTHORIZED: "the server does not accept that we are who we say",
    StreamCondition.INVALID_FROM: "the server does not accept our domain",
    StreamCondition.POLICY_VIOLATION: "our stream is against the server's policy",
    StreamCondition.CONNECTION_TIMEOUT: "the server found that it took too long",
    StreamCondition.SYSTEM_SHUTDOWN: "the server is being shut down",
    StreamCondition.RESOURCE_CONSTRAINT: "the server is too busy",
}
_PERMANENT: Final = frozenset(
    {
        StreamCondition.HOST_UNKNOWN,
        StreamCondition.HOST_GONE,
        StreamCondition.NOT_AUTHORIZED,
        StreamCondition.INVALID_FROM,
        StreamCondition.UNSUPPORTED_VERSION,
    }
)
_LONGEST_TEXT: Final = 200


@frozen
class Ending:
    """`reason` may quote the peer. `permanent`: trying again is of no use before somebody has changed
    something. `condition` is that of the peer's stream error.
    """

    reason: str
    permanent: bool = False
    condition: str = ""

    @property
    def bounce(self) -> Condition:
        """The condition for stanzas that were waiting."""
        return Condition.REMOTE_SERVER_NOT_FOUND if self.permanent else Condition.REMOTE_SERVER_TIMEOUT


def ending_of(error: Element) -> Ending:
    """What a peer's stream error means."""
    names = [split(part.tag) for part in error]
    found = [_CONDITIONS[name] for space, name in names if space == ns.STREAMS and name in _CONDITIONS]
    condition = found[0] if found else StreamCondition.UNDEFINED_CONDITION
    words = _WORDS.get(condition, f"the server ended the stream: {condition.value}")
    text = child_text(error, ns.STREAMS, "text")[:_LONGEST_TEXT]
    return Ending(f"{words} ({text})" if text else words, condition in _PERMANENT, condition.value)
