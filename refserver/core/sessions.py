"""Who is here: bound resources by account.

A connection is a socket; a session is a bound resource and outlives nothing here yet but
its connection. What a session's presence means is the presence feature's business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from refserver.core.hosts import Host
from refserver.core.ports import Transport
from refserver.errors import StreamError
from refserver.jid import JID
from refserver.stanza import Stanza

__all__ = ["UNAVAILABLE", "Session", "Sessions"]

UNAVAILABLE: Final = -129
"""The priority of a session without available presence: below every legal one (RFC 6121 4.7.2.3)."""

_NOBODY: Final[Mapping[str, Session]] = MappingProxyType({})


class Session:
    """One bound resource.

    `presence` is its last available presence, None while it is unavailable; `priority` then is
    `UNAVAILABLE`. `interested` says that it asked for the roster (RFC 6121 2.1.6); `directed`
    holds whom it sent directed presence (4.6). `take_offline`: it has not been given its
    account's offline messages yet.
    """

    __slots__ = (
        "_send",
        "_transport",
        "account",
        "address",
        "bound_at",
        "directed",
        "host",
        "interested",
        "jid",
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
        self._send = transport.send
        self._transport = transport

    def deliver(self, stanza: Stanza, to: JID | None = None) -> None:
        """Give a stanza to the client: the only way to it.

        With `to` the copy names that address: so a fan-out serialises a stanza once for all recipients.
        Else the stanza's own `to` is written, whatever it is.
        """
        self._send(stanza.wire() if to is None else stanza.wire_to(to))

    def close(self, error: StreamError | None = None) -> None:
        """End the session's stream."""
        self._transport.close(error)


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
