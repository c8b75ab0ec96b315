"""The way from one of our domains to one of another server's: waiting, sending, giving back.

A way is made with the first stanza and is in one of these states:

    resting      no stream; the next stanza begins an attempt
    connecting   an attempt is under way; stanzas wait in the backlog. Within ATTEMPT_SECONDS every
                 target is tried, again and again with growing pauses, so that who writes while the
                 other server restarts does not notice
    open         the stream stands: what waited has been sent, in order, and what comes goes out at once, as
                 long as not too much of it is unconfirmed. When the stream ends, what is unconfirmed
                 waits in front of the rest and a new attempt begins: it is sent a second time, but never
                 a third, and comes back if that fails too
    backing off  the attempt failed and gave everything back, unless the peer has opened a stream
                 meanwhile that takes it (XEP-0288). For a while (FIRST_PAUSE seconds, doubled
                 with each failure up to LONGEST_PAUSE, and up to half as much less at random) stanzas come
                 back at once with the same error: nobody waits for what has just failed, and a server
                 that is in trouble is left alone. A stream of its own to us ends the pause, as it does
                 those between the tries of an attempt

Nothing is tried while there is nothing to send.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from refserver import ns
from refserver.core.outbox import Held, parted
from refserver.errors import Cause, Condition, StanzaError, StreamCondition, StreamError, StreamFault
from refserver.jid import JID
from refserver.s2s.acknowledgement import Acknowledgements
from refserver.s2s.backlog import Backlog
from refserver.s2s.link import Link
from refserver.s2s.outgoing import OutgoingConnection, Unreachable
from refserver.stanza import Stanza

if TYPE_CHECKING:
    from refserver.s2s.pool import Pool

__all__ = ["OutboundQueue"]

log = Logger()

ATTEMPT_SECONDS: Final = 30.0
FIRST_RETRY: Final = 0.5
FIRST_PAUSE: Final = 5.0
LONGEST_PAUSE: Final = 60.0
DOUBLINGS: Final = 8


class OutboundQueue:
    """Stanzas from `local` to `remote`. Implements `LinkUser`."""

    __slots__ = (
        "_attempt",
        "_backlog",
        "_confirming",
        "_counters",
        "_end_share",
        "_failures",
        "_is_ours",
        "_link",
        "_nap",
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
        self._counters = pool.known_servers.get(remote)
        self._backlog = Backlog(pool.budget)
        self._confirming = Acknowledgements(local, self._counters, pool.budget, pool.clock)
        self._link: Link | None = None
        self._is_ours = False  # that stream, not the peer's (XEP-0288)
        self._attempt: Deferred[None] | None = None
        self._end_share: Callable[[], None] = _nothing
        self._nap: IDelayedCall | None = None  # between two tries of an attempt
        self._failures = 0
        self._until = 0.0  # when the pause is over
        self._reason = Unreachable(Cause.CLOSED)
        self.last_used = 0.0  # on the reactor's clock

    @property
    def resting(self) -> bool:
        """Whether nothing is lost if it is forgotten."""
        return self._link is None and self._attempt is None

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return self._attempt is None and not self._backlog and not self._confirming

    @property
    def connecting(self) -> bool:
        """Whether an attempt is under way."""
        return self._attempt is not None

    @property
    def waiting(self) -> int:
        """How many stanzas wait."""
        return len(self._backlog)

    @property
    def unconfirmed(self) -> int:
        """How many stanzas were sent and are not confirmed."""
        return len(self._confirming)

    @property
    def pause(self) -> float:
        """For how many seconds more stanzas come back at once, because the last attempt failed; 0: not."""
        return 0.0 if self._attempt is not None else max(0.0, self._until - self._pool.clock.seconds())

    @property
    def connection(self) -> OutgoingConnection | None:
        """The open stream, if it is one of ours."""
        link = self._link
        return link if isinstance(link, OutgoingConnection) and link.usable else None

    def send(self, stanza: Stanza) -> None:
        """Send it, now or soon, or return it to its sender. Never raises."""
        self.last_used = now = self._pool.clock.seconds()
        if self._link is not None and not self._link.usable:
            has_room = self._backlog.add(stanza)
            self._link_lost(StreamFault(Cause.CLOSED))
            if not has_room:
                self._return(stanza, _busy())
            return
        if self.resting:
            self._use_bidi_link()
        link = self._link
        if link is not None and not self._backlog and not self._confirming.window.full:
            self._put(link, Held(stanza, stanza.encode(ns.SERVER)))
        elif self.resting and self._until > now:
            self._return(stanza, _error(self._reason))
        elif (self.resting and not self._pool.may_connect(stanza.from_, self.remote)) or (
            not self._backlog.add(stanza)
        ):
            self._return(stanza, _busy())
        elif self.resting:
            self._begin(stanza.from_)

    def heard(self) -> None:
        """The other server has just proved to be alive: what failed before may work now."""
        self._until = 0.0
        if self._nap is not None:
            self._nap.reset(0)

    def look(self) -> bool:
        """Replace a stream whose peer is dead; whether there is still something unconfirmed."""
        link = self._link
        if link is None:
            return False
        if self._confirming.is_dead():
            link.users.remove(self)
            link.close(StreamError(StreamCondition.CONNECTION_TIMEOUT, "nothing was acknowledged in time"))
            self._link_lost(StreamFault(Cause.NOTHING_ACKNOWLEDGED))
        self._drain()
        return bool(self._confirming)

    def close(self, error: StreamError | None = None) -> None:
        """End the stream, or the attempt: what waits is returned. Of what is not confirmed only who tracks
        it is told: it has probably arrived.
        """
        link = self._link
        if link is None:
            if self._attempt is not None:
                self._attempt.cancel()
            return
        ours = self._is_ours
        unconfirmed = self._detach()
        if ours:
            link.close(error)
        refusal = _error(self._reason)
        for held in unconfirmed:
            held.settle(refusal)
        self._backlog.empty(lambda held: self._return(held.envelope, refusal))

    # -- LinkUser -------------------------------------------------------------

    def managed(self, link: Link) -> None:
        """See `LinkUser`."""
        if link is self._link:
            self._confirming.managed()

    def confirmed(self, link: Link, number: int) -> None:
        """See `LinkUser`."""
        if link is self._link:
            self._confirming.confirmed(number)
            self._drain()

    def ended(self, link: Link, fault: StreamFault) -> None:
        """See `LinkUser`."""
        if link is self._link:
            self._link_lost(fault)

    def answered(self, stanza: Stanza) -> bool:
        """Whether an iq from there answers our ping; it is dealt with then."""
        ours = self._confirming.answered(stanza)
        self._drain()
        return ours

    # -- streams -----------------------------------------------------------

    def _attach(self, link: Link, *, ours: bool) -> None:
        self._link = link
        self._is_ours = ours
        link.users.append(self)
        self._confirming.begin(link)

    def _use_bidi_link(self) -> None:
        """Use a stream of the peer's, if there is one."""
        bidi_link = self._pool.bidi_link((self.local, self.remote))
        if bidi_link is not None:
            self._attach(bidi_link, ours=False)

    def _put(self, link: Link, held: Held) -> None:
        try:
            held.number = link.send_bytes(held.data)
        except StanzaError as error:
            self._return(held.envelope, error)
            return
        self._counters.sent += 1
        if self._confirming.sent(held):
            self._pool.unconfirmed.add(self)

    def _drain(self) -> None:
        """Send what waits, as far as there is room for it."""
        while self._backlog and not self._confirming.window.full:
            link = self._link
            if link is None or not link.usable:  # we are told when it ends, or the attempt does
                return
            self._put(link, self._backlog.pop())

    def _detach(self) -> list[Held]:
        """Use the stream no more; what it did not confirm."""
        link, self._link = self._link, None
        assert link is not None
        if self in link.users:
            link.users.remove(self)
        if self._is_ours:
            self._counters.outgoing -= 1
        return self._confirming.end()

    def _link_lost(self, fault: StreamFault) -> None:
        """The stream is over: what it did not confirm is sent once more, on another one, then what waits."""
        ours = self._is_ours
        held = self._detach()
        self._backlog.empty(held.append)
        if ours:
            self._counters.failed(fault)
            self._pool.known_servers.get(self.remote).away = True
            log.info(
                "the stream to {domain} is over: {reason}",
                domain=self.remote,
                reason=self._counters.last_error,
            )
        if held:
            self._send_again(held)

    def _send_again(self, held: list[Held]) -> None:
        lost = _error(Unreachable(Cause.CLOSED))
        sender = held[0].from_
        once, rest = parted(held) if self._pool.may_connect(sender, self.remote) else ([], held)
        if once:
            for each in once:
                each.again = each.number > 0
            self._backlog.put_back(once)
            self._use_bidi_link()
            if self._link is None:
                self._begin(sender)
            self._drain()
        for each in rest:
            self._return(each.envelope, lost)

    # -- attempts ----------------------------------------------------------

    def _begin(self, sender: JID | None) -> None:
        self._attempt = Deferred()  # stands for the real one until that has begun
        account = self._pool.account_of(sender)
        self._end_share = self._pool.attempts.begin(account, self.remote, self._give_up)
        self._reason = Unreachable(Cause.TOO_SLOW)
        reached = Deferred.fromCoroutine(self._reached())
        reached.addTimeout(ATTEMPT_SECONDS, self._pool.clock)
        reached.addBoth(self._tried)
        finished = reached.addCallbacks(self._opened, self._failed)
        finished.addErrback(self._broken)
        if not finished.called:
            self._attempt = finished

    async def _reached(self) -> OutgoingConnection:
        """An open stream, however often it takes. Raises `Unreachable` if trying on is of no use."""
        connector = self._pool.connector
        pause = FIRST_RETRY
        while True:
            try:
                return await connector.connect(self.local, self.remote, connector.established)
            except Unreachable as error:
                self._reason = error
                if error.permanent:
                    raise
            await self._sleep(pause * self._jitter())
            pause *= 2

    async def _sleep(self, seconds: float) -> None:
        """Wait that long, or until the other server shows that it is there."""
        over: Deferred[None] = Deferred()
        self._nap = self._pool.clock.callLater(seconds, over.callback, None)
        try:
            await over
        finally:
            nap, self._nap = self._nap, None
            if nap.active():
                nap.cancel()

    def _tried(self, result: Any) -> Any:
        self._end_share()
        self._attempt = None
        return result

    def _give_up(self) -> None:
        """End the attempt in favour of somebody who has fewer of them."""
        self._reason = Unreachable(Cause.TOO_MANY, Condition.RESOURCE_CONSTRAINT)
        if self._attempt is not None:
            self._attempt.cancel()

    def _opened(self, connection: OutgoingConnection) -> None:
        self._failures = 0
        self._counters.outgoing_method = connection.method
        self._counters.outgoing += 1
        connection.came = self._pool.came
        connection.reply = self._pool.deliver
        connection.when_written = self._pool.when_written
        self._attach(connection, ours=True)
        self._drain()
        self._pool.stands(self.remote)
        log.debug("stream to {domain} is open ({method})", domain=self.remote, method=connection.method)

    def _failed(self, failure: Failure) -> None:
        """Use a stream that the peer has opened meanwhile; else give everything back, and leave the other
        server alone for a while.
        """
        self._use_bidi_link()
        if self._link is not None:
            self._drain()
            return
        error = failure.value
        if isinstance(error, Unreachable):
            self._reason = error
        elif not isinstance(error, TimedOut):
            log.debug("attempt to reach {domain} was given up", domain=self.remote)
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2**self._failures)
        self._failures = min(DOUBLINGS, self._failures + 1)
        self._until = self._pool.clock.seconds() + pause * self._jitter()
        self._counters.failed(self._reason.fault)
        self._pool.known_servers.get(self.remote).away = True
        log.info("no stream to {domain}: {reason}", domain=self.remote, reason=self._counters.last_error)
        refusal = _error(self._reason)
        self._backlog.empty(lambda held: self._return(held.envelope, refusal))

    def _broken(self, failure: Failure) -> None:
        """Our own fault: nothing may hang on it."""
        log.failure("a stream to {domain} failed", failure=failure, domain=self.remote)
        refusal = StanzaError(Condition.INTERNAL_SERVER_ERROR)
        self._backlog.empty(lambda held: self._return(held.envelope, refusal))

    def _return(self, stanza: Stanza, error: StanzaError) -> None:
        """To the sender; what is an answer itself is dropped (RFC 6120 8.3.1)."""
        self._counters.returned += 1
        try:
            self._pool.bounce(stanza, error)
        except Exception:
            log.failure("a {kind} could not be returned", kind=stanza.kind)

    def _jitter(self) -> float:
        return 0.5 + self._pool.random() / 2


def _error(reason: Unreachable) -> StanzaError:
    return StanzaError(reason.condition, _WORDS.get(reason.condition, ""))


def _busy() -> StanzaError:
    return StanzaError(Condition.RESOURCE_CONSTRAINT, "too much waits for the other server already")


def _nothing() -> None:
    """Do nothing: no attempt is under way."""


_WORDS: dict[Condition, str] = {
    Condition.REMOTE_SERVER_NOT_FOUND: "there is no XMPP server for that domain",
    Condition.REMOTE_SERVER_TIMEOUT: "the other server cannot be reached now",
}
