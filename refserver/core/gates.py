"""`Gate`: the access rules of a library, as the router and other servers' streams see them.

A port: the rules are kept elsewhere (features/library_access.py). A library without a gate is open to all.
"""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from refserver.jid import JID

__all__ = ["Gate", "Verdict"]


class Verdict(Enum):
    """The result of a library's access rules for a sender."""

    __hash__ = object.__hash__  # members are single; Enum's own hash is a Python function

    ALLOWED = "allowed"
    """Let in, and limits for strangers do not count."""
    OPEN = "open"
    """Let in: nothing is known of it."""
    STOPPED = "stopped"
    """Not let in: for this sender there is nobody here."""


class Gate(Protocol):
    """The gate of one library."""

    def judge(self, sender: JID) -> Verdict:
        """Return the verdict on a sender, by its bare JID and its domain."""

    def blocks(self, sender: JID) -> bool:
        """True if a rule blocks the sender; False if it is only unknown."""

    def welcomes(self, domain: str) -> bool:
        """True if anybody at another server's domain may be let in. If not, its streams are refused."""
