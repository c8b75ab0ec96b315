"""Sessions whose connection was lost and whose client may come back to them (XEP-0198 5).

Owns the names by which streams are resumed, and how long a session waits. What a session keeps meanwhile,
and how much, is the outbox' business (core/outbox.py).
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from refserver.core.sessions import Session
from refserver.errors import StreamCondition, StreamError
from refserver.jid import JID
from refserver.net.mux import Mux

if TYPE_CHECKING:
    from refserver.c2s.connection import ClientConnection
    from refserver.core.core import Core

MOST_REMEMBERED: Final = 10_000  # sessions that are over, for the count in <failed/>


class Hibernating:
    """Implements `Transport` for a session without a connection: what is delivered waits in the outbox."""

    def __init__(self, resumption: Resumption, session: Session) -> None:
        self._resumption = resumption
        self._session = session
        self.claimant: ClientConnection | None = None
        """The connection on which the client is coming back."""

    def send(self, data: bytes) -> None:
        """See `Transport`."""

    @property
    def unsent(self) -> int:
        return 0

    def close(self, error: StreamError | None = None) -> None:
        self._resumption.end(self._session)

    def expired(self) -> None:
        """The client has not come back in time."""
        self.close()


class Resumption:
    """All sessions that can be resumed, by the name of their stream."""

    def __init__(self, core: Core, mux: Mux) -> None:
        self._core = core
        self._mux = mux
        self._sessions: dict[str, Session] = {}
        self._handled: dict[str, tuple[JID, int]] = {}  # the last counts of sessions that are over

    def allow(self, session: Session) -> str:
        """Let a session be resumed from now on; under which name."""
        name = secrets.token_urlsafe(18)
        self._sessions[name] = session
        return name

    def find(self, name: str, account: JID) -> Session | None:
        """The session of that account; others' are not there."""
        session = self._sessions.get(name)
        return session if session is not None and session.account == account else None

    def handled(self, name: str, account: JID) -> int | None:
        """The number of stanzas handled of a session that is over; None if it is not remembered."""
        owner, handled = self._handled.get(name, (None, None))
        return handled if owner == account else None

    def hibernate(self, session: Session, seconds: float) -> Hibernating:
        """Let a session wait for its client without a connection."""
        if isinstance(session.transport, Hibernating):
            return session.transport
        waiting = Hibernating(self, session)
        session.cut(waiting)
        self._mux.expire(waiting, seconds)
        return waiting

    def wake(self, waiting: Hibernating) -> None:
        """The client is back."""
        self._mux.unexpire(waiting)

    def end(self, session: Session) -> None:
        """The session is over, whether it has a connection or not."""
        outbox, waiting = session.outbox, session.transport
        if isinstance(waiting, Hibernating):
            self._mux.unexpire(waiting)
        if outbox is not None and self._sessions.pop(outbox.resume_id, None) is not None:
            self._handled[outbox.resume_id] = session.account, outbox.management.handled
            if len(self._handled) > MOST_REMEMBERED:
                del self._handled[next(iter(self._handled))]
        self._core.end_session(session)

    def close_all(self) -> None:
        """End all sessions that wait: the server stops."""
        for session in list(self._sessions.values()):
            if isinstance(session.transport, Hibernating):
                session.close(StreamError(StreamCondition.SYSTEM_SHUTDOWN))
