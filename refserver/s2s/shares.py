"""Bounds on work that strangers can cause: how much is under way, and how much of it one of them may cause.

Used for attempts to connect to other servers (pool.py) and for dialback keys to verify (dialback.py).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from attrs import define, field

__all__ = ["Shares"]

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
