"""The other servers that had to do with this one lately: counters, proofs, and the last fault of each.

`refserverctl s2s list` and `show` print them. Nothing here holds an address of a person or a word of theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from attrs import define, evolve, field

from refserver.errors import StreamFault
from refserver.stream.policy import ShownCertificate, TLSInfo

MOST_SERVERS: Final = 5_000
LONGEST_TEXT: Final = 400
MOST_NAMES: Final = 20
_NOTHING_SHOWN: Final = ShownCertificate((), "", 0.0)


@define(eq=False)
class KnownServer:
    """One other server. Moments are seconds since the epoch, 0 for none.

    `outgoing` and `incoming` count its open streams; the methods that proved them are "certificate" or
    "dialback". `certificate` is what stands in the certificate shown last (if `certificate_shown`), and
    `certificate_fault` why it is not valid. `sent`, `received`, `refused` (of what came from there) and
    `returned` (to senders here) count stanzas since the start. `away` is True while there was no stream since
    the last one failed, or since the start; `answers` if it has answered a ping of ours.

    The rest is set only in copies made by `FederationService.status`: `connecting` if a stream is being set
    up, how many stanzas are `waiting` for that, how many were sent and are `unacknowledged`, and until when
    there is no other attempt (`paused_until`).
    """

    domain: str
    outgoing: int = 0
    incoming: int = 0
    outgoing_method: str = ""
    incoming_method: str = ""
    certificate_shown: bool = False
    certificate_fault: StreamFault | None = None
    certificate: ShownCertificate = _NOTHING_SHOWN
    sent: int = 0
    received: int = 0
    refused: int = 0
    returned: int = 0
    last_error: StreamFault | None = None
    last_error_at: float = 0.0
    away: bool = True
    answers: bool = False
    connecting: bool = False
    waiting: int = 0
    unacknowledged: int = 0
    paused_until: float = 0.0
    _now: Callable[[], float] = field(default=lambda: 0.0, kw_only=True)

    def failed(self, fault: StreamFault) -> None:
        """Remember what went wrong last."""
        self.last_error = _printable_fault(fault)
        self.last_error_at = self._now()

    def shows(self, tls: TLSInfo) -> None:
        """Remember the certificate that the server has shown, or that it has shown none."""
        self.certificate_shown = True
        proved = tls.proves(self.domain)
        self.certificate_fault = None if proved else _printable_fault(tls.why_not(self.domain))
        shown = tls.certificate or _NOTHING_SHOWN
        names = tuple(map(_printable, shown.names[:MOST_NAMES]))
        self.certificate = evolve(shown, names=names, issuer=_printable(shown.issuer))


@define(eq=False)
class KnownServers:
    """At most MOST_SERVERS other servers; `now` gives seconds since the epoch."""

    _now: Callable[[], float]
    _known: dict[str, KnownServer] = field(factory=dict, init=False)

    def get(self, domain: str) -> KnownServer:
        """Return the server of a domain, a new one if need be; the oldest without a stream is forgotten."""
        known = self._known.get(domain)
        if known is None:
            if len(self._known) >= MOST_SERVERS:
                self._forget_one()
            known = self._known[domain] = KnownServer(domain, now=self._now)
        return known

    def __iter__(self) -> Iterator[KnownServer]:
        return iter(list(self._known.values()))

    def _forget_one(self) -> None:
        for domain, server in self._known.items():
            if not server.outgoing and not server.incoming:
                del self._known[domain]
                return


def _printable_fault(fault: StreamFault) -> StreamFault:
    return StreamFault(fault.cause, _printable(fault.detail), _printable(fault.said))


def _printable(text: str) -> str:
    """Return what a peer has written, fit for logs and terminals."""
    return "".join(each if each.isprintable() else "?" for each in text[:LONGEST_TEXT])
