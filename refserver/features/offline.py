"""Messages for accounts that are away: kept, and delivered when they come (XEP-0160, XEP-0203).

A message is kept durably in arrival order, with a delay by the library. It is deleted
after it was handed to a session: a crash in between delivers it once more rather than never.
All that is kept for an account fits into the queue of one connection (net/connection.py).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from refserver import ns
from refserver.core.core import Core
from refserver.core.feature import Feature, Target, on
from refserver.core.hooks import MessageUndelivered, SessionAvailable, SessionUnavailable
from refserver.core.sessions import Session
from refserver.errors import Condition, StanzaError
from refserver.jid import JID
from refserver.stanza import Stanza
from refserver.storage import offline
from refserver.storage.errors import NoSuchAccount
from refserver.xml.element import clark, element

__all__ = ["Offline", "delay"]

log = Logger()

MOST_MESSAGES: Final = 1000  # kept for one account
MOST_BYTES: Final = 2 * 1024 * 1024
NO_STORE: Final = (clark(ns.HINTS, "no-store"), clark(ns.HINTS, "no-permanent-store"))
CHAT_STATE: Final = f"{{{ns.CHATSTATES}}}"
THREAD: Final = clark(ns.CLIENT, "thread")


def delay(stanza: Stanza, by: str, at: float) -> Stanza:
    """A copy of `stanza` that says since when (`at`, seconds since the epoch) it has waited (XEP-0203)."""
    delayed = stanza.copy()
    stamp = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    delayed.element.append(element(ns.DELAY, "delay", {"from": by, "stamp": stamp}))
    return delayed


def worth_keeping(stanza: Stanza) -> bool:
    """Whether a message has anything in it beyond a chat state, and allows to be kept (XEP-0334)."""
    tags = [child.tag for child in stanza.element]
    if any(tag in NO_STORE for tag in tags):
        return False
    return any(not tag.startswith(CHAT_STATE) and tag != THREAD for tag in tags)


class Offline(Feature):
    """Keeps what no session took, and delivers it at the next presence with a priority of 0 or more."""

    name = "offline"
    xeps = ("0160", "0203")
    disco = {Target.SERVER: (ns.OFFLINE,)}
    after = ("archive", "presence")

    def __init__(self, core: Core) -> None:
        super().__init__(core)
        self._delivering: set[JID] = set()
        self._again: set[JID] = set()

    @on(MessageUndelivered)
    def keep(self, event: MessageUndelivered) -> bool:
        """Store a message; whoever sent it hears of a full store or an unknown account."""
        stanza = event.stanza
        if not worth_keeping(stanza):
            return True
        now = self.core.now()
        kept = delay(stanza, event.host.domain, now).wire()
        stored = self.core.database.write(offline.store, event.account, kept, now, MOST_MESSAGES, MOST_BYTES)
        stored.addCallback(self._stored, stanza, event.account)
        stored.addErrback(self._failed, stanza)
        return True

    def _stored(self, stored: bool, stanza: Stanza, account: JID) -> None:
        if not stored:
            self._refuse(stanza)
        elif self._taker(account) is not None:  # who came while it was being stored
            self._deliver_to(account)

    def _refuse(self, stanza: Stanza) -> None:
        self.core.router.bounce(stanza, StanzaError(Condition.SERVICE_UNAVAILABLE))

    def _failed(self, failure: Failure, stanza: Stanza) -> None:
        if failure.check(NoSuchAccount):
            self._refuse(stanza)
            return
        log.failure("an offline message could not be stored", failure=failure)
        self.core.router.bounce(stanza, StanzaError(Condition.INTERNAL_SERVER_ERROR))

    @on(SessionAvailable)
    def available(self, event: SessionAvailable) -> None:
        """Deliver what waits once the session's priority allows it (RFC 6121 8.5.2.2.1)."""
        session = event.session
        if session.priority < 0:
            session.take_offline = True
        elif session.take_offline:
            session.take_offline = False
            self._deliver_to(session.account, session)

    @on(SessionUnavailable)
    def unavailable(self, event: SessionUnavailable) -> None:
        """What comes from now on is delivered when the session is back."""
        event.session.take_offline = True

    def _taker(self, account: JID) -> Session | None:
        sessions = self.core.sessions.of(account).values()
        return max(
            (session for session in sessions if session.priority >= 0),
            key=lambda session: session.priority,
            default=None,
        )

    def _deliver_to(self, account: JID, comer: Session | None = None) -> None:
        """Deliver what waits, to `comer` if it is still there; one delivery after the other."""
        if account in self._delivering:
            self._again.add(account)
            return
        self._delivering.add(account)
        delivered: Deferred[None] = Deferred.fromCoroutine(self._deliver(account, comer))
        delivered.addErrback(lambda f: log.failure("offline messages could not be delivered", failure=f))
        delivered.addCallback(lambda _: self._delivered(account))

    async def _deliver(self, account: JID, comer: Session | None) -> None:
        waiting = await self.core.database.read(offline.fetch, account)
        session = comer if comer is not None and comer.priority >= 0 else self._taker(account)
        if not waiting or session is None:
            return
        for _, _, stanza in waiting:
            session.deliver(Stanza.stored(stanza))
        sent: Deferred[None] = Deferred()
        self.core.clock.callLater(0, sent.callback, None)
        await sent  # the bytes leave at the end of this turn: they must not be forgotten before
        await self.core.database.write(offline.delete, account, [number for number, _, _ in waiting])

    def _delivered(self, account: JID) -> None:
        self._delivering.discard(account)
        if account in self._again:
            self._again.discard(account)
            self._deliver_to(account)
