"""What is known of the other servers: counters, how they proved themselves, and what went wrong last.

For people (`refserverctl s2s list` and `show`). Holds no address of a person and no word of theirs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final

from attrs import define, field, frozen

from refserver.stream.policy import TLSInfo

__all__ = ["Remote", "RemoteStatus", "Remotes"]

MOST_REMOTES: Final = 5_000
LONGEST_REASON: Final = 400


@frozen
class RemoteStatus:
    """One other server. Methods are "certificate", "dialback" or "" where there is no stream.

    `outgoing_streams` and `incoming_streams` are open ones; `connecting` says that one is being set up,
    `waiting` how many stanzas wait for that. `sent`, `received`, `refused` (of what came from there) and
    `returned` (to senders here) count stanzas since the start. `last_error` is for people, and
    `last_error_at` its time in seconds since the epoch, 0 for none.
    """

    domain: str
    outgoing_streams: int
    incoming_streams: int
    connecting: bool
    outgoing_method: str
    incoming_method: str
    certificate: str
    sent: int
    received: int
    refused: int
    returned: int
    waiting: int
    last_error: str
    last_error_at: float


@define(eq=False)
class Remote:
    """The counters of one other server. `outgoing` and `incoming` count its open streams.

    `away`: there was no stream since the last one failed, or since the start.
    """

    domain: str
    _now: Callable[[], float]
    outgoing: int = field(default=0, init=False)
    incoming: int = field(default=0, init=False)
    outgoing_method: str = field(default="", init=False)
    incoming_method: str = field(default="", init=False)
    certificate: str = field(default="", init=False)
    sent: int = field(default=0, init=False)
    received: int = field(default=0, init=False)
    refused: int = field(default=0, init=False)
    returned: int = field(default=0, init=False)
    last_error: str = field(default="", init=False)
    last_error_at: float = field(default=0.0, init=False)
    away: bool = field(default=True, init=False)

    def failed(self, reason: str) -> None:
        """Something went wrong with it. `reason` may quote the peer."""
        self.last_error = _printable(reason)
        self.last_error_at = self._now()

    def shows(self, tls: TLSInfo) -> None:
        """It has shown this certificate, or none."""
        self.certificate = "valid" if tls.proves(self.domain) else _printable(tls.why_not(self.domain))

    def status(self, waiting: int, connecting: bool) -> RemoteStatus:
        """All of it, as it is now."""
        return RemoteStatus(
            self.domain,
            self.outgoing,
            self.incoming,
            connecting,
            self.outgoing_method if self.outgoing else "",
            self.incoming_method if self.incoming else "",
            self.certificate,
            self.sent,
            self.received,
            self.refused,
            self.returned,
            waiting,
            self.last_error,
            self.last_error_at,
        )


@define(eq=False)
class Remotes:
    """All other servers that had to do with us lately; `now` gives seconds since the epoch."""

    _now: Callable[[], float]
    _known: OrderedDict[str, Remote] = field(factory=OrderedDict, init=False)

    def get(self, domain: str) -> Remote:
        """The counters of a domain, new ones if need be; those that are idle longest are forgotten."""
        known = self._known.get(domain)
        if known is None:
            known = self._known[domain] = Remote(domain, self._now)
            if len(self._known) > MOST_REMOTES:
                self._forget_one(known)
        return known

    def __iter__(self) -> Iterator[Remote]:
        return iter(list(self._known.values()))

    def _forget_one(self, newest: Remote) -> None:
        for domain, remote in self._known.items():
            if remote is not newest and not remote.outgoing and not remote.incoming:
                del self._known[domain]
                return


def _printable(text: str) -> str:
    """The peer's choice of words, fit for logs and terminals."""
    return "".join(each if each.isprintable() else "?" for each in text[:LONGEST_REASON])
