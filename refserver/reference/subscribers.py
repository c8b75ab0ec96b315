"""Who sees the queue's presence, and how it is brought to them (RFC 6121 4.2.2, 4.4.2).

Each subscriber is told what is new to him, once. Those on one other server are told in batches: the next
one leaves when that server has confirmed the last, and tells what is true by then. So a library with
thousands of subscribers elsewhere never has more on the way to a server than that server takes, and a
server that is away costs one batch each time.

What the presence says is queue_presence.py's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final

from attrs import define, field, frozen

from refserver.errors import StanzaError
from refserver.jid import JID
from refserver.stanza import Stanza, Tracked

if TYPE_CHECKING:
    from refserver.core.core import Core

BATCH: Final = 200
"""Subscribers of one domain who are told at once."""
PATIENCE_SECONDS: Final = 120.0
"""A batch of which nothing was heard for so long holds the next one up no more."""


@frozen
class Status:
    """What subscribers see: the value of show ("" for available), and the text."""

    show: str
    text: str


@define(eq=False)
class _Part:
    """The subscribers of one domain, each with what he was told last; None: not known."""

    told: dict[JID, Status | None] = field(factory=dict)
    held_until: float = 0.0  # on the reactor's clock: a batch is under way


class Subscribers:
    """All subscribers of one queue. `presence` makes what a status looks like, without `to`."""

    def __init__(self, core: Core, presence: Callable[[Status], Stanza]) -> None:
        self._core = core
        self._presence = presence
        self._parts: dict[str, _Part] = {}
        self._status: Status | None = None

    def __contains__(self, jid: JID) -> bool:
        part = self._parts.get(jid.domainpart)
        return part is not None and jid in part.told

    def __iter__(self) -> Iterator[JID]:
        return (jid for part in list(self._parts.values()) for jid in list(part.told))

    def __len__(self) -> int:
        return sum(len(part.told) for part in self._parts.values())

    def at(self, domain: str) -> list[JID]:
        """Those at one domain."""
        part = self._parts.get(domain)
        return [] if part is None else list(part.told)

    def add(self, jid: JID, told: Status | None = None) -> None:
        """A bare JID has subscribed, and was told a status."""
        self._parts.setdefault(jid.domainpart, _Part()).told[jid] = told

    def update(self, jids: Iterable[JID]) -> None:
        """Those who had subscribed before this server was started."""
        for jid in jids:
            self.add(jid)

    def discard(self, jid: JID) -> None:
        """He has unsubscribed."""
        part = self._parts.get(jid.domainpart)
        if part is not None:
            part.told.pop(jid, None)
            if not part.told:
                del self._parts[jid.domainpart]

    def clear(self) -> None:
        """Nobody is told anything any more."""
        self._parts.clear()

    def tell(self, status: Status) -> None:
        """Tell everybody who was told something else."""
        self._status = status
        for domain in list(self._parts):
            self._next_batch(domain)

    def reachable(self, domain: str) -> None:
        """Another server is back: who of it missed something is told now."""
        part = self._parts.get(domain)
        if part is not None:
            part.held_until = 0.0
            self._next_batch(domain)

    def _next_batch(self, domain: str) -> None:
        part, status, now = self._parts.get(domain), self._status, self._core.clock.seconds()
        if part is None or status is None or now < part.held_until:
            return
        batch = list(islice((jid for jid, told in part.told.items() if told != status), BATCH))
        if not batch:
            return
        part.told.update(dict.fromkeys(batch, status))
        part.held_until = now + PATIENCE_SECONDS
        presence, route = self._presence(status), self._core.router.route
        for jid in batch[:-1]:
            route(presence.copy_to(jid))
        last, settled = presence.copy_to(batch[-1]), partial(self._settled, domain, status, batch)
        if self._core.hosts.is_local(domain):
            route(last)
            settled(None)
        else:
            route(Tracked(last, settled))

    def _settled(self, domain: str, status: Status, batch: list[JID], error: StanzaError | None) -> None:
        """A batch has arrived, or has come back. What came back is told again with the next change."""
        part = self._parts.get(domain)
        if part is None:
            return
        part.held_until = 0.0
        if error is None:
            self._core.clock.callLater(0, self._next_batch, domain)
        else:
            part.told.update({jid: None for jid in batch if part.told.get(jid) == status})
