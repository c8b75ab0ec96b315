"""What is known of the other servers: counters, how they proved themselves, and what went wrong last.

For people (`refserverctl s2s list` and `show`). Holds no address of a person and no word of theirs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final

from attrs import define, field, frozen

from refserver.errors import StreamFault
from refserver.stream.policy import ShownCertificate, TLSInfo

__all__ = ["KnownServer", "KnownServers", "ServerStatus"]

MOST_REMOTES: Final = 5_000
LONGEST_REASON: Final = 400
MOST_NAMES: Final = 20

_NOTHING_SHOWN: Final = ShownCertificate((), "", 0.0)


@frozen
class ServerStatus:
    """One other server. Methods are "certificate", "dialback" or "" where there is no stream.

    `outgoing_streams` and `incoming_streams` are open ones; `connecting` says that one is being set up,
    `waiting` how many stanzas wait for that, `unconfirmed` how many were sent and may not have arrived.
    `certificate` is the fault of the certificate shown last, None if it is valid or none was shown yet
    (`certificate_shown`); what stands in it follows. `sent`, `received`, `refused` (of what came from there)
    and `returned` (to senders here) count stanzas since the start. Moments are seconds since the epoch, 0 for
    none: `paused_until` is when there is another attempt at the earliest. Texts may quote the peer; they are
    fit to be printed.
    """

    domain: str
    outgoing_streams: int
    incoming_streams: int
    connecting: bool
    outgoing_method: str
    incoming_method: str
    certificate: StreamFault | None
    certificate_shown: bool
    certificate_names: tuple[str, ...]
    certificate_issuer: str
    certificate_expires: float
    sent: int
    received: int
    refused: int
    returned: int
    waiting: int
    unconfirmed: int
    last_error: StreamFault | None
    last_error_at: float
    paused_until: float


@define(eq=False)
class KnownServer:
    """The counters of one other server. `outgoing` and `incoming` count its open streams.

    `away`: there was no stream since the last one failed, or since the start. `answers`: it has answered a
    ping of ours.
    """

    domain: str
    _now: Callable[[], float]
    outgoing: int = field(default=0, init=False)
    incoming: int = field(default=0, init=False)
    outgoing_method: str = field(default="", init=False)
    incoming_method: str = field(default="", init=False)
    certificate: StreamFault | None = field(default=None, init=False)
    seen: bool = field(default=False, init=False)
    shown: ShownCertificate = field(default=_NOTHING_SHOWN, init=False)
    sent: int = field(default=0, init=False)
    received: int = field(default=0, init=False)
    refused: int = field(default=0, init=False)
    returned: int = field(default=0, init=False)
    last_error: StreamFault | None = field(default=None, init=False)
    last_error_at: float = field(default=0.0, init=False)
    away: bool = field(default=True, init=False)
    answers: bool = field(default=False, init=False)

    def failed(self, fault: StreamFault) -> None:
        """Remember what went wrong last."""
        self.last_error = _cleaned(fault)
        self.last_error_at = self._now()

    def shows(self, tls: TLSInfo) -> None:
        """Remember the certificate that the server has shown, or that it has shown none."""
        self.seen = True
        self.certificate = None if tls.proves(self.domain) else _cleaned(tls.why_not(self.domain))
        self.shown = tls.certificate or _NOTHING_SHOWN

    def status(
        self, waiting: int = 0, connecting: bool = False, pause: float = 0.0, unconfirmed: int = 0
    ) -> ServerStatus:
        """All of it, as it is now; what the ways there know is given: `pause` is what is left, in seconds."""
        return ServerStatus(
            self.domain,
            self.outgoing,
            self.incoming,
            connecting,
            self.outgoing_method if self.outgoing else "",
            self.incoming_method if self.incoming else "",
            self.certificate,
            self.seen,
            tuple(map(_printable, self.shown.names[:MOST_NAMES])),
            _printable(self.shown.issuer),
            self.shown.expires,
            self.sent,
            self.received,
            self.refused,
            self.returned,
            waiting,
            unconfirmed,
            self.last_error,
            self.last_error_at,
            self._now() + pause if pause else 0.0,
        )


@define(eq=False)
class KnownServers:
    """All other servers that had to do with us lately; `now` gives seconds since the epoch."""

    _now: Callable[[], float]
    _known: OrderedDict[str, KnownServer] = field(factory=OrderedDict, init=False)

    def get(self, domain: str) -> KnownServer:
        """The counters of a domain, new ones if need be; those that are idle longest are forgotten."""
        known = self._known.get(domain)
        if known is None:
            known = self._known[domain] = KnownServer(domain, self._now)
            if len(self._known) > MOST_REMOTES:
                self._forget_one(known)
        return known

    def __iter__(self) -> Iterator[KnownServer]:
        return iter(list(self._known.values()))

    def _forget_one(self, newest: KnownServer) -> None:
        for domain, remote in self._known.items():
            if remote is not newest and not remote.outgoing and not remote.incoming:
                del self._known[domain]
                return


def _cleaned(fault: StreamFault) -> StreamFault:
    return StreamFault(fault.cause, _printable(fault.detail), _printable(fault.said))


def _printable(text: str) -> str:
    """The peer's choice of words, fit for logs and terminals."""
    return "".join(each if each.isprintable() else "?" for each in text[:LONGEST_REASON])
