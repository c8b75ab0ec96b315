"""What a change that an operator made means for the running server: it holds at once.

Owns accounts and their sessions; libraries, queues and the lists of senders have owners of their own, who
are told.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from attrs import frozen

from refserver.app.parts import Libraries
from refserver.app.verbs.changes import (
    AccountAdded,
    AccountDisabled,
    AccountRemoved,
    AllowOnlySet,
    Change,
    LibraryRemoved,
    LibrarySet,
    PasswordChanged,
    SenderListed,
    SenderUnlisted,
)
from refserver.core import hooks
from refserver.core.core import Core
from refserver.errors import StreamCondition, StreamError
from refserver.features.library_access import LibraryAccess
from refserver.jid import JID

__all__ = ["Live"]


def _nothing(change: Change) -> None:
    """No queues are looked after."""


def _no_streams() -> None:
    """There are no other servers."""


@frozen(eq=False)
class Live:
    """Applies changes. `queues` is told every change that is about a queue or its librarians, `streams`
    when it has changed which other servers are welcome.
    """

    core: Core
    libraries: Libraries
    queues: Callable[[Change], Awaitable[None] | None] = _nothing
    streams: Callable[[], None] = _no_streams

    async def apply(self, change: Change) -> None:
        """Let a change, which is durable already, hold in this process."""
        match change:
            case LibrarySet(domain=domain, name=name):
                self.libraries.take_up(domain, name)
            case LibraryRemoved(domain=domain):
                self.libraries.remove(domain)
            case AccountAdded(jid=jid):
                self.core.hooks.tell(hooks.AccountAdded(jid))
            case AccountRemoved(jid=jid):
                self.core.hooks.tell(hooks.AccountRemoved(jid))
                self._end(jid, StreamCondition.NOT_AUTHORIZED, "the account was removed")
            case AccountDisabled(jid=jid):
                self.core.hooks.tell(hooks.CredentialsChanged(jid))
                self._end(jid, StreamCondition.NOT_AUTHORIZED, "the account was disabled")
            case PasswordChanged(jid=jid):
                self.core.hooks.tell(hooks.CredentialsChanged(jid))
                self._end(jid, StreamCondition.RESET, "the password was changed")
            case SenderListed(library=library, rule=rule):
                self.core.feature(LibraryAccess).put(library, rule)
                self.streams()
            case SenderUnlisted(library=library, rule=rule):
                self.core.feature(LibraryAccess).drop(library, rule)
                self.streams()
            case AllowOnlySet(library=library, allow_only=allow_only):
                self.core.feature(LibraryAccess).allow_only(library, allow_only)
            case _:
                told = self.queues(change)
                if told is not None:
                    await told

    def _end(self, account: JID, condition: StreamCondition, text: str) -> None:
        """End an account's sessions; those of a library that is gone have ended with it."""
        if self.core.hosts.get(account.domainpart) is not None:
            for session in list(self.core.sessions.of(account).values()):
                session.close(StreamError(condition, text))
