"""The rosters of the accounts here: in memory, for other features, and the pushes of what changes in them.

Rosters of accounts with sessions stay in memory; of the others the most recently used are kept. A roster in
memory runs ahead of the store: it changes at once, so that the next stanza of the same stream sees the
change, while what the change causes (pushes, answers, stanzas to others; RFC 6121 2.1.6) waits for the
commit. If a commit fails the roster in memory is thrown away, and read again after the last write under way.
What clients ask for is in queries.py, the rules of subscriptions are in presence/subscriptions.py.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Container
from functools import partial
from sys import intern
from typing import Any, Final, TypeVarTuple

from attrs import define, evolve, field
from sqlalchemy import Connection
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from refserver.core.core import Core
from refserver.core.feature import Feature, on
from refserver.core.hooks import AccountRemoved, HostRemoved, SessionBinding, SessionBound, SessionEnded
from refserver.errors import Condition, StanzaError
from refserver.features.roster.stanzas import farewell, format_item, format_push, format_removal
from refserver.features.roster.states import SubscriptionState, state_of
from refserver.jid import JID
from refserver.stanza import Stanza
from refserver.storage import NoSuchAccount, StorageError, accounts, rosters
from refserver.storage.rosters import RosterItem

MOST_ITEMS: Final = 5000
MOST_WEIGHT: Final = 2 * 1024 * 1024
IDLE_KEPT: Final = 1000  # rosters of accounts without sessions
IDLE_WEIGHT: Final = 256 * 1024  # a heavier one is not kept without sessions
_SHOWN: Final = ("from", "both")
_SEEN: Final = ("to", "both")
_ITEM_WEIGHT: Final = 256  # bytes of an item apart from its texts, roughly

log = Logger()

Args = TypeVarTuple("Args")
Action = Callable[[], object]
Use = Callable[["Roster | None"], object]


@define(eq=False)
class Roster:
    """The contacts of `account`, by bare JID, listed or not.

    `version` is the last committed one. `weight` is about how many bytes it takes.
    """

    account: JID
    version: int
    items: dict[JID, RosterItem]
    weight: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.weight = sum(_weight(item) for item in self.items.values())

    def put(self, item: RosterItem) -> None:
        """Set the item in the place of the one with its JID."""
        self.remove(item.jid)
        self.items[item.jid] = item
        self.weight += _weight(item)

    def remove(self, contact: JID) -> None:
        """Forget the item of `contact`, if there is one."""
        item = self.items.pop(contact, None)
        if item is not None:
            self.weight -= _weight(item)

    def has_room_for(self, item: RosterItem) -> bool:
        """True if putting the item would keep the roster within its limits."""
        old = self.items.get(item.jid)
        if old is None:
            return len(self.items) < MOST_ITEMS and self.weight + _weight(item) <= MOST_WEIGHT
        return self.weight + _weight(item) - _weight(old) <= MOST_WEIGHT

    def find(self, contact: JID) -> RosterItem | None:
        """The item that the client sees for a contact (requests that only wait are not listed)."""
        item = self.items.get(contact)
        return item if item is not None and item.listed else None

    def state(self, contact: JID) -> SubscriptionState:
        """The subscription state of a contact."""
        item = self.items.get(contact)
        if item is None:
            return SubscriptionState.NONE
        return state_of(item.subscription, item.ask, item.pending_in is not None)

    def shows_presence_to(self, contact: JID) -> bool:
        """True if a bare JID is subscribed to the account's presence."""
        item = self.items.get(contact)
        return item is not None and item.subscription in _SHOWN

    def subscribers(self) -> list[JID]:
        """The contacts that are subscribed to the account's presence."""
        return [item.jid for item in self.items.values() if item.subscription in _SHOWN]

    def subscriptions(self) -> list[JID]:
        """The contacts whose presence the account is subscribed to."""
        return [item.jid for item in self.items.values() if item.subscription in _SEEN]

    def listed(self) -> list[RosterItem]:
        """The items that the client sees."""
        return [item for item in self.items.values() if item.listed]

    def requests(self) -> list[bytes]:
        """The subscription requests that wait for an answer, as bytes for a client stream."""
        return [item.pending_in for item in self.items.values() if item.pending_in is not None]


def with_state(item: RosterItem, state: SubscriptionState) -> RosterItem:
    """`item` in another state; a request that is no longer pending is dropped."""
    return evolve(
        item,
        subscription=state.subscription,
        ask=state.pending_out,
        pending_in=item.pending_in if state.pending_in else None,
    )


def _weight(item: RosterItem) -> int:
    return (
        _ITEM_WEIGHT
        + len(item.jid.text)
        + len(item.name)
        + sum(map(len, item.groups))
        + len(item.pending_in or b"")
    )


@define(eq=False)
class _Effect:
    """An effect of an account's writes; `action` is set once its commit is durable."""

    action: Callable[[], object] | None = None


@define(eq=False)
class _Writes:
    effects: deque[_Effect]
    running: bool = False


def _nothing() -> None:
    pass


class Rosters(Feature):
    """Keeps the rosters of accounts here, and tells clients what changes.

    All that is asked for one account is done in the order of the calls.
    """

    name = "roster"
    after = ("presence", "registration")  # which need the roster of a session that has ended

    def __init__(self, core: Core) -> None:
        super().__init__(core)
        self._pinned: dict[JID, Roster] = {}  # of accounts with sessions
        self._idle: OrderedDict[JID, Roster] = OrderedDict()
        self._loading: dict[JID, deque[tuple[Use, Action]]] = {}
        self._writes: dict[JID, _Writes] = {}

    # -- reading -------------------------------------------------------------------

    def in_memory(self, account: JID) -> Roster | None:
        """The roster, if it is at hand: always so for an account with a session whose bind has ended."""
        roster = self._pinned.get(account)
        if roster is None:
            roster = self._idle.get(account)
            if roster is not None:
                self._idle.move_to_end(account)
        return roster

    def _ready(self, account: JID) -> Roster | None:
        """The roster, if it is in memory and nobody waits for it who asked before."""
        return self.in_memory(account) if account not in self._loading else None

    def roster_of(self, account: JID) -> Roster | Deferred[Roster]:
        """The roster of a bare JID here, to be read only. The Deferred fails with `NoSuchAccount`."""
        roster = self._ready(account)
        if roster is not None:
            return roster
        found: Deferred[Roster] = Deferred()
        self._use(account, partial(_fire, found), partial(_fail, found))
        return found

    def subscribed_to_presence(self, account: JID, watcher: JID) -> bool | Deferred[bool]:
        """True if `watcher` (bare) may see the presence of `account`; False if there is no such account."""
        if account == watcher:
            return True
        roster = self.roster_of(account)
        if isinstance(roster, Roster):
            return roster.shows_presence_to(watcher)
        answer = roster.addCallback(Roster.shows_presence_to, watcher)
        return answer.addErrback(lambda failure: bool(failure.trap(NoSuchAccount)) and False)

    def when_loaded(
        self, stanza: Stanza, account: JID, use: Callable[[Roster | None, *Args], object], *args: *Args
    ) -> None:
        """Call `use(roster, …)`, at once if the roster is in memory; with None if there is no account.

        In the order of the calls, per account. If it comes later, what `use` raises becomes
        the answer to `stanza`, on whose account all this is done.
        """
        roster = self._ready(account)
        if roster is not None:
            use(roster, *args)
        else:
            later = partial(self._later, stanza, lambda found: use(found, *args))
            self._use(account, later, partial(self._lost, stanza))

    def _later(self, stanza: Stanza, use: Use, roster: Roster | None) -> None:
        try:
            use(roster)
        except StanzaError as error:
            self.core.router.bounce(stanza, error)
        except Exception:
            log.failure("a {kind} could not be processed", kind=stanza.kind)
            self._lost(stanza)

    def _lost(self, stanza: Stanza) -> None:
        self.core.router.bounce(stanza, StanzaError(Condition.INTERNAL_SERVER_ERROR))

    def _use(self, account: JID, use: Use, failed: Action) -> None:
        """Call `use` with the roster, None if there is no such account: at once if it is ready.

        `failed` is called instead if it could not be read.
        """
        waiting = self._loading.get(account)
        if waiting is not None:
            waiting.append((use, failed))
            return
        roster = self.in_memory(account)
        if roster is not None:
            use(roster)
            return
        self._loading[account] = deque(((use, failed),))
        self.after_commits(account, partial(self._read, account))

    def _read(self, account: JID) -> None:
        reading = self.core.database.read(_load, account)
        reading.addCallbacks(self._loaded, self._unreadable, callbackArgs=(account,), errbackArgs=(account,))

    def _loaded(self, roster: Roster | None, account: JID) -> None:
        if roster is not None:
            kept = self._pinned if self.core.sessions.of(account) else self._idle
            kept[account] = roster
        waiting = self._loading[account]
        while waiting:
            _guarded(partial(waiting.popleft()[0], roster))
            if self.in_memory(account) is not roster and waiting:  # a commit failed: what it has is not true
                self.after_commits(account, partial(self._read, account))
                return
        del self._loading[account]
        self._trim(account)

    def _unreadable(self, failure: Failure, account: JID) -> None:
        log.failure("a roster could not be read", failure=failure)
        for _, failed in self._loading.pop(account):
            _guarded(failed)

    def _drop(self, account: JID) -> None:
        """Throw the roster in memory away."""
        self._pinned.pop(account, None)
        self._idle.pop(account, None)

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

    # -- sessions and accounts -------------------------------------------------------

    @on(SessionBinding)
    def binding(self, event: SessionBinding) -> Deferred[None] | None:
        """Have the roster in memory before the client can ask for it."""
        if self._ready(event.account) is not None:
            return None
        loaded: Deferred[None] = Deferred()
        # A roster that cannot be read is refused when it is asked for; chatting goes without.
        self._use(event.account, lambda _: loaded.callback(None), partial(loaded.callback, None))
        return loaded

    @on(SessionBound)
    def bound(self, event: SessionBound) -> None:
        """Keep the roster while there is a session."""
        account = event.session.account
        roster = self._idle.pop(account, None)
        if roster is not None:
            self._pinned[account] = roster

    @on(SessionEnded)
    def ended(self, event: SessionEnded) -> None:
        """The roster may go when the last session has gone."""
        account = event.session.account
        if not self.core.sessions.of(account) and account in self._pinned:
            self._idle[account] = self._pinned.pop(account)
            self._trim(account)

    @on(HostRemoved)
    def host_removed(self, event: HostRemoved) -> None:
        """Forget the rosters of a library that is served no more."""
        for account in [*self._pinned, *self._idle]:
            if account.domainpart == event.host.domain:
                self._drop(account)

    @on(AccountRemoved)
    def account_removed(self, event: AccountRemoved) -> None:
        """Forget the roster and tell all contacts that the subscriptions have ended (XEP-0077 3.2, RFC 6121
        2.5.2). Rosters in memory forget what they approved; the store has forgotten it already.
        """
        account = event.account
        self._drop(account)
        for item in event.contacts:
            state = state_of(item.subscription, item.ask, item.pending_in is not None)
            for stanza in farewell(self.core.sessions, account, item.jid, state):
                self.core.router.route(stanza)
        for owner in event.known_by:
            if owner in self._loading or self.in_memory(owner) is not None:
                self._use(owner, partial(self._forget_contact, account), _nothing)

    def _forget_contact(self, contact: JID, roster: Roster | None) -> None:
        item = None if roster is None else roster.items.get(contact)
        if roster is None or item is None:
            return
        forgotten = evolve(with_state(item, SubscriptionState.NONE), approved=False)
        if forgotten != item:
            self.change(roster, contact, forgotten if item.listed else None)

    # -- changing ---------------------------------------------------------------------

    @property
    def busy(self) -> Container[JID]:
        """The accounts with changes, or what waits for them, under way."""
        return self._writes

    def after_commits(self, account: JID, action: Action) -> None:
        """Do something after the pushes and stanzas of all changes under way; at once if there are none."""
        line = self._writes.get(account)
        if line is None:
            action()
        else:
            line.effects.append(_Effect(action))

    def set_item(self, account: JID, item: RosterItem) -> Deferred[None]:
        """Put an item into a roster on the server's own account: no subscription stanza is sent.

        With subscription "both" a local service has both directions without any handshake:
        it gets the account's presence and probes at log-in. Fires after the commit and the
        push; fails with `NoSuchAccount` or `StorageError`.
        """
        state_of(item.subscription, item.ask, item.pending_in is not None)
        return self._by_server(account, item.jid, item)

    def remove_item(self, account: JID, contact: JID) -> Deferred[None]:
        """Take an item out of a roster, if it is there, as `set_item` puts it in."""
        return self._by_server(account, contact, None)

    def _by_server(self, account: JID, contact: JID, item: RosterItem | None) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        then, failed = partial(done.callback, None), partial(_fail, done)

        def found(roster: Roster | None) -> None:
            if roster is None:
                done.errback(NoSuchAccount("there is no such account"))
            elif item is None and contact not in roster.items:
                self.after_commits(account, then)
            else:
                self.change(roster, contact, item, then=then, failed=failed, always_push=True)

        self._use(account, found, failed)
        return done

    def change(
        self,
        roster: Roster,
        contact: JID,
        item: RosterItem | None,
        before: Action = _nothing,
        then: Action = _nothing,
        failed: Action = _nothing,
        always_push: bool = False,
    ) -> None:
        """Put `item` into a roster, or take out what is there of `contact`: in memory at once, then durably.

        After the commit: `before`, the push (if the client sees a difference), `then`; or `failed`, and the
        roster in memory is dropped.
        """
        old = roster.items.get(contact)
        if item is None:
            seen = old is not None and old.listed
            roster.remove(contact)
        else:
            seen = item.listed and (always_push or not _looks_like(item, old))
            roster.put(item)
        account, step = roster.account, _Effect()
        self._writes.setdefault(account, _Writes(deque())).effects.append(step)
        writing: Deferred[Any] = (
            self.core.database.write(rosters.delete, account, contact)
            if item is None
            else self.core.database.write(rosters.save, account, item)
        )
        pushed = item if item is not None and item.listed else contact
        writing.addCallbacks(
            lambda version: partial(self._committed, roster, before, pushed, seen, then, version),
            lambda failure: self._failed(failure, account, failed),
        )
        writing.addCallback(self._settled, account, step)

    def _failed(self, failure: Failure, account: JID, failed: Action) -> Action:
        log.failure("a roster could not be stored", failure=failure)
        self._drop(account)
        return failed

    def _settled(self, action: Action, account: JID, step: _Effect) -> None:
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

    def _committed(
        self, roster: Roster, before: Action, pushed: RosterItem | JID, seen: bool, then: Action, version: int
    ) -> None:
        """`seen`: the client sees a difference. Behind a commit that failed it does in any case: that one's
        change was not pushed, and is in this one."""
        roster.version = version
        before()
        if seen or self.in_memory(roster.account) is not roster:
            self._push(roster.account, pushed, version)
        then()

    def _push(self, account: JID, pushed: RosterItem | JID, version: int) -> None:
        interested = self.core.sessions.interested(account)
        if not interested:
            return
        item = format_removal(pushed) if isinstance(pushed, JID) else format_item(pushed)
        push = format_push(account, item, str(version))
        for session in interested:
            session.deliver(push.copy_to(session.jid))


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


def _looks_like(item: RosterItem, old: RosterItem | None) -> bool:
    """True if the client sees no difference (what is pending in it does not see)."""
    return old is not None and evolve(item, pending_in=None) == evolve(old, pending_in=None)


def _fire(found: Deferred[Roster], roster: Roster | None) -> None:
    if roster is None:
        found.errback(NoSuchAccount("there is no such account"))
    else:
        found.callback(roster)


def _fail(done: Deferred[Any]) -> None:
    done.errback(StorageError("the roster could not be read or stored"))
