"""The way from one of our domains to one of another server's: waiting, sending, giving back.

A way is made with the first stanza and is in one of these states:

    resting      no stream; the next stanza begins an attempt
    connecting   an attempt is under way; stanzas wait in the backlog. Within ATTEMPT_SECONDS every
                 target is tried, again and again with growing pauses, so that who writes while the
                 other server restarts does not notice
    open         the stream stands: what waited has been sent, in order, and what comes goes out at once
    backing off  the attempt failed and gave everything back. For a while (FIRST_PAUSE seconds, doubled
                 with each failure up to LONGEST_PAUSE, and up to half as much less at random) stanzas come
                 back at once with the same error: nobody waits for what has just failed, and a server
                 that is in trouble is left alone. A stream of its own to us ends the pause

Nothing is tried while there is nothing to send.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from refserver.errors import Condition, StanzaError, StreamError
from refserver.s2s.backlog import Backlog
from refserver.s2s.outgoing import OutgoingConnection, Unreachable
from refserver.stanza import Stanza

if TYPE_CHECKING:
    from refserver.s2s.pool import Pool

__all__ = ["Way"]

log = Logger()

ATTEMPT_SECONDS: Final = 30.0
FIRST_RETRY: Final = 0.5
FIRST_PAUSE: Final = 5.0
LONGEST_PAUSE: Final = 60.0
DOUBLINGS: Final = 8


class Way:
    """Stanzas from `local` to `remote`."""

    __slots__ = (
        "_attempt",
        "_backlog",
        "_connection",
        "_counters",
        "_failures",
        "_pool",
        "_reason",
        "_until",
        "last_used",
        "local",
        "remote",
    )

    def __init__(self, pool: Pool, local: str, remote: str) -> None:
        self._pool = pool
        self.local = local
        self.remote = remote
        self._counters = pool.remotes.get(remote)
        self._backlog = Backlog(pool.budget)
        self._connection: OutgoingConnection | None = None
        self._attempt: Deferred[None] | None = None
        self._failures = 0
        self._until = 0.0  # when the pause is over
        self._reason = Unreachable("", Condition.REMOTE_SERVER_TIMEOUT)
        self.last_used = 0.0  # on the reactor's clock

    @property
    def resting(self) -> bool:
        """Whether nothing is lost if it is forgotten."""
        return self._connection is None and self._attempt is None

    @property
    def connecting(self) -> bool:
        """Whether an attempt is under way."""
        return self._attempt is not None

    @property
    def waiting(self) -> int:
        """How many stanzas wait."""
        return len(self._backlog)

    @property
    def pause(self) -> float:
        """For how many seconds more stanzas come back at once, because the last attempt failed; 0: not."""
        return 0.0 if self._attempt is not None else max(0.0, self._until - self._pool.clock.seconds())

    @property
    def connection(self) -> OutgoingConnection | None:
        """The open stream."""
        connection = self._connection
        return connection if connection is not None and connection.usable else None

    def send(self, stanza: Stanza) -> None:
        """Send it, now or soon, or return it to its sender. Never raises."""
        self.last_used = self._pool.clock.seconds()
        connection = self._connection
        if connection is not None and connection.usable:
            try:
                connection.send(stanza)
                self._counters.sent += 1
            except StanzaError as error:
                self._return(stanza, error)
        elif self._attempt is None and self._until > self._pool.clock.seconds():
            self._return(stanza, _error(self._reason))
        elif (self._attempt is None and not self._pool.may_connect()) or not self._backlog.add(stanza):
            self._return(stanza, _busy())
        elif self._attempt is None:
            self._begin()

    def heard(self) -> None:
        """The other server has just proved to be alive: what failed before may work now."""
        self._until = 0.0

    def close(self, error: StreamError | None = None) -> None:
        """End the stream, or the attempt: what waits is returned."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close(error)
        elif self._attempt is not None:
            self._attempt.cancel()

    # -- attempts ----------------------------------------------------------

    def _begin(self) -> None:
        self._attempt = Deferred()  # stands for the real one until that has begun
        self._pool.attempts += 1
        self._reason = Unreachable("it did not answer in time", Condition.REMOTE_SERVER_TIMEOUT)
        reached = Deferred.fromCoroutine(self._reached())
        reached.addTimeout(ATTEMPT_SECONDS, self._pool.clock)
        reached.addBoth(self._tried)
        finished = reached.addCallbacks(self._opened, self._failed)
        finished.addErrback(self._broken)
        if not finished.called:
            self._attempt = finished

    async def _reached(self) -> OutgoingConnection:
        """An open stream, however often it takes. Raises `Unreachable` if trying on is of no use."""
        reach = self._pool.reach
        pause = FIRST_RETRY
        while True:
            try:
                return await reach.connect(self.local, self.remote, reach.established)
            except Unreachable as error:
                self._reason = error
                if error.permanent:
                    raise
            await deferLater(self._pool.clock, pause * self._jitter())
            pause *= 2

    def _tried(self, result: Any) -> Any:
        self._pool.attempts -= 1
        self._attempt = None
        return result

    def _opened(self, connection: OutgoingConnection) -> None:
        self._failures = 0
        self._connection = connection
        self._counters.outgoing += 1
        self._counters.outgoing_method = connection.method
        connection.ended = self._ended
        connection.came = self._pool.came
        self._backlog.empty(self._send_waiting)
        self._pool.stands(self.remote)
        log.debug("stream to {domain} is open ({method})", domain=self.remote, method=connection.method)

    def _send_waiting(self, envelope: Stanza, data: bytes) -> None:
        connection = self._connection
        if connection is None or not connection.usable:
            self._return(envelope, _error(self._reason))
            return
        try:
            connection.send_bytes(data)
            self._counters.sent += 1
        except StanzaError as error:
            self._return(envelope, error)

    def _failed(self, failure: Failure) -> None:
        """Give everything back, and leave the other server alone for a while."""
        error = failure.value
        if isinstance(error, Unreachable):
            self._reason = error
        elif not isinstance(error, TimedOut):
            log.debug("attempt to reach {domain} was given up", domain=self.remote)
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2**self._failures)
        self._failures = min(DOUBLINGS, self._failures + 1)
        self._until = self._pool.clock.seconds() + pause * self._jitter()
        self._counters.failed(str(self._reason))
        self._pool.remotes.get(self.remote).away = True
        log.info("no stream to {domain}: {reason}", domain=self.remote, reason=self._counters.last_error)
        refusal = _error(self._reason)
        self._backlog.empty(lambda envelope, data: self._return(envelope, refusal))

    def _broken(self, failure: Failure) -> None:
        """Our own fault: nothing may hang on it."""
        log.failure("a stream to {domain} failed", failure=failure, domain=self.remote)
        refusal = StanzaError(Condition.INTERNAL_SERVER_ERROR)
        self._backlog.empty(lambda envelope, data: self._return(envelope, refusal))

    def _ended(self, connection: OutgoingConnection, reason: str) -> None:
        """The open stream is over; the next stanza makes a new one."""
        self._counters.outgoing -= 1
        if self._connection is connection:
            self._connection = None
            self._counters.failed(reason)
            self._pool.remotes.get(self.remote).away = True
            log.info(
                "the stream to {domain} is over: {reason}",
                domain=self.remote,
                reason=self._counters.last_error,
            )

    def _return(self, stanza: Stanza, error: StanzaError) -> None:
        """To the sender; what is an answer itself is dropped (RFC 6120 8.3.1)."""
        self._counters.returned += 1
        self._pool.bounce(stanza, error)

    def _jitter(self) -> float:
        return 0.5 + self._pool.random() / 2


def _error(reason: Unreachable) -> StanzaError:
    return StanzaError(reason.condition, _WORDS.get(reason.condition, ""))


def _busy() -> StanzaError:
    return StanzaError(Condition.RESOURCE_CONSTRAINT, "too much waits for the other server already")


_WORDS: dict[Condition, str] = {
    Condition.REMOTE_SERVER_NOT_FOUND: "there is no XMPP server for that domain",
    Condition.REMOTE_SERVER_TIMEOUT: "the other server cannot be reached now",
}
