"""The directory of sessions: bound resources by account.

A connection is a socket; a session is a bound resource. With XEP-0198 it outlives its connection for a while
and may be resumed on another one. What a session's presence means is the presence feature's business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from refserver.core.hosts import Host
from refserver.core.liveness import Liveness
from refserver.core.outbox import Held, Outbox
from refserver.core.ports import Transport
from refserver.errors import Condition, StanzaError, StreamCondition, StreamError
from refserver.jid import JID
from refserver.stanza import Stanza, Tracked

UNAVAILABLE: Final = -129
"""The priority of a session without available presence: below every legal one (RFC 6121 4.7.2.3)."""

_NOBODY: Final[Mapping[str, Session]] = MappingProxyType({})


class Session:
    """One bound resource.

    `presence` is its last available presence, None while it is unavailable; `priority` then is
    `UNAVAILABLE`. `interested` says that it asked for the roster (RFC 6121 2.1.6); `directed`
    holds whom it sent directed presence (4.6). `take_offline`: it has not been given its
    account's offline messages yet.

    `outbox` holds what the client has not acknowledged: None until there is something to acknowledge, so that
    a client without XEP-0198 costs nothing. `answering` is False while the client has left a question of ours
    unanswered for a minute, `is_cut` while it has no connection and its client may come back.
    """

    __slots__ = (
        "_liveness",
        "_send",
        "_transport",
        "account",
        "address",
        "answering",
        "ask_due",
        "bound_at",
        "directed",
        "host",
        "interested",
        "is_cut",
        "jid",
        "outbox",
        "presence",
        "priority",
        "secure",
        "take_offline",
    )

    def __init__(
        self,
        jid: JID,
        host: Host,
        transport: Transport,
        liveness: Liveness[Session],
        address: str = "",
        bound_at: float = 0.0,
        secure: bool = False,
    ) -> None:
        self.jid = jid
        self.account = jid.bare
        self.host = host
        self.address = address
        self.bound_at = bound_at
        self.secure = secure
        self.presence: Stanza | None = None
        self.priority = UNAVAILABLE
        self.interested = False
        self.directed: set[JID] | None = None
        self.take_offline = True
        self.outbox: Outbox | None = None
        self.answering = True
        self.is_cut = False
        self.ask_due = 0
        self._liveness = liveness
        self._transport: Transport | None = transport
        self._send = transport.send

    def deliver(self, stanza: Stanza, to: JID | None = None) -> None:
        """Give a stanza to the client: the only way to it.

        With `to` the copy names that address: so a fan-out serialises a stanza once for all recipients.
        Else the stanza's own `to` is written, whatever it is.
        """
        data = stanza.wire() if to is None else stanza.wire_to(to)
        outbox, tracked = self.outbox, type(stanza) is Tracked
        if outbox is None:
            if tracked:
                self._deliver_first(stanza, to)
            else:
                self._send(data)
            return
        self._send(data)
        if not tracked and not outbox.management.on:
            return
        outbox.hold(stanza, to, data, self._liveness.now())
        self._liveness.sent(self, tracked)
        if outbox.much_unasked:
            self.ask()
        if outbox.full:
            self._liveness.call_later(0, self.close, _too_much())

    def _deliver_first(self, stanza: Stanza, to: JID | None) -> None:
        """Deliver the first stanza that has to be acknowledged; it is not delivered after the end."""
        if self.ended:
            stanza.settle(StanzaError(Condition.RECIPIENT_UNAVAILABLE))
        else:
            self.acknowledges()
            self.deliver(stanza, to)

    def acknowledges(self) -> Outbox:
        """The outbox, made if need be."""
        if self.outbox is None:
            self.outbox = Outbox(self._liveness.budget)
        return self.outbox

    def ask(self) -> None:
        """Ask the client for an acknowledgement, unless it owes one."""
        outbox, now = self.acknowledges(), self._liveness.now()
        question = outbox.question(self.host.jid, self.jid, now)
        if question:
            self._liveness.asked(self, now)
            self._send(question)

    def acknowledged(self, number: int) -> None:
        """The client's count covers the first `number` stanzas (XEP-0198)."""
        if self.outbox is not None:
            self.outbox.acknowledged(number)
            self._liveness.answered(self)

    def answered(self, stanza: Stanza) -> None:
        """An iq has come from the client as an answer to its server: perhaps to our ping."""
        if self.outbox is not None and self.outbox.answered(stanza.id):
            self._liveness.answered(self)

    @property
    def managed(self) -> bool:
        """True if the client counts what it has handled (XEP-0198)."""
        return self.outbox is not None and self.outbox.management.on

    # -- transports ----------------------------------------------------------

    @property
    def transport(self) -> Transport | None:
        """The carrier of the stanzas now, None after the end."""
        return self._transport

    @property
    def ended(self) -> bool:
        """True if the session is over: what is delivered now reaches nobody."""
        return self._transport is None

    def cut(self, transport: Transport) -> None:
        """The connection is gone and may be replaced: until then `transport` takes what is delivered."""
        self._attach(transport)
        self.is_cut = True
        now = self._liveness.now()
        self.acknowledges().cut(now)
        self._liveness.asked(self, now)

    def resume(self, transport: Transport) -> None:
        """Go on with another connection: what is not acknowledged is sent again (XEP-0198 5)."""
        self._attach(transport)
        self.is_cut = False
        outbox = self.acknowledges()
        for data in outbox.resumed():
            self._send(data)
        self._liveness.answered(self)

    def end(self) -> list[Held]:
        """The session is over; what its client has not acknowledged, in order."""
        outbox, self.outbox = self.outbox, None
        self._transport, self._send = None, _nowhere
        return [] if outbox is None else outbox.window.empty()

    def close(self, error: StreamError | None = None) -> None:
        """End the session's stream."""
        if self._transport is not None:
            self._transport.close(error)

    def _attach(self, transport: Transport) -> None:
        self._transport, self._send = transport, transport.send


def _nowhere(data: bytes) -> None:
    """Take what nobody will read."""


def _too_much() -> StreamError:
    return StreamError(StreamCondition.POLICY_VIOLATION, "too many stanzas were not acknowledged")


class Sessions:
    """The sessions of this process. Implements what a SessionDirectory is on a single node."""

    def __init__(self) -> None:
        self._accounts: dict[JID, dict[str, Session]] = {}
        self._count = 0

    def of(self, account: JID) -> Mapping[str, Session]:
        """The sessions of a bare JID by resource; do not keep or change it."""
        return self._accounts.get(account, _NOBODY)

    def get(self, jid: JID) -> Session | None:
        """The session bound to a full JID."""
        resources = self._accounts.get(jid.bare)
        return None if resources is None else resources.get(jid.resourcepart)

    def available(self, account: JID) -> list[Session]:
        """The sessions of a bare JID that have sent available presence, whatever their priority."""
        return [session for session in self.of(account).values() if session.presence is not None]

    def interested(self, account: JID) -> list[Session]:
        """The sessions of a bare JID that take roster pushes."""
        return [session for session in self.of(account).values() if session.interested]

    def add(self, session: Session) -> None:
        """A resource was bound. One that is there already must have been removed before."""
        resources = self._accounts.setdefault(session.account, {})
        assert session.jid.resourcepart not in resources
        resources[session.jid.resourcepart] = session
        self._count += 1

    def remove(self, session: Session) -> bool:
        """The stream has ended. False if the session was not (or no longer) there."""
        resources = self._accounts.get(session.account)
        if resources is None or resources.get(session.jid.resourcepart) is not session:
            return False
        del resources[session.jid.resourcepart]
        if not resources:
            del self._accounts[session.account]
        self._count -= 1
        return True

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Session]:
        return (
            session for resources in list(self._accounts.values()) for session in list(resources.values())
        )
