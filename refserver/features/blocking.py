"""Whom libraries let in: each library's lists of allowed and blocked senders, and one for all libraries.

Owns the lists in memory and the gates made of them, which the router asks before anybody else sees a
stanza (core/gates.py). The lists are kept in storage/senders.py; who changes them there tells this
feature. What an account blocks for itself (XEP-0191) is another matter.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from sqlalchemy import Connection
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from refserver.core.core import Core
from refserver.core.feature import Feature, on
from refserver.core.hooks import HostAdded, HostRemoved, HostsComing, SendersChanged, ServerStopping
from refserver.core.hosts import Host
from refserver.features.blocking_rules import LibraryGate, Rules
from refserver.storage import queues, senders
from refserver.storage.senders import EVERYWHERE, Rule

__all__ = ["Blocking", "end_subscriptions", "load"]

log = Logger()

LOOK_SECONDS: Final = 3600.0
"""How often rules whose time is over are removed from the store; they stop nobody once it is over."""


def load(connection: Connection, library: str, domain: str = "") -> Rules:
    """A library's rules (`EVERYWHERE`: those for all), or only those about one domain."""
    rules = Rules.of(senders.brief(connection, library, domain))
    if rules.has_fingerprints:
        rules.key = senders.fingerprint_key(connection, library)
    rules.allow_only = bool(library) and senders.is_allow_only(connection, library)
    return rules


def end_subscriptions(connection: Connection, library: str, domain: str, now: float) -> None:
    """Whom a library (`EVERYWHERE`: any) blocks at a domain, let them have its queues' presence no more."""
    everywhere = load(connection, EVERYWHERE, domain)
    for at, subscribers in senders.subscribers_at(connection, library, domain).items():
        host = Host(at, staff=partial(queues.staff_of, connection, at))
        gate = LibraryGate(host, load(connection, at, domain), everywhere, lambda: now)
        senders.unsubscribe(connection, at, filter(gate.blocks, subscribers))


class Blocking(Feature):
    """Keeps the gates. `EVERYWHERE` names the rules that hold in every library."""

    name = "library blocking"

    def __init__(self, core: Core) -> None:
        super().__init__(core)
        self._everywhere: Rules | None = None
        self._gates: dict[str, LibraryGate] = {}
        self._without_rules: set[str] = set()  # of the libraries that are announced at the start
        self._looking: IDelayedCall | None = None

    # -- what changes ------------------------------------------------------------------

    def put(self, library: str, rule: Rule, key: bytes = b"") -> None:
        """A rule was stored; `key` is that of the library's fingerprints, where the rule has one."""
        rules = self._rules(library)
        if rules is not None:
            rules.key = key or rules.key
            rules.put(rule)
            self._changed(library, rule.domain)

    def drop(self, library: str, rule: Rule) -> None:
        """A rule was removed from the store."""
        rules = self._rules(library)
        if rules is not None:
            rules.drop(rule)
            self._changed(library, rule.domain)

    def allow_only(self, library: str, allow_only: bool) -> None:
        """A library lets in nobody but whom it allows, or others again."""
        rules = self._rules(library)
        if rules is not None:
            rules.allow_only = allow_only
            self._changed(library, "")

    def _rules(self, library: str) -> Rules | None:
        """The rules to be changed; None for a library that is not served here."""
        if library == EVERYWHERE:
            return self._everywhere
        gate = self._gates.get(library)
        return None if gate is None else gate.own

    def _changed(self, library: str, domain: str) -> None:
        for gate in self._gates.values() if library == EVERYWHERE else [self._gates[library]]:
            self._open_or_close(gate)
        self.core.hooks.tell(SendersChanged(self.core.hosts.get(library), domain))

    def _open_or_close(self, gate: LibraryGate) -> None:
        gates = self.core.hosts.gates
        if gate.is_open:
            gates.pop(gate.host.domain, None)
        else:
            gates[gate.host.domain] = gate

    # -- libraries -----------------------------------------------------------------------

    @on(HostsComing)
    def hosts_coming(self, event: HostsComing) -> None:
        """Most libraries have no rules."""
        self._without_rules = set(event.domains - self.core.database.read_now(senders.libraries_with_rules))

    @on(HostAdded)
    def host_added(self, event: HostAdded) -> None:
        """Read a library's rules, and with the first library those for all."""
        if self._everywhere is None:
            self._everywhere = self.core.database.read_now(load, EVERYWHERE)
            self._look_later()
        domain = event.host.domain
        if domain in self._without_rules:
            self._without_rules.remove(domain)
            own = Rules()
        else:
            own = self.core.database.read_now(load, domain)
        gate = LibraryGate(event.host, own, self._everywhere, self.core.now, self._is_service)
        self._gates[domain] = gate
        self._open_or_close(gate)

    def _is_service(self, domain: str) -> bool:
        return self.core.hosts.service(domain) is not None

    @on(HostRemoved)
    def host_removed(self, event: HostRemoved) -> None:
        """Forget a library's rules."""
        self._gates.pop(event.host.domain, None)
        self.core.hosts.gates.pop(event.host.domain, None)

    # -- time ------------------------------------------------------------------------------

    def _look_later(self) -> None:
        self._looking = self.core.clock.callLater(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self._look_later()
        dropped = self.core.database.write(senders.drop_expired, self.core.now())
        dropped.addErrback(lambda failure: log.failure("old rules could not be removed", failure=failure))

    @on(ServerStopping)
    def stopping(self, event: ServerStopping) -> None:
        """No more looks at the store."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
