"""The moments at which features may step in: a closed vocabulary of events.

Handlers of stanza events are synchronous. One that returns True has dealt with the stanza:
no later handler sees it. The order comes from the features' `after`, never from numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from attrs import define, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from refserver.core.hosts import Host
from refserver.core.outbox import Held
from refserver.core.sessions import Session
from refserver.errors import StanzaError
from refserver.jid import JID
from refserver.stanza import Stanza
from refserver.storage.rosters import RosterItem

log = Logger()


@define(slots=True, eq=False)
class MessageSent:
    """A client here has sent a message; `from_` is stamped, `to` may still be None."""

    stanza: Stanza
    session: Session


@define(slots=True, eq=False)
class MessageDelivering:
    """A message has come for an account here (`stanza.to` is its bare or a full JID), from anywhere."""

    stanza: Stanza
    host: Host
    account: JID


@define(slots=True, eq=False)
class MessageUndelivered:
    """No session took a message that RFC 6121 8.5 lets the server keep.

    A handler returns True if it was kept, or dropped on purpose.
    """

    stanza: Stanza
    host: Host
    account: JID


@define(slots=True, eq=False)
class MessageAwaitingClient:
    """A message was given, `at` (Unix seconds), to sessions whose clients are away and may come back.

    Who stores it meanwhile sets `settled`: it is called with None when one of them has acknowledged it, with
    an error when all have ended.
    """

    stanza: Stanza
    host: Host
    account: JID
    at: float
    settled: Callable[[StanzaError | None], None] | None = None


@define(slots=True, eq=False)
class SessionCut:
    """A session has lost its connection and waits for its client to come back (XEP-0198)."""

    session: Session


@define(slots=True, eq=False)
class IqDelivering:
    """A request has come, from anywhere, for a connected resource of an account here (`stanza.to`)."""

    stanza: Stanza
    host: Host
    account: JID


@define(slots=True, eq=False)
class PresenceSent:
    """A client here has sent a presence; `from_` is stamped, `to` may be None (broadcast)."""

    stanza: Stanza
    session: Session


@define(slots=True, eq=False)
class PresenceReceived:
    """A presence has come for an account here, from anywhere."""

    stanza: Stanza
    host: Host
    account: JID


@define(slots=True, eq=False)
class SessionBinding:
    """An account is about to get a session. A handler may return a Deferred: the bind waits for it."""

    account: JID
    host: Host


@define(slots=True, eq=False)
class SessionBound:
    """A resource was bound: the session is in the directory, the client has its answer."""

    session: Session


@define(slots=True, eq=False)
class SessionAvailable:
    """A session has sent available presence; `initial`: it was unavailable before."""

    session: Session
    initial: bool


@define(slots=True, eq=False)
class SessionUnavailable:
    """A session that was available is so no more."""

    session: Session


@define(slots=True, eq=False)
class SessionEnded:
    """A session's stream is gone and it is out of the directory. Comes after SessionUnavailable."""

    session: Session


@define(slots=True, eq=False)
class SessionGivenUp:
    """A session has ended and its client had not acknowledged these stanzas. Comes after SessionEnded."""

    session: Session
    unacknowledged: list[Held]


@define(slots=True, eq=False)
class SessionAnswering:
    """A session's client has answered nothing for a minute, or answers again: see `session.answering`."""

    session: Session


@define(slots=True, eq=False)
class AccountAdded:
    """An account was made."""

    account: JID


@define(slots=True, eq=False)
class AccountRemoved:
    """An account and all its data were removed.

    `contacts` were its roster items. `known_by` are the accounts here whose rosters held a subscription,
    request or approval of it; the store holds them no more.
    """

    account: JID
    contacts: tuple[RosterItem, ...] = ()
    known_by: tuple[JID, ...] = ()


@define(slots=True, eq=False)
class CredentialsChanged:
    """An account has another password, or may log in no more, or again."""

    account: JID


@frozen
class QueuesChanged:
    """Queues of a library or their librarians were changed in the store. A handler may return a Deferred."""

    domain: str


@frozen
class PatronForgotten:
    """A patron's words and the links to her were deleted in the store; what is in memory must go too."""

    patron: JID


@define(slots=True, eq=False)
class HostsComing:
    """The server starts: these libraries (their domains) are announced next, one by one, and nothing else
    happens before. What is stored of them may be read all at once.
    """

    domains: frozenset[str]


@define(slots=True, eq=False)
class HostAdded:
    """A library is being served from now on (at start-up too)."""

    host: Host


@define(slots=True, eq=False)
class HostStopping:
    """A library will be served no more: it is removed, or the server stops.

    It is still served. Handlers send what people elsewhere must know, such as unavailable presence. The
    library's sessions end after this, and then the streams of components and of other servers.
    """

    host: Host


@define(slots=True, eq=False)
class HostRemoved:
    """A library is served no more."""

    host: Host


@define(slots=True, eq=False)
class RemoteReachable:
    """A stream to or from another server stands, the first since it failed or since the start.

    What `domain` is owed may be tried again at once; that it arrives is not promised.
    """

    domain: str


@define(slots=True, eq=False)
class SendersChanged:
    """A library (None: each) lets in others than before; `domain` is the server that it is about."""

    host: Host | None
    domain: str


@define(slots=True, eq=False)
class ServerStopping:
    """All streams are closed. The database is closed when what is written now is committed."""


Handler = Callable[[Any], Any]
E = TypeVar("E")


class Hooks:
    """The frozen table of handlers."""

    def __init__(self) -> None:
        self._handlers: Mapping[type, tuple[Handler, ...]] = {}

    def freeze(self, handlers: Mapping[type, tuple[Handler, ...]]) -> None:
        """Set the handlers, once, at start."""
        self._handlers = handlers

    def of(self, event: type) -> tuple[Handler, ...]:
        """The handlers of a kind of event, in order."""
        return self._handlers.get(event, ())

    def run(self, event: object) -> bool:
        """Tell handlers in order until one returns True. What a handler raises comes through."""
        for handler in self._handlers.get(type(event), ()):  # noqa: SIM110 - any() takes twice as long
            if handler(event) is True:
                return True
        return False

    def tell(self, event: object) -> None:
        """Tell every handler; one that fails is logged and keeps none of the others from hearing."""
        for handler in self._handlers.get(type(event), ()):
            try:
                handler(event)
            except Exception:
                log.failure("a handler of {event} failed", event=type(event).__name__)

    async def ask(self, event: object) -> None:
        """Tell every handler in order and wait for those that return a Deferred."""
        for handler in self._handlers.get(type(event), ()):
            waiting = handler(event)
            if isinstance(waiting, Deferred):
                await waiting
