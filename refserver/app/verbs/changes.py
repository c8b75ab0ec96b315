"""What a verb has changed, for whoever holds the same in memory: a closed vocabulary of values.

A verb returns them with its data; a running server applies them once the change is durable
(refserver/app/live.py).
"""

from __future__ import annotations

from attrs import frozen

from refserver.jid import JID
from refserver.storage.access_rules import Rule

__all__ = [
    "AccountAdded",
    "AccountDisabled",
    "AccountRemoved",
    "AllowOnlySet",
    "Change",
    "LibrarianRemoved",
    "LibrarianSet",
    "LibraryRemoved",
    "LibrarySet",
    "PasswordChanged",
    "QueueAdded",
    "QueueChanged",
    "QueueRemoved",
    "SenderListed",
    "SenderUnlisted",
]


@frozen
class LibrarySet:
    """A library was added, or has another name now."""

    domain: str
    name: str


@frozen
class LibraryRemoved:
    """A library was removed with all that was its; its queues and accounts have changes of their own."""

    domain: str


@frozen
class AccountAdded:
    """An account was made."""

    jid: JID


@frozen
class AccountRemoved:
    """An account was removed with all that belonged to it."""

    jid: JID


@frozen
class AccountDisabled:
    """An account may log in no more."""

    jid: JID


@frozen
class PasswordChanged:
    """An account has another password."""

    jid: JID


@frozen
class QueueAdded:
    """A queue was added."""

    jid: JID


@frozen
class QueueChanged:
    """A queue's title, language, hours or settings have changed."""

    jid: JID


@frozen
class QueueRemoved:
    """A queue was removed with its librarians and questions."""

    jid: JID


@frozen
class LibrarianSet:
    """Somebody works at a queue from now on, or works there differently."""

    queue: JID
    jid: JID


@frozen
class LibrarianRemoved:
    """Somebody works at a queue no more; what she had claimed waits again."""

    queue: JID
    jid: JID


@frozen
class SenderListed:
    """A library (`access_rules.EVERYWHERE`: each) allows or blocks a sender."""

    library: str
    rule: Rule


@frozen
class SenderUnlisted:
    """A library (`access_rules.EVERYWHERE`: each) has no rule about a sender any more; this was it."""

    library: str
    rule: Rule


@frozen
class AllowOnlySet:
    """A library lets in nobody but whom it allows, or others again."""

    library: str
    allow_only: bool


Change = (
    LibrarySet
    | LibraryRemoved
    | AccountAdded
    | AccountRemoved
    | AccountDisabled
    | PasswordChanged
    | QueueAdded
    | QueueChanged
    | QueueRemoved
    | LibrarianSet
    | LibrarianRemoved
    | SenderListed
    | SenderUnlisted
    | AllowOnlySet
)
