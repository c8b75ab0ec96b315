"""Acknowledgement of the stanzas sent to another server, and detection of a server that has died.

A server with XEP-0198 is asked for its count. Any other is sent a ping (XEP-0199) behind the messages, from
our domain to its own: whatever it answers, it has read what came before on the same stream. Pings are sent
for messages and tracked stanzas, not for presence and queries alone; these are then not kept either.

A server that acknowledges nothing for CONFIRM_SECONDS, while nothing moves on the stream, is taken for dead:
the stream is replaced and what is open is sent again. It has longer for much, since servers limit how fast
they read from each other (Prosody to 30,000 bytes a second). A server that has never answered a ping, and
whose machine has acknowledged all bytes, does not answer pings at all: on this stream it is asked no more,
and what its machine has acknowledged for SILENT_SECONDS counts as arrived.
"""

from __future__ import annotations

from typing import Final, Protocol

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from refserver import ns
from refserver.core.outbox import Budget, Held, Window
from refserver.errors import StanzaError, StreamError, StreamFault
from refserver.jid import JID
from refserver.s2s.known_servers import KnownServer
from refserver.stanza import Stanza
from refserver.xml.element import element

ASK_SECONDS: Final = 0.1  # between two questions by XEP-0198
PING_SECONDS: Final = 0.05  # between two pings: what came in between arrives twice if the peer is killed
CONFIRM_SECONDS: Final = 60.0
SLOWEST: Final = 16_000.0  # bytes per second that a peer reads at the least
SILENT_SECONDS: Final = 5.0  # how long a silent peer's machine must have had all bytes
LONG_AGO: Final = float("-inf")


class LinkUser(Protocol):
    """An outbound queue that uses a link."""

    def managed(self, link: Link) -> None:
        """The peer has said whether it counts what it has handled (XEP-0198)."""

    def confirmed(self, link: Link, number: int) -> None:
        """The peer has handled all stanzas up to the `number`-th."""

    def ended(self, link: Link, fault: StreamFault) -> None:
        """The stream is over."""


class Link(Protocol):
    """A stream that carries stanzas from one of our domains to one of the peer's."""

    users: list[LinkUser]

    @property
    def usable(self) -> bool:
        """True while stanzas may be sent."""

    @property
    def managed(self) -> bool | None:
        """True if the peer counts what it has handled (XEP-0198); None while that is not decided."""

    @property
    def unsent(self) -> int:
        """The bytes that the peer's machine has not acknowledged."""

    def send_bytes(self, data: bytes) -> int:
        """Send a stanza, only while `usable`, and return its number on the stream.

        Raises `StanzaError` if the peer takes none of that size.
        """

    def ask(self) -> None:
        """Ask a `managed` peer for its count, unless it owes an answer."""

    def close(self, error: StreamError | None = None) -> None:
        """End the stream, at once with an error, in order without."""


class BidiLink(Link, Protocol):
    """A stream that the other server opened, and on which it may take our stanzas too (XEP-0288)."""

    def carries(self, from_: str, to: str) -> bool:
        """True if it takes stanzas from our domain `from_` to the peer's `to`."""


@define(eq=False)
class Acknowledgements:
    """The `window` of stanzas that one outbound queue has sent, and the questions that settle it."""

    _local: JID
    _peer: KnownServer
    _budget: Budget
    _clock: IReactorTime
    window: Window = field(init=False)
    _remote: JID = field(init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)
    _link: Link | None = field(default=None, init=False)
    _moved_at: float = field(default=0.0, init=False)  # when something was acknowledged or left us
    _unsent: int = field(default=0, init=False)
    _asked_at: float = field(default=LONG_AGO, init=False)
    _open: bool = field(default=False, init=False)  # the other server owes an answer
    _ping: tuple[str, int] | None = field(default=None, init=False)  # the id and number of the last ping
    _silent: bool = field(default=False, init=False)  # the other server does not answer pings

    def __attrs_post_init__(self) -> None:
        self.window = Window(self._budget)
        self._remote = JID.parse(self._peer.domain)

    def __len__(self) -> int:
        return len(self.window)

    def begin(self, link: Link) -> None:
        """Begin with a new stream."""
        self._forget()
        self._link = link

    def end(self) -> list[Held]:
        """End with a stream that is over; return what is unacknowledged, in order."""
        self._forget()
        self._link = None
        return self.window.take_back()

    def sent(self, held: Held) -> bool:
        """Note a stanza that was sent. Return True if it is the only unacknowledged one."""
        if (held.kind != "message" or held.type == "error") and self._is_spare(held):
            return False
        is_first = not self.window
        if is_first:
            self._moved_at = self._clock.seconds()
            self._unsent = 0
        self.window.add(held)
        if not self._open:
            self._ask()
        return is_first

    def confirmed(self, number: int) -> None:
        """Settle all stanzas up to the `number`-th."""
        self._open = False
        self._ping = None
        if self.window.confirm(number):
            self._moved_at = self._clock.seconds()
        if self.window and not self._open:
            self._ask()

    def managed(self) -> None:
        """Ask, now that it is decided how."""
        self._open = False
        if self.window:
            self._ask()

    def answered(self, stanza: Stanza) -> bool:
        """Process an iq that answers our ping; False if it does not."""
        if self._ping is None or stanza.id != self._ping[0] or stanza.type not in ("result", "error"):
            return False
        if stanza.from_ != self._remote or stanza.to != self._local:
            return False
        self._peer.answers = True
        self.confirmed(self._ping[1])
        return True

    def is_dead(self) -> bool:
        """Called about once a second. Return True if the other server does not answer any more."""
        link = self._link
        if link is None or not self.window:
            return False
        now, unsent = self._clock.seconds(), link.unsent
        if unsent < self._unsent:
            self._moved_at = now
        self._unsent = unsent
        if self._silent:
            return self._is_silent_and_dead(now)
        if now - self._moved_at < CONFIRM_SECONDS + self.window.size / SLOWEST:
            return False
        if link.managed is not False or unsent or self._peer.answers:
            return True
        self._silent, self._ping = True, None
        return self._is_silent_and_dead(now)

    # -- asking ------------------------------------------------------------

    def _is_spare(self, held: Held) -> bool:
        """True for a presence or iq that need not be kept until it is acknowledged."""
        assert self._link is not None
        if held.tracked is not None:
            return False
        return self._link.managed is False or (held.kind == "presence" and self.window.half_full)

    def _ask(self) -> None:
        """Ask behind the stanza that was just sent, or a little later if the last question is recent."""
        link = self._link
        if link is None or link.managed is None or self._silent:
            return
        if self._timer is not None and not self.window.half_full:
            return
        pause = ASK_SECONDS if link.managed else PING_SECONDS
        wait = self._asked_at + pause - self._clock.seconds()
        if wait <= 0 or self.window.half_full:
            self._wait_no_more()
            self._ask_now()
        else:
            self._timer = self._clock.callLater(wait, self._ask_now)

    def _ask_now(self) -> None:
        self._timer = None
        link = self._link
        if link is None or not self.window or self._open or not link.usable:
            return
        self._open = True
        self._asked_at = self._clock.seconds()
        if link.managed:
            link.ask()
        else:
            ping = Stanza.iq("get", self._remote, self._local, payload=element(ns.PING, "ping"))
            try:
                self._ping = ping.id, link.send_bytes(ping.encode(ns.SERVER))
            except StanzaError:  # even that is too large for it
                self._silent = True

    def _is_silent_and_dead(self, now: float) -> bool:
        if self._unsent:
            return now - self._moved_at >= CONFIRM_SECONDS
        if now - self._moved_at >= SILENT_SECONDS:
            self.window.confirm_all()
        return False

    def _wait_no_more(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _forget(self) -> None:
        self._wait_no_more()
        self._open = self._silent = False
        self._ping = None
        self._asked_at = LONG_AGO
