"""The access rules of libraries: a list of allowed and blocked senders for each, and one for all of them.

`LibraryAccess` keeps the lists in memory and the gates made of them, which the router asks before anybody
else sees a stanza (core/hosts.py). The lists are stored by storage/access_rules.py. `Rules` keeps of each
rule only what recognises the sender: the bare JID, the domain, or the fingerprint; a look-up costs the same
for ten rules and for a hundred thousand. What an account blocks for itself (XEP-0191) is another matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from math import inf
from typing import Final

from attrs import define, field, frozen
from sqlalchemy import Connection
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from refserver.core.core import Core
from refserver.core.feature import Feature, on
from refserver.core.hooks import HostAdded, HostRemoved, HostsComing, SendersChanged, ServerStopping
from refserver.core.hosts import Host, Verdict
from refserver.jid import JID
from refserver.storage import access_rules, queues
from refserver.storage.access_rules import EVERYWHERE, Rule, fingerprint

log = Logger()

LOOK_SECONDS: Final = 3600.0
"""Expired rules, which stop nobody, are removed from the store so often."""

_NEVER: Final = -inf


@define(eq=False)
class Rules:
    """The rules of one library, or those that hold everywhere. `key` makes its fingerprints.

    A sender that is not known has no verdict (None): the answer is another's to give.
    """

    key: bytes = b""
    allow_only: bool = False
    _until: dict[str, float] = field(factory=dict, init=False)  # 0: allowed; else blocked until then
    _marked: Counter[str] = field(factory=Counter, init=False)  # fingerprints a domain
    _allowed_at: Counter[str] = field(factory=Counter, init=False)  # allowed senders a domain

    @classmethod
    def of(cls, rules: Iterable[Rule], key: bytes = b"", allow_only: bool = False) -> Rules:
        """All rules at once."""
        made = cls(key, allow_only)
        for rule in rules:
            made.put(rule)
        return made

    def __len__(self) -> int:
        return len(self._until)

    @property
    def has_fingerprints(self) -> bool:
        """True if its key is needed."""
        return bool(self._marked)

    def put(self, rule: Rule) -> None:
        """Add a rule in place of the one about the same sender."""
        key = rule.key
        if key in self._until:
            self.drop(rule)
        self._until[key] = 0.0 if rule.allowed else inf if rule.expires_at is None else rule.expires_at
        if rule.fingerprint:
            self._marked[rule.domain] += 1
        if rule.allowed:
            self._allowed_at[rule.domain] += 1

    def drop(self, rule: Rule) -> None:
        """Forget the rule about a sender, if there is one."""
        until = self._until.pop(rule.key, None)
        if until is None:
            return
        if rule.fingerprint:
            _count_down(self._marked, rule.domain)
        if until == 0.0:
            _count_down(self._allowed_at, rule.domain)

    def address(self, sender: JID, now: float) -> bool | None:
        """True if this address is allowed, False if it is blocked, None if no rule is about it."""
        verdict = self._verdict(sender.bare.text, now)
        if verdict is None and sender.domainpart in self._marked:
            verdict = self._verdict(fingerprint(self.key, sender), now)
        return verdict

    def domain(self, domain: str, now: float) -> bool | None:
        """True if a domain is allowed, False if it is blocked, None if no rule is about it."""
        return self._verdict(domain, now)

    def allows_at(self, domain: str) -> bool:
        """True if the domain, or anybody there, is allowed."""
        return domain in self._allowed_at

    def _verdict(self, key: str, now: float) -> bool | None:
        until = self._until.get(key, _NEVER)
        if until == 0.0:
            return True
        return False if until > now else None


def _count_down(counter: Counter[str], domain: str) -> None:
    counter[domain] -= 1
    if not counter[domain]:
        del counter[domain]


@frozen(eq=False)
class LibraryGate:
    """Implements `Gate` for the library of `host`. `now` gives seconds since the epoch, `is_service` says
    whether a domain is that of a service of this server.

    What is said of an address beats what is said of its domain, and what the library says beats what
    holds everywhere. Who works for the library gets in from a domain that is blocked, too.
    """

    host: Host
    own: Rules
    everywhere: Rules
    now: Callable[[], float]
    is_service: Callable[[str], bool]

    @property
    def is_open(self) -> bool:
        """True if there are no rules: then there need be no gate."""
        return not self.own and not self.everywhere and not self.own.allow_only

    def judge(self, sender: JID) -> Verdict:
        known = self._known(sender)
        if known is not None:
            return Verdict.ALLOWED if known else Verdict.STOPPED
        if not self.own.allow_only or self._is_ours(sender.domainpart) or self._is_staff(sender):
            return Verdict.OPEN
        return Verdict.STOPPED

    def blocks(self, sender: JID) -> bool:
        return self._known(sender) is False

    def _known(self, sender: JID) -> bool | None:
        """True if a rule allows the sender, False if one blocks it, None if no rule is about it."""
        now = self.now()
        known = self.own.address(sender, now)
        if known is None:
            known = self.everywhere.address(sender, now)
        if known is not None:
            return known
        known = self.own.domain(sender.domainpart, now)
        if known is None:
            known = self.everywhere.domain(sender.domainpart, now)
        return None if known is False and self._is_staff(sender) else known

    def welcomes(self, domain: str) -> bool:
        """False if the domain is blocked everywhere and nobody there is let in all the same."""
        if self.everywhere.domain(domain, self.now()) is not False:
            return True
        if self.own.allows_at(domain) or self.everywhere.allows_at(domain):
            return True
        return any(jid.domainpart == domain for jid in self.host.staff())

    def _is_staff(self, sender: JID) -> bool:
        return sender.bare in self.host.staff()

    def _is_ours(self, domain: str) -> bool:
        own = self.host.domain
        return domain == own or (domain.endswith(f".{own}") and self.is_service(domain))


def load(connection: Connection, library: str, domain: str = "") -> Rules:
    """A library's rules (`EVERYWHERE`: those for all), or only those about one domain."""
    rules = Rules.of(access_rules.brief(connection, library, domain))
    if rules.has_fingerprints:
        rules.key = access_rules.fingerprint_key(connection, library)
    rules.allow_only = bool(library) and access_rules.is_allow_only(connection, library)
    return rules


def end_subscriptions(connection: Connection, library: str, domain: str, now: float) -> None:
    """End the subscriptions to queues of everybody at a domain whom a library (`EVERYWHERE`: any) blocks."""
    everywhere = load(connection, EVERYWHERE, domain)
    for at, subscribers in access_rules.subscribers_at(connection, library, domain).items():
        host = Host(at, staff=partial(queues.staff_of, connection, at))
        gate = LibraryGate(host, load(connection, at, domain), everywhere, lambda: now, lambda _: False)
        access_rules.unsubscribe(connection, at, filter(gate.blocks, subscribers))


class LibraryAccess(Feature):
    """Keeps the gates. `EVERYWHERE` names the rules that hold in every library."""

    name = "library access"

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
        self._without_rules = set(
            event.domains - self.core.database.read_now(access_rules.libraries_with_rules)
        )

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
        self._drop_expired()

    def _drop_expired(self, dropped: int = access_rules.ROWS_AT_ONCE) -> None:
        """Remove expired rules, so many a transaction; go on while there are more."""
        if dropped < access_rules.ROWS_AT_ONCE or self._looking is None:
            return
        dropping = self.core.database.write(access_rules.drop_expired, self.core.now())
        dropping.addCallback(self._drop_expired)
        dropping.addErrback(lambda failure: log.failure("old rules could not be removed", failure=failure))

    @on(ServerStopping)
    def stopping(self, event: ServerStopping) -> None:
        """No more looks at the store."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
