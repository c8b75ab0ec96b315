"""Delivery of messages to accounts here, by the rules of RFC 6121 8.5.

A message to a bare JID goes to every resource with a non-negative priority (8.5.2.1.1
leaves the choice; so a patron who changes device, or a librarian with two, misses nothing).
What a session was sent and has not acknowledged when it ends takes the same way again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import define, field

from refserver.core.core import Core
from refserver.core.feature import Feature, on
from refserver.core.hooks import (
    MessageAwaitingClient,
    MessageDelivering,
    MessageUndelivered,
    SessionAnswering,
    SessionAvailable,
    SessionCut,
    SessionGivenUp,
)
from refserver.core.hosts import Host
from refserver.core.sessions import Session
from refserver.errors import Condition, StanzaError
from refserver.jid import JID
from refserver.payloads.delay import delayed
from refserver.stanza import IQ_REQUESTS, Stanza, Tracked

KEPT: Final = ("", "normal", "chat")  # types of messages that may wait for their recipients
MOST_HELD: Final = 1_000  # live messages for one account while its store is read


class Returned(Stanza):
    """A message that a session was sent and did not acknowledge: its sender is told nothing more about it."""

    __slots__ = ()

    def settle(self, error: StanzaError | None) -> bool:
        return True


class Messages(Feature):
    """Chooses the sessions that get a message; the last to see a `MessageDelivering`."""

    name = "messages"
    after = ("blocking", "archive", "carbons", "sanitising", "forgeries")

    def __init__(self, core: Core) -> None:
        super().__init__(core)
        self._held: dict[JID, list[MessageDelivering]] = {}

    @on(MessageDelivering)
    def deliver(self, event: MessageDelivering) -> bool:
        """Deliver, hand to those who keep undelivered messages, or refuse. Raises `StanzaError`."""
        if self._held and event.account in self._held:
            held = self._held[event.account]
            if len(held) >= MOST_HELD:
                raise StanzaError(Condition.RESOURCE_CONSTRAINT)
            held.append(event)
            return True
        stanza = event.stanza
        to = stanza.to
        assert to is not None
        if to.resourcepart and type(stanza) is not Returned:
            session = self.core.sessions.get(to)
            if session is not None:  # 8.5.3.1: a connected resource, available or not
                session.deliver(self._secured(event) if session.is_cut else stanza)
                return True
            if stanza.type != "chat":  # 8.5.3.2.1
                return self._refuse(event)
        elif stanza.type == "groupchat":  # 8.5.2.1.1: only rooms may send these, to full JIDs
            return self._refuse(event)
        if stanza.type != "error" and not self._to_bare(event):
            self._undelivered(event)
        return True

    def hold(self, account: JID) -> None:
        """Keep back what comes for an account, until `release`: older messages are on their way."""
        self._held.setdefault(account, [])

    def release(self, account: JID) -> None:
        """Deliver what was kept back, in order."""
        for event in self._held.pop(account, ()):
            try:
                self.deliver(event)
            except StanzaError as error:
                self.core.router.bounce(event.stanza, error)

    @on(SessionGivenUp)
    def given_up(self, event: SessionGivenUp) -> None:
        """RFC 6121 8.5 again for messages that were not acknowledged; requests are answered (8.5.3.2.3)."""
        session = event.session
        for held in event.unacknowledged:
            if held.tracked is not None:
                held.settle(StanzaError(Condition.RECIPIENT_UNAVAILABLE))
            elif held.kind == "message":
                self.deliver_again(Stanza.stored(held.data), session.host, session.account, held.at)
            elif held.kind == "iq" and held.type in IQ_REQUESTS:
                self.core.router.bounce(held.envelope, StanzaError(Condition.SERVICE_UNAVAILABLE))

    @on(SessionAnswering)
    def answering(self, event: SessionAnswering) -> None:
        """A client answers no more: what waits for its answer is given to others, if there are any."""
        self._give_to_others(event.session.account)

    @on(SessionAvailable)
    def available(self, event: SessionAvailable) -> None:
        """The same when another client comes."""
        if event.initial:
            self._give_to_others(event.session.account)

    def _give_to_others(self, account: JID) -> None:
        """Let no client that is silent keep tracked stanzas from one that answers: their senders try again.

        With XEP-0198 its session is cut or goes on, and then has them: nothing is doubled there.
        """
        sessions = [each for each in self.core.sessions.of(account).values() if each.priority >= 0]
        if any(session.answering for session in sessions):
            for session in sessions:
                if not session.answering and not session.managed and session.outbox is not None:
                    for held in session.outbox.window.empty():
                        held.settle(StanzaError(Condition.RECIPIENT_UNAVAILABLE))

    def deliver_again(self, stanza: Stanza, host: Host, account: JID, at: float) -> None:
        """Deliver a message that was sent at `at` (the reactor's clock) to a session that has ended since.

        It goes as if to the bare JID, and back to nobody. What rooms and headlines said is not repeated.
        """
        if stanza.type not in KEPT:
            return
        copy = delayed(stanza, host.domain, self._since(at))
        again = MessageDelivering(Returned(copy.kind, copy.element, copy.to, copy.from_), host, account)
        if account in self._held:
            self._held[account].append(again)
        elif not self._to_bare(again):
            self.core.hooks.run(MessageUndelivered(again.stanza, host, account))

    def _to_bare(self, event: MessageDelivering) -> bool:
        """Send to every resource with a non-negative priority; False if there is none."""
        taker = None
        sessions = self.core.sessions.of(event.account).values()
        for session in sessions:
            if session.priority >= 0:
                if taker is not None:
                    self._to_several(event, [each for each in sessions if each.priority >= 0])
                    return True
                taker = session
        if taker is None:
            return False
        taker.deliver(self._secured(event) if taker.is_cut else event.stanza)
        return True

    def _to_several(self, event: MessageDelivering, takers: list[Session]) -> None:
        """A message has arrived when one session has acknowledged its copy, and comes back when all end."""
        if all(session.is_cut for session in takers):
            event = MessageDelivering(self._secured(event), event.host, event.account)
        tracked = type(event.stanza) is Tracked
        managed = [session for session in takers if tracked or session.managed]
        copies = _Copies(self, event, self.core.clock.seconds(), len(managed))
        copies.arrived = len(managed) < len(takers)  # a client without XEP-0198 counts as having read it
        for session in takers:
            if tracked or session.managed:
                session.deliver(Tracked(event.stanza, copies.settled))
            else:
                session.deliver(event.stanza)

    @on(SessionCut)
    def cut(self, event: SessionCut) -> None:
        """Have what a client had not acknowledged stored while it is away: a crash must not take it."""
        session = event.session
        for held in () if session.outbox is None else session.outbox.window:
            if held.kind == "message" and held.tracked is None:
                stored = Stanza.stored(held.data)
                at = self._since(held.at)
                settled = self._store(MessageAwaitingClient(stored, session.host, session.account, at))
                if settled is not None:
                    held.tracked = Tracked(held.envelope, settled)

    def _secured(self, event: MessageDelivering) -> Stanza:
        """The message for sessions whose clients are away, stored while they are if it is worth it."""
        stanza = event.stanza
        if type(stanza) is Tracked:
            return stanza
        settled = self._store(MessageAwaitingClient(stanza, event.host, event.account, self.core.now()))
        return stanza if settled is None else Tracked(stanza, settled)

    def _store(self, event: MessageAwaitingClient) -> Callable[[StanzaError | None], None] | None:
        if event.stanza.type in KEPT:
            self.core.hooks.run(event)
        return event.settled

    def _since(self, at: float) -> float:
        """A time of the reactor's clock, in Unix seconds."""
        return self.core.now() - max(0.0, self.core.clock.seconds() - at)

    def _undelivered(self, event: MessageDelivering) -> None:
        """8.5.2.2.1: chat and normal messages may be kept, headlines are dropped."""
        stanza = event.stanza
        if stanza.type == "headline":
            stanza.settle(None)
        elif not self.core.hooks.run(MessageUndelivered(stanza, event.host, event.account)):
            raise StanzaError(Condition.SERVICE_UNAVAILABLE)

    @staticmethod
    def _refuse(event: MessageDelivering) -> bool:
        if event.stanza.type == "error":
            return True
        raise StanzaError(Condition.SERVICE_UNAVAILABLE)


@define(eq=False)
class _Copies:
    """The fate of one message that several sessions of an account were sent."""

    _messages: Messages
    _event: MessageDelivering
    _at: float
    _open: int
    arrived: bool = field(default=False, init=False)

    def settled(self, error: StanzaError | None) -> None:
        """One session has acknowledged its copy, or has ended."""
        self._open -= 1
        event, stanza = self._event, self._event.stanza
        if error is None:
            self.arrived = True
            stanza.settle(None)
        elif not self._open and not self.arrived and not stanza.settle(error):
            self._messages.deliver_again(stanza, event.host, event.account, self._at)
