"""The end of a stream to another server: its cause, and what becomes of what was waiting."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from refserver import ns
from refserver.errors import Cause, Condition, StreamCondition, StreamFault
from refserver.xml.element import Element, child_text, split

_CONDITIONS: Final = {condition.value: condition for condition in StreamCondition}
_CAUSES: Final = {
    StreamCondition.HOST_UNKNOWN: Cause.NOT_SERVED,
    StreamCondition.HOST_GONE: Cause.NOT_SERVED,
    StreamCondition.NOT_AUTHORIZED: Cause.WE_ARE_REFUSED,
    StreamCondition.INVALID_FROM: Cause.WE_ARE_REFUSED,
    StreamCondition.POLICY_VIOLATION: Cause.AGAINST_POLICY,
    StreamCondition.SYSTEM_SHUTDOWN: Cause.SHUT_DOWN,
    StreamCondition.RESOURCE_CONSTRAINT: Cause.BUSY,
    StreamCondition.RESET: Cause.CLOSED,
    StreamCondition.CONNECTION_TIMEOUT: Cause.CLOSED,
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
    """The end of an outgoing stream.

    If `permanent`, trying again is of no use before somebody has changed something. `condition` is that of
    the peer's stream error.
    """

    fault: StreamFault
    permanent: bool = False
    condition: str = ""

    @property
    def bounce(self) -> Condition:
        """The condition for stanzas that were waiting."""
        return Condition.REMOTE_SERVER_NOT_FOUND if self.permanent else Condition.REMOTE_SERVER_TIMEOUT


def ending_of(error: Element) -> Ending:
    """Return what a peer's stream error means."""
    names = [split(part.tag) for part in error]
    found = [_CONDITIONS[name] for space, name in names if space == ns.STREAMS and name in _CONDITIONS]
    condition = found[0] if found else StreamCondition.UNDEFINED_CONDITION
    text = child_text(error, ns.STREAMS, "text")[:_LONGEST_TEXT]
    cause = _CAUSES.get(condition)
    fault = (
        StreamFault(Cause.CLOSED_WITH_ERROR, condition.value, text)
        if cause is None
        else StreamFault(cause, "", text)
    )
    return Ending(fault, condition in _PERMANENT, condition.value)
