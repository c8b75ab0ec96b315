"""Messages for accounts that are away: kept, and delivered when they come (XEP-0160, XEP-0203).

A message is kept durably in arrival order, with a delay by the library. It is deleted once a client has
acknowledged it (XEP-0198, or a ping behind it); else it comes again with the next log-in. What comes for an
account while its store is read, or while a message is still being stored, waits: nothing that is said now
overtakes what was kept. All that is kept for an account fits into the queue of one connection
(net/connection.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from typing import Final

from attrs import define, field
from twisted.logger import Logger
from twisted.python.failure import Failure

from refserver import ns
from refserver.core.core import Core
from refserver.core.feature import Feature, Target, on
from refserver.core.hooks import MessageAwaitingClient, MessageUndelivered, PresenceSent, SessionUnavailable
from refserver.core.sessions import Session
from refserver.errors import Condition, StanzaError
from refserver.features.messages import Messages
from refserver.jid import JID
from refserver.payloads.delay import delayed
from refserver.stanza import Stanza, Tracked
from refserver.storage import offline
from refserver.storage.errors import NoSuchAccount
from refserver.storage.offline import OfflineMessage
from refserver.xml.element import clark

log = Logger()

MOST_MESSAGES: Final = 1000  # kept for one account
MOST_BYTES: Final = 2 * 1024 * 1024
NO_STORE: Final = (clark(ns.HINTS, "no-store"), clark(ns.HINTS, "no-permanent-store"))
CHAT_STATE: Final = f"{{{ns.CHATSTATES}}}"
THREAD: Final = clark(ns.CLIENT, "thread")


def worth_keeping(stanza: Stanza) -> bool:
    """True if a message has anything in it beyond a chat state, and allows to be kept (XEP-0334)."""
    tags = [child.tag for child in stanza.element]
    if any(tag in NO_STORE for tag in tags):
        return False
    return any(not tag.startswith(CHAT_STATE) and tag != THREAD for tag in tags)


@define(eq=False)
class _Mailbox:
    """The offline messages of one account: `storing` counts writes under way.

    `in_flight` are the numbers of kept messages that a session was sent and that are still in the store,
    `arrived` those of them that were acknowledged and are to be deleted. `reading` while a session waits for
    what is kept, `again` if another one came meanwhile, `comer` who came first. `returned` if a session ended
    without having acknowledged what it was sent.
    """

    storing: int = 0
    reading: bool = False
    fetching: bool = False
    again: bool = False
    comer: Session | None = None
    in_flight: set[int] = field(factory=set)
    arrived: list[int] = field(factory=list)
    returned: bool = False
    due: bool = False  # a look at `arrived` and `returned` at the end of this turn

    @property
    def idle(self) -> bool:
        return not (self.storing or self.reading or self.in_flight or self.due)


@define(eq=False)
class _Waits:
    """A message that sessions hold and that is stored while their clients are away.

    `number` is its number in the store: None until it is there, 0 if there was no room for it.
    """

    _offline: Offline
    _event: MessageAwaitingClient
    _number: int | None = None
    _is_settled: bool = False
    _error: StanzaError | None = None

    def stored(self, number: int) -> None:
        """It is durable under that number; 0: there was no room for it."""
        self._number = number
        if number:
            self._offline.waits(self._event.account, number)
        if self._is_settled:
            self._tell()

    def settle(self, error: StanzaError | None) -> None:
        """One client has acknowledged it, or all sessions have ended."""
        self._is_settled, self._error = True, error
        if self._number is not None:
            self._tell()

    def _tell(self) -> None:
        event, offline = self._event, self._offline
        if self._number:
            offline.settled(event.account, self._number, self._error)
        elif self._error is not None:
            offline.deliver_again(event)


def _not_stored(failure: Failure) -> int:
    log.failure("a message for a client that is away could not be stored", failure=failure)
    return 0


class Offline(Feature):
    """Keeps what no session took, and delivers it at the next presence with a priority of 0 or more."""

    name = "offline"
    xeps = ("0160", "0203")
    disco = {Target.SERVER: (ns.OFFLINE,)}
    after = ("archive", "presence")

    def __init__(self, core: Core) -> None:
        super().__init__(core)
        self._mailboxes: dict[JID, _Mailbox] = {}

    # -- keeping -------------------------------------------------------------

    @on(MessageUndelivered)
    def keep(self, event: MessageUndelivered) -> bool:
        """Store a message; whoever sent it hears of a full store or an unknown account."""
        stanza = event.stanza
        if not worth_keeping(stanza):
            stanza.settle(None)
            return True
        now = self.core.now()
        kept = delayed(stanza, event.host.domain, now).wire()
        self._mailbox(event.account).storing += 1
        stored = self.core.database.write(offline.store, event.account, kept, now, MOST_MESSAGES, MOST_BYTES)
        stored.addCallbacks(self._stored, self._failed, (stanza,), {}, (stanza,))
        stored.addErrback(lambda f: log.failure("a sender could not be told", failure=f))
        stored.addCallback(lambda _: self._written(event.account))
        return True

    @on(MessageAwaitingClient)
    def keep_meanwhile(self, event: MessageAwaitingClient) -> bool:
        """Store a message that a session holds while its client is away, until it is acknowledged."""
        stanza, account = event.stanza, event.account
        if not worth_keeping(stanza):
            return True
        data, waits = delayed(stanza, event.host.domain, event.at).wire(), _Waits(self, event)
        event.settled = waits.settle
        self._mailbox(account).storing += 1
        stored = self.core.database.write(offline.store, account, data, event.at, MOST_MESSAGES, MOST_BYTES)
        stored.addErrback(_not_stored)
        stored.addCallback(waits.stored)
        stored.addCallback(lambda _: self._written(account))
        return True

    def waits(self, account: JID, number: int) -> None:
        """A session holds the kept message of that number."""
        self._mailbox(account).in_flight.add(number)

    def _stored(self, stored: int, stanza: Stanza) -> None:
        if stored:
            stanza.settle(None)
        else:
            self._refuse(stanza)

    def _refuse(self, stanza: Stanza) -> None:
        self.core.router.bounce(stanza, StanzaError(Condition.SERVICE_UNAVAILABLE))

    def _failed(self, failure: Failure, stanza: Stanza) -> None:
        if failure.check(NoSuchAccount):
            self._refuse(stanza)
            return
        log.failure("an offline message could not be stored", failure=failure)
        self.core.router.bounce(stanza, StanzaError(Condition.INTERNAL_SERVER_ERROR))

    def deliver_again(self, event: MessageAwaitingClient) -> None:
        """The sessions that held a message which could not be stored have ended."""
        ago = max(0.0, self.core.now() - event.at)
        at = self.core.clock.seconds() - ago
        self._messages.deliver_again(event.stanza, event.host, event.account, at)

    def _written(self, account: JID) -> None:
        """Whoever came while messages were being stored gets them now."""
        box = self._mailboxes[account]
        box.storing -= 1
        if box.reading and not box.storing and not box.fetching:
            self._read(account, box)
        self._put_away(account, box)

    # -- delivering ----------------------------------------------------------

    @on(PresenceSent)
    def available(self, event: PresenceSent) -> None:
        """Deliver what waits once the session's priority allows it (RFC 6121 8.5.2.2.1)."""
        session, stanza = event.session, event.stanza
        if stanza.type or stanza.to is not None:
            return
        if session.priority < 0:
            session.take_offline = True
        elif session.take_offline:
            session.take_offline = False
            self._deliver_to(session.account, session)

    @on(SessionUnavailable)
    def unavailable(self, event: SessionUnavailable) -> None:
        """Deliver what comes from now on when the session is back."""
        event.session.take_offline = True

    def _deliver_to(self, account: JID, comer: Session | None) -> None:
        """Hold what comes live until what waits was handed over; one delivery after the other."""
        box = self._mailbox(account)
        if box.reading:
            box.again = True
            return
        box.comer = comer
        box.reading = True
        self._messages.hold(account)
        if not box.storing:
            self._read(account, box)

    def _read(self, account: JID, box: _Mailbox) -> None:
        box.fetching = True
        waiting = self.core.database.read(offline.fetch, account)
        waiting.addCallback(self._hand_over, account, box)
        waiting.addErrback(self._unreadable, box)
        # What is being stored for a session that waits may have been read: it is read again after the commit.
        waiting.addCallback(lambda _: None if box.storing else self._handed_over(account, box))

    def _unreadable(self, failure: Failure, box: _Mailbox) -> None:
        box.fetching = False
        log.failure("offline messages could not be delivered", failure=failure)

    def _hand_over(self, waiting: Sequence[OfflineMessage], account: JID, box: _Mailbox) -> None:
        box.fetching = False
        if box.storing:
            return
        comer = box.comer
        session = comer if comer is not None and comer.priority >= 0 else self._taker(account)
        if session is None:
            return
        for number, _, data in waiting:
            if number not in box.in_flight:
                box.in_flight.add(number)
                session.deliver(Tracked(Stanza.stored(data), partial(self.settled, account, number)))

    def _handed_over(self, account: JID, box: _Mailbox) -> None:
        box.reading = False
        if box.again:
            box.again = False
            self._deliver_to(account, None)
            return
        box.comer = None
        self._messages.release(account)
        self._put_away(account, box)

    def _taker(self, account: JID) -> Session | None:
        sessions = self.core.sessions.of(account).values()
        return max(
            (session for session in sessions if session.priority >= 0),
            key=lambda session: (session.answering, session.priority),
            default=None,
        )

    # -- forgetting ----------------------------------------------------------

    def settled(self, account: JID, number: int, error: StanzaError | None) -> None:
        """A kept message was acknowledged, or the session that it was sent to has ended."""
        box = self._mailbox(account)
        if error is None:
            box.arrived.append(number)
        else:
            box.in_flight.discard(number)
            box.returned = True
        if not box.due:
            box.due = True
            self.core.clock.callLater(0, self._settle, account, box)

    def _settle(self, account: JID, box: _Mailbox) -> None:
        """Delete what was acknowledged in this turn; give what was not to another session, if there is
        one.
        """
        box.due = False
        if box.arrived:
            arrived, box.arrived = box.arrived, []
            deleted = self.core.database.write(offline.delete, account, arrived)
            deleted.addCallback(lambda _: box.in_flight.difference_update(arrived))
            deleted.addErrback(lambda f: log.failure("offline messages could not be deleted", failure=f))
            deleted.addCallback(lambda _: self._put_away(account, box))
        returned, box.returned = box.returned, False
        if returned and self._taker(account) is not None:
            self._deliver_to(account, None)
        self._put_away(account, box)

    # -- parts ---------------------------------------------------------------

    def _mailbox(self, account: JID) -> _Mailbox:
        box = self._mailboxes.get(account)
        if box is None:
            box = self._mailboxes[account] = _Mailbox()
        return box

    def _put_away(self, account: JID, box: _Mailbox) -> None:
        if box.idle and self._mailboxes.get(account) is box:
            del self._mailboxes[account]

    @cached_property
    def _messages(self) -> Messages:
        return self.core.feature(Messages)
