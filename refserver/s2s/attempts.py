"""The places for attempts to connect to other servers, and for questions about dialback keys."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final

from attrs import define, field

from refserver.jid import JID

MOST_OF_ACCOUNTS: Final = 1_024
MOST_OF_ONE_ACCOUNT: Final = 256
MOST_OF_QUEUES: Final = 1_024
MOST_TO_ONE_SITE: Final = 64
REGISTRIES: Final = frozenset({"ac", "co", "com", "edu", "go", "gov", "gv", "ne", "net", "or", "org"})
"""Labels under which registries of countries register domains."""

GiveUp = Callable[[], None]


@define(eq=False)
class Shares:
    """At most `total` tasks are under way, and at most `each` for one owner.

    When all places are taken, an owner still gets one if another owner has at least two more: the oldest task
    of the owner who has most is given up. So a few owners whose tasks never end cannot keep others out.
    """

    total: int
    each: int
    _tasks: dict[Hashable, list[GiveUp]] = field(factory=dict, init=False)
    _count: int = field(default=0, init=False)

    def __len__(self) -> int:
        return self._count

    def may_take(self, owner: Hashable) -> bool:
        """True if `take` would find a place."""
        held = len(self._tasks.get(owner, ()))
        return held < self.each and (self._count < self.total or self._most() > held + 1)

    def take(self, owner: Hashable, give_up: GiveUp) -> None:
        """Take a place, where `may_take`. `give_up` ends the task early; the task calls `release` then."""
        if self._count >= self.total:
            self._tasks[max(self._tasks, key=lambda each: len(self._tasks[each]))][0]()
        self._tasks.setdefault(owner, []).append(give_up)
        self._count += 1

    def release(self, owner: Hashable, give_up: GiveUp) -> None:
        """Give a place back: the task has ended."""
        tasks = self._tasks[owner]
        tasks.remove(give_up)
        self._count -= 1
        if not tasks:
            del self._tasks[owner]

    def _most(self) -> int:
        return max(map(len, self._tasks.values()), default=0)


def site_of(domain: str) -> str:
    """Return the part of a domain that one owner has: its last two labels, or three as in `example.co.uk`."""
    labels = domain.split(".")
    of_registry = len(labels) > 2 and len(labels[-1]) == 2 and labels[-2] in REGISTRIES
    return ".".join(labels[-3 if of_registry else -2 :])


@define(eq=False)
class Attempts:
    """The attempts to connect to other servers that are under way.

    An attempt costs sockets and queries, and lasts ATTEMPT_SECONDS where nobody answers. Accounts share one
    set of places, each with a bound. Queues, rooms and components have another set, so that no account keeps
    a queue from its patrons; there one site, which is all domains with the same last two labels, has a bound.
    """

    _accounts: Shares = field(factory=lambda: Shares(MOST_OF_ACCOUNTS, MOST_OF_ONE_ACCOUNT))
    _queues: Shares = field(factory=lambda: Shares(MOST_OF_QUEUES, MOST_TO_ONE_SITE))

    def __len__(self) -> int:
        return len(self._accounts) + len(self._queues)

    def may_begin(self, account: JID | None, remote: str) -> bool:
        """True if there may be one more for `account`, or for a queue if that is None, to `remote`."""
        shares, owner = self._shares(account, remote)
        return shares.may_take(owner)

    def begin(self, account: JID | None, remote: str, give_up: Callable[[], None]) -> Callable[[], None]:
        """Count one more, which `give_up` ends early; return what is to be called at its end."""
        shares, owner = self._shares(account, remote)
        shares.take(owner, give_up)
        return lambda: shares.release(owner, give_up)

    def _shares(self, account: JID | None, remote: str) -> tuple[Shares, Hashable]:
        if account is not None:
            return self._accounts, account
        return self._queues, site_of(remote)
