"""The rosters in memory, and the effects of each account's writes in their order.

Rosters of accounts with sessions stay; of the others the most recently used are kept. A
roster in memory runs ahead of the store: it changes at once, so that the next stanza of the
same stream sees the change, while what the change causes (pushes, answers, stanzas to
others) waits for the commit. If a commit fails the roster in memory is
thrown away, and read again after the last write under way.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Container
from functools import partial
from sys import intern
from typing import Any, Final

from attrs import define
from sqlalchemy import Connection
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from refserver.core.sessions import Sessions
from refserver.features.roster.roster import Roster
from refserver.jid import JID
from refserver.storage import Database, accounts, rosters
from refserver.storage.rosters import RosterItem

IDLE_KEPT: Final = 1000  # rosters of accounts without sessions
IDLE_WEIGHT: Final = 256 * 1024  # a heavier one is not kept without sessions

log = Logger()

Use = Callable[[Roster | None], object]
Failed = Callable[[], object]


@define(eq=False)
class _Effect:
    """An effect of an account's writes; `action` is set once its commit is durable."""

    action: Callable[[], object] | None = None


@define(eq=False)
class _Writes:
    effects: deque[_Effect]
    running: bool = False


class Cache:
    """Rosters by account. All that is asked for one account is done in the order of the calls."""

    def __init__(self, database: Database, sessions: Sessions) -> None:
        self._database = database
        self._sessions = sessions
        self._pinned: dict[JID, Roster] = {}
        self._idle: OrderedDict[JID, Roster] = OrderedDict()
        self._loading: dict[JID, deque[tuple[Use, Failed]]] = {}
        self._writes: dict[JID, _Writes] = {}

    # -- reading ----------------------------------------------------------------

    def get(self, account: JID) -> Roster | None:
        """The roster, if it is in memory."""
        roster = self._pinned.get(account)
        if roster is None:
            roster = self._idle.get(account)
            if roster is not None:
                self._idle.move_to_end(account)
        return roster

    def holds(self, account: JID) -> bool:
        """True if the roster is in memory or being read."""
        return account in self._loading or self.get(account) is not None

    def ready(self, account: JID) -> Roster | None:
        """The roster, if it is in memory and nobody waits for it who asked before."""
        return self.get(account) if account not in self._loading else None

    def use(self, account: JID, use: Use, failed: Failed) -> None:
        """Call `use` with the roster, None if there is no such account: at once if it is `ready`.

        `failed` is called instead if it could not be read.
        """
        waiting = self._loading.get(account)
        if waiting is not None:
            waiting.append((use, failed))
            return
        roster = self.get(account)
        if roster is not None:
            use(roster)
            return
        self._loading[account] = deque(((use, failed),))
        self.after_commits(account, partial(self._read, account))

    def _read(self, account: JID) -> None:
        reading = self._database.read(_load, account)
        reading.addCallbacks(self._loaded, self._unreadable, callbackArgs=(account,), errbackArgs=(account,))

    def _loaded(self, roster: Roster | None, account: JID) -> None:
        if roster is not None:
            kept = self._pinned if self._sessions.of(account) else self._idle
            kept[account] = roster
        waiting = self._loading[account]
        while waiting:
            _guarded(partial(waiting.popleft()[0], roster))
            if self.get(account) is not roster and waiting:  # a commit failed: what it has is not true
                self.after_commits(account, partial(self._read, account))
                return
        del self._loading[account]
        self._trim(account)

    def _unreadable(self, failure: Failure, account: JID) -> None:
        log.failure("a roster could not be read", failure=failure)
        for _, failed in self._loading.pop(account):
            _guarded(failed)

    # -- keeping ----------------------------------------------------------------

    def pin(self, account: JID) -> None:
        """The account has a session: its roster stays."""
        roster = self._idle.pop(account, None)
        if roster is not None:
            self._pinned[account] = roster

    def unpin(self, account: JID) -> None:
        """The account has no session any more."""
        roster = self._pinned.pop(account, None)
        if roster is not None:
            self._idle[account] = roster
            self._trim(account)

    def drop(self, account: JID) -> Roster | None:
        """Throw the roster in memory away."""
        return self._pinned.pop(account, None) or self._idle.pop(account, None)

    def drop_all(self, domain: str) -> None:
        """Throw the rosters of a domain's accounts away."""
        for account in [*self._pinned, *self._idle]:
            if account.domainpart == domain:
                self.drop(account)

    def _trim(self, account: JID) -> None:
        """Keep few and light rosters without sessions. One that runs ahead of the store must stay."""
        roster = self._idle.get(account)
        if roster is not None and roster.weight > IDLE_WEIGHT and account not in self._writes:
            del self._idle[account]
        while len(self._idle) > IDLE_KEPT:
            oldest = next(iter(self._idle))
            if oldest in self._writes:
                self._idle.move_to_end(oldest)
                break
            del self._idle[oldest]

    # -- writing ----------------------------------------------------------------

    @property
    def busy(self) -> Container[JID]:
        """The accounts with writes, or what waits for them, under way."""
        return self._writes

    def after_commits(self, account: JID, action: Callable[[], object]) -> None:
        """Do something after all that waits for the account's commits; at once if nothing does."""
        line = self._writes.get(account)
        if line is None:
            action()
        else:
            line.effects.append(_Effect(action))

    def write(
        self,
        account: JID,
        function: Callable[..., int],
        *args: Any,
        then: Callable[[int], None],
        failed: Failed,
    ) -> None:
        """Store something; after the commit `then` gets the roster's version.

        If it could not be committed, the roster in memory is dropped and `failed` called.
        """
        step = _Effect()
        self._writes.setdefault(account, _Writes(deque())).effects.append(step)
        writing: Deferred[Any] = self._database.write(function, account, *args)
        writing.addCallbacks(
            lambda version: partial(then, version), lambda failure: self._failed(failure, account, failed)
        )
        writing.addCallback(self._settled, account, step)

    def _failed(self, failure: Failure, account: JID, failed: Failed) -> Failed:
        log.failure("a roster could not be stored", failure=failure)
        self.drop(account)
        return failed

    def _settled(self, action: Callable[[], object], account: JID, step: _Effect) -> None:
        step.action = action
        line = self._writes[account]
        if line.running:
            return
        line.running = True
        while line.effects and (due := line.effects[0].action) is not None:
            line.effects.popleft()
            _guarded(due)
        line.running = False
        if not line.effects:
            del self._writes[account]
            self._trim(account)


def _load(connection: Connection, account: JID) -> Roster | None:
    """The stored roster, with the words that many items have in common kept once."""
    stored = rosters.load(connection, account)
    if not stored.version and not accounts.exists(connection, account):
        return None
    return Roster(account, stored.version, {item.jid: _compact(item) for item in stored.items.values()})


def _compact(item: RosterItem) -> RosterItem:
    subscription, groups = intern(item.subscription), tuple(map(intern, item.groups))
    return RosterItem(
        item.jid, item.name, subscription, item.ask, item.approved, groups, item.pending_in, item.listed
    )


def _guarded(action: Callable[[], object]) -> None:
    """One that fails must not keep the others waiting for ever."""
    try:
        action()
    except Exception:
        log.failure("what had waited for a roster failed")
