"""Asks the clients of librarians on other servers each minute whether they are there (XEP-0199).

Nothing else would tell us: a machine that sleeps sends no presence, and who is at no desk shows us none at
all. A client that has not answered for a minute is silent until it does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall

from refserver import ns
from refserver.core.core import Core
from refserver.jid import JID
from refserver.stanza import Stanza
from refserver.xml.element import element

__all__ = ["RemoteClients"]

ASK_SECONDS: Final = 60.0
MOST_CLIENTS: Final = 8  # of one librarian
IDS_KEPT: Final = 5
SOMEBODY_ANSWERED: Final = frozenset(("service-unavailable", "feature-not-implemented"))
"""Errors of clients that know no pings, and of servers that pass none on: they say nothing."""


@define(eq=False)
class _Client:
    """A full JID. `open` are the ids of the pings since it answered last, `asker` is who sends them.

    `answers`: it has answered a ping itself.
    """

    jid: JID
    asker: JID
    open: list[str] = field(factory=list)
    silent: bool = False
    answers: bool = False


class RemoteClients:
    """The clients of one library's librarians elsewhere.

    `is_needed` tells if it matters that a librarian is there; `changed` is told of whom something new is
    known.
    """

    def __init__(self, core: Core, is_needed: Callable[[JID], bool], changed: Callable[[JID], None]) -> None:
        self._core = core
        self._is_needed = is_needed
        self._changed = changed
        self._librarians: dict[JID, dict[JID, _Client]] = {}
        self._timer: IDelayedCall | None = None

    def watch(self, client: JID, asker: JID) -> None:
        """A librarian's client has shown itself to one of our addresses, `asker`: ask it from now on."""
        if not client.resourcepart or self._core.hosts.is_local(client.domainpart):
            return
        clients = self._librarians.setdefault(client.bare, {})
        if client not in clients:
            if len(clients) >= MOST_CLIENTS:
                del clients[next(iter(clients))]
            clients[client] = _Client(client, asker)
            if self._timer is None:
                self._timer = self._core.clock.callLater(ASK_SECONDS, self._round)

    def unwatch(self, client: JID) -> None:
        """It has said that it goes."""
        clients = self._librarians.get(client.bare, {})
        clients.pop(client, None)
        if not clients:
            self._librarians.pop(client.bare, None)

    def stop(self) -> None:
        """Ask nobody any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def is_silent(self, client: JID) -> bool:
        """True if that client has not answered for a minute."""
        found = self._librarians.get(client.bare, {}).get(client)
        return found is not None and found.silent

    def all_silent(self, librarian: JID) -> bool:
        """True if she has shown us clients, and none of them answers."""
        clients = self._librarians.get(librarian)
        return bool(clients) and all(client.silent for client in (clients or {}).values())

    def answers(self, librarian: JID) -> bool:
        """True if one of her clients answers us."""
        clients = self._librarians.get(librarian, {}).values()
        return any(client.answers and not client.silent for client in clients)

    def answered(self, stanza: Stanza) -> None:
        """An iq result or error has come to one of our addresses."""
        sender = stanza.from_
        client = None if sender is None else self._librarians.get(sender.bare, {}).get(sender)
        if client is None or stanza.id not in client.open:
            return
        if stanza.type == "error":
            error = stanza.child(ns.CLIENT, "error")
            names = () if error is None else (child.tag.partition("}")[2] for child in error)
            if SOMEBODY_ANSWERED.isdisjoint(names):
                return  # its server does not reach it, or is not reached
        client.open.clear()
        self._set(client, False, stanza.type == "result")

    def _set(self, client: _Client, silent: bool, answers: bool) -> None:
        if (client.silent, client.answers) != (silent, answers):
            client.silent, client.answers = silent, answers
            self._changed(client.jid.bare)

    def _round(self) -> None:
        self._timer = None
        for librarian in list(self._librarians):
            if not self._is_needed(librarian):
                del self._librarians[librarian]
                continue
            for client in list(self._librarians[librarian].values()):
                if client.open:
                    self._set(client, True, client.answers)
                ping = Stanza.iq("get", client.jid, client.asker, payload=element(ns.PING, "ping"))
                client.open = [*client.open[1 - IDS_KEPT :], ping.id]
                self._core.router.route(ping)
        if self._librarians:
            self._timer = self._core.clock.callLater(ASK_SECONDS, self._round)
