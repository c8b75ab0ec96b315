"""What is owed to one recipient, in memory; how long it waits, and what is worth waiting for.

Owns no timer and no stanza: owed.py does what follows from it.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from attrs import define, field

from refserver import ns
from refserver.errors import Condition
from refserver.jid import JID
from refserver.stanza import Stanza
from refserver.storage.conversations import Direction, Message
from refserver.storage.outbox import Due, Key
from refserver.xml.element import split

__all__ = ["JITTER", "PAUSES", "WORTH_TRYING", "Debt", "State", "error_of", "is_to_staff", "pause_after"]

PAUSES: Final = (60.0, 300.0, 900.0, 1800.0, 3600.0)
"""After each attempt that fails; the last one again and again. About: see JITTER."""
JITTER: Final = 0.2

WORTH_TRYING: Final = frozenset(
    {
        Condition.INTERNAL_SERVER_ERROR,
        Condition.RECIPIENT_UNAVAILABLE,
        Condition.REMOTE_SERVER_NOT_FOUND,  # its DNS may be broken for an hour
        Condition.REMOTE_SERVER_TIMEOUT,
        Condition.RESOURCE_CONSTRAINT,
        Condition.SERVICE_UNAVAILABLE,
    }
)


class State(Enum):
    """See owed.py."""

    OPEN = "open"
    WAITING = "waiting"
    RESUMING = "resuming"


@define(eq=False)
class Debt:
    """What is owed to one recipient, as a patron or (`to_staff`) as a librarian.

    `flying` is what was sent and nobody knows of yet, with the time when it was said. Other times are of the
    reactor's clock.
    """

    recipient: JID
    to_staff: bool
    state: State = State.OPEN
    flying: dict[Key, float] = field(factory=dict)
    sent_at: float = 0.0
    failed_at: float = float("-inf")
    due: float = 0.0
    reason: Condition = Condition.REMOTE_SERVER_TIMEOUT
    more: bool = False  # the store may hold something that was not sent since it was last open
    busy: bool = False  # the store is being asked
    warned: bool = False  # the librarian knows


def pause_after(age: float, random: float = 0.5) -> float:
    """The seconds until the next attempt for what was said `age` seconds ago: PAUSES, one after the other.

    `random`, from 0 to 1, scatters them.
    """
    elapsed = 0.0
    for pause in PAUSES:
        elapsed += pause
        if age < elapsed:
            break
    return pause * (1 - JITTER + 2 * JITTER * random)


def is_to_staff(due: Due) -> bool:
    """Whether something owed is for the librarian of its question, not for the patron."""
    return isinstance(due.said, Message) and due.said.direction is Direction.PATRON


def error_of(stanza: Stanza) -> tuple[Condition, str]:
    """The condition and the type of an error (RFC 6120 8.3.2); undefined-condition if it has none."""
    error = stanza.child(ns.CLIENT, "error")
    if error is None:
        return Condition.UNDEFINED_CONDITION, ""
    names = {split(child.tag)[1] for child in error if split(child.tag)[0] == ns.STANZAS}
    found = (condition for condition in Condition if condition.value in names)
    return next(found, Condition.UNDEFINED_CONDITION), error.get("type", "")
