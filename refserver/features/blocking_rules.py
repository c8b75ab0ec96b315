"""The rules about senders in memory: look-ups that cost the same for ten rules and for a hundred thousand.

Of each rule only what recognises the sender is kept: the bare JID, the domain, or the fingerprint.
Who, when and why are in the store (storage/senders.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from math import inf
from typing import Final

from attrs import define, field, frozen

from refserver.core.gates import Verdict
from refserver.core.hosts import Host
from refserver.jid import JID
from refserver.storage.senders import Brief, Rule, fingerprint

__all__ = ["LibraryGate", "Rules"]

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
    def of(cls, rules: Iterable[Rule | Brief], key: bytes = b"", allow_only: bool = False) -> Rules:
        """All rules at once."""
        made = cls(key, allow_only)
        for rule in rules:
            made.put(rule)
        return made

    def __len__(self) -> int:
        return len(self._until)

    @property
    def has_fingerprints(self) -> bool:
        """Whether its key is needed."""
        return bool(self._marked)

    def put(self, rule: Rule | Brief) -> None:
        """Add a rule in place of the one about the same sender."""
        key = rule.key
        if key in self._until:
            self.drop(rule)
        self._until[key] = 0.0 if rule.allowed else inf if rule.expires_at is None else rule.expires_at
        if rule.fingerprint:
            self._marked[rule.domain] += 1
        if rule.allowed:
            self._allowed_at[rule.domain] += 1

    def drop(self, rule: Rule | Brief) -> None:
        """Forget the rule about a sender, if there is one."""
        until = self._until.pop(rule.key, None)
        if until is None:
            return
        if rule.fingerprint:
            _count_down(self._marked, rule.domain)
        if until == 0.0:
            _count_down(self._allowed_at, rule.domain)

    def address(self, sender: JID, now: float) -> bool | None:
        """Whether this very address is allowed (True) or blocked (False)."""
        verdict = self._verdict(sender.bare.text, now)
        if verdict is None and sender.domainpart in self._marked:
            verdict = self._verdict(fingerprint(self.key, sender), now)
        return verdict

    def domain(self, domain: str, now: float) -> bool | None:
        """Whether a domain is allowed (True) or blocked (False)."""
        return self._verdict(domain, now)

    def allows_at(self, domain: str) -> bool:
        """Whether the domain, or anybody there, is allowed."""
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


def _none_is(domain: str) -> bool:
    return False


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
    is_service: Callable[[str], bool] = _none_is

    @property
    def is_open(self) -> bool:
        """Whether it stops nobody and knows nobody: then there need be no gate."""
        return not self.own and not self.everywhere and not self.own.allow_only

    def judge(self, sender: JID) -> Verdict:
        """See `Gate`."""
        known = self._known(sender)
        if known is not None:
            return Verdict.ALLOWED if known else Verdict.STOPPED
        if not self.own.allow_only or self._is_ours(sender.domainpart) or self._is_staff(sender):
            return Verdict.OPEN
        return Verdict.STOPPED

    def blocks(self, sender: JID) -> bool:
        """See `Gate`."""
        return self._known(sender) is False

    def _known(self, sender: JID) -> bool | None:
        """Whether a sender is allowed (True) or blocked (False) by a rule."""
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
        """See `Gate`: not, if it is blocked everywhere and nobody there is let in all the same."""
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
