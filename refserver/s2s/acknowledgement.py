"""Whether what was sent has arrived: asking the other server, and noticing one that answers no more.

XEP-0198 where the peer has it. Else XEP-0199: a ping behind the messages, from our domain to the peer's.
Whatever that domain answers, it has read what came before on the same stream. Pings are sent for messages
and for what is tracked, not for presence and queries alone, which then are not remembered either.

A peer that confirms nothing for CONFIRM_SECONDS, while nothing moves on the stream, is taken for dead (it
has longer for much, since servers limit how fast they read from each other: Prosody to 30,000 bytes/s): the
stream is replaced and what is open is sent again. Except one that has never answered a ping and whose
machine has acknowledged all bytes: it does not answer pings. On this stream it is asked no more, and what its
machine has acknowledged for a while counts as arrived; nobody can know more.
"""

from __future__ import annotations

from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from refserver import ns
from refserver.core.outbox import Budget, Held, Window
from refserver.errors import StanzaError
from refserver.jid import JID
from refserver.s2s.known_servers import KnownServer
from refserver.s2s.link import Link
from refserver.stanza import Stanza
from refserver.xml.element import element

__all__ = ["Acknowledgements"]

ASK_SECONDS: Final = 0.1  # between two questions by XEP-0198
PING_SECONDS: Final = 0.05  # between two pings: what came in between arrives twice if the peer is killed
CONFIRM_SECONDS: Final = 60.0
SLOWEST: Final = 16_000.0  # bytes per second that a peer reads at the least
SILENT_SECONDS: Final = 5.0  # how long a silent peer's machine must have had all bytes
LONG_AGO: Final = float("-inf")


class Acknowledgements:
    """The stanzas of one way that are not confirmed: `window`."""

    __slots__ = (
        "_asked_at",
        "_clock",
        "_link",
        "_local",
        "_moved_at",
        "_open",
        "_peer",
        "_ping",
        "_remote",
        "_silent",
        "_timer",
        "_unsent",
        "window",
    )

    def __init__(self, local: str, peer: KnownServer, budget: Budget, clock: IReactorTime) -> None:
        self._local = JID.parse(local)
        self._remote = JID.parse(peer.domain)
        self._peer = peer
        self._clock = clock
        self.window = Window(budget)
        self._timer: IDelayedCall | None = None
        self._link: Link | None = None
        self._moved_at = 0.0  # when something was confirmed or left us
        self._unsent = 0
        self._asked_at = LONG_AGO
        self._open = False  # the other server owes an answer
        self._ping: tuple[str, int] | None = None  # the id and number of the last ping
        self._silent = False  # the other server does not answer pings

    def __len__(self) -> int:
        return len(self.window)

    def begin(self, link: Link) -> None:
        """Stanzas go out on a new stream."""
        self._forget()
        self._link = link

    def end(self) -> list[Held]:
        """That stream is over; what is not confirmed, in order."""
        self._forget()
        self._link = None
        return self.window.take_back()

    def sent(self, held: Held) -> bool:
        """A stanza went out on the stream; whether it is the first that is not confirmed."""
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
        """The other server has everything up to the stanza with that number."""
        self._open = False
        self._ping = None
        if self.window.confirm(number):
            self._moved_at = self._clock.seconds()
        if self.window and not self._open:
            self._ask()

    def managed(self) -> None:
        """It is decided how the stream is confirmed."""
        self._open = False
        if self.window:
            self._ask()

    def answered(self, stanza: Stanza) -> bool:
        """Whether an iq from the other domain answers our ping; it is dealt with then."""
        if self._ping is None or stanza.id != self._ping[0] or stanza.type not in ("result", "error"):
            return False
        if stanza.from_ != self._remote or stanza.to != self._local:
            return False
        self._peer.answers = True
        self.confirmed(self._ping[1])
        return True

    def is_dead(self) -> bool:
        """Look, about once a second, whether the other server still answers."""
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
        """Whether anything but a message need not be remembered until it is confirmed."""
        assert self._link is not None
        if held.tracked is not None:
            return False
        return self._link.managed is False or (held.kind == "presence" and self.window.half_full)

    def _ask(self) -> None:
        """Ask behind the stanza that has just gone out, or a little later if we asked just now."""
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
