"""The rosters of the accounts here, for the other features, and the pushes of what changes in them.

Every change goes through `change` or `discard`: memory at once, then the store, and after
the commit the push (RFC 6121 2.1.6) and what else the change causes. What clients ask for is
queries.py's business, the rules of subscriptions are presence/subscriptions.py's.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from functools import partial
from typing import Any, Concatenate, ParamSpec

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from refserver.core.core import Core
from refserver.core.feature import Feature, on
from refserver.core.hooks import AccountRemoved, HostRemoved, SessionBinding, SessionBound, SessionEnded
from refserver.errors import Condition, StanzaError
from refserver.features.roster.cache import Cache
from refserver.features.roster.items import format_item, format_push, format_removal
from refserver.features.roster.presence_stanzas import farewell
from refserver.features.roster.roster import Roster, with_state
from refserver.features.roster.states import SubscriptionState, state_of
from refserver.jid import JID
from refserver.stanza import Stanza
from refserver.storage import NoSuchAccount, StorageError, rosters
from refserver.storage.rosters import RosterItem

log = Logger()

P = ParamSpec("P")
Action = Callable[[], object]


def _nothing() -> None:
    pass


class Rosters(Feature):
    """Keeps the rosters of accounts here, and tells clients what changes."""

    name = "roster"
    after = ("presence", "registration")  # which need the roster of a session that has ended

    def __init__(self, core: Core) -> None:
        super().__init__(core)
        self._cache = Cache(core.database, core.sessions)

    # -- for other features -------------------------------------------------------

    def roster_of(self, account: JID) -> Roster | Deferred[Roster]:
        """The roster of a bare JID here, to be read only. The Deferred fails with `NoSuchAccount`."""
        roster = self._cache.ready(account)
        if roster is not None:
            return roster
        found: Deferred[Roster] = Deferred()
        self._cache.use(account, partial(_fire, found), partial(_fail, found))
        return found

    def in_memory(self, account: JID) -> Roster | None:
        """The roster, if it is at hand: always so for an account with a session whose bind has ended."""
        return self._cache.get(account)

    def subscribed_to_presence(self, account: JID, watcher: JID) -> bool | Deferred[bool]:
        """True if `watcher` (bare) may see the presence of `account`; False if there is no such account."""
        if account == watcher:
            return True
        roster = self.roster_of(account)
        if isinstance(roster, Roster):
            return roster.shows_presence_to(watcher)
        answer = roster.addCallback(Roster.shows_presence_to, watcher)
        return answer.addErrback(lambda failure: bool(failure.trap(NoSuchAccount)) and False)

    def set_item(self, account: JID, item: RosterItem) -> Deferred[None]:
        """Put an item into a roster on the server's own account: no subscription stanza is sent.

        With subscription "both" a local service has both directions without any handshake:
        it gets the account's presence and probes at log-in. Fires after the commit and the
        push; fails with `NoSuchAccount` or `StorageError`.
        """
        state_of(item.subscription, item.ask, item.pending_in is not None)
        return self._by_server(account, self._set_by_server, item)

    def remove_item(self, account: JID, contact: JID) -> Deferred[None]:
        """Take an item out of a roster, if it is there, as `set_item` puts it in."""
        return self._by_server(account, self._remove_by_server, contact)

    def when_loaded(
        self,
        stanza: Stanza,
        account: JID,
        use: Callable[Concatenate[Roster | None, P], object],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        """Call `use(roster, …)`, at once if the roster is in memory; with None if there is no account.

        In the order of the calls, per account. If it comes later, what `use` raises becomes
        the answer to `stanza`, on whose account all this is done.
        """
        roster = self._cache.ready(account)
        if roster is not None:
            use(roster, *args, **kwargs)
            return
        self._cache.use(
            account, lambda found: self._later(stanza, found, use, args, kwargs), partial(self._lost, stanza)
        )

    def change(
        self,
        roster: Roster,
        item: RosterItem,
        before: Action = _nothing,
        then: Action = _nothing,
        failed: Action = _nothing,
        always_push: bool = False,
    ) -> None:
        """Put an item into a roster: in memory at once, then durably.

        After the commit: `before`, the push (if the client sees a difference), `then`; or `failed`.
        """
        old = roster.items.get(item.jid)
        seen = item.listed and (always_push or not _looks_like(item, old))
        roster.put(item)
        committed = partial(self._committed, roster, before, item if item.listed else item.jid, seen, then)
        self._cache.write(roster.account, rosters.save, item, then=committed, failed=failed)

    def discard(
        self,
        roster: Roster,
        contact: JID,
        before: Action = _nothing,
        then: Action = _nothing,
        failed: Action = _nothing,
    ) -> None:
        """Take an item that is there out of a roster, like `change`."""
        seen = roster.items[contact].listed
        roster.remove(contact)
        committed = partial(self._committed, roster, before, contact, seen, then)
        self._cache.write(roster.account, rosters.delete, contact, then=committed, failed=failed)

    @property
    def busy(self) -> Container[JID]:
        """The accounts with changes under way."""
        return self._cache.busy

    def after_commits(self, account: JID, action: Action) -> None:
        """Do something after the pushes and stanzas of all changes under way; at once if there are none."""
        self._cache.after_commits(account, action)

    # -- sessions and accounts -------------------------------------------------------

    @on(SessionBinding)
    def binding(self, event: SessionBinding) -> Deferred[None] | None:
        """Have the roster in memory before the client can ask for it."""
        if self._cache.ready(event.account) is not None:
            return None
        loaded: Deferred[None] = Deferred()
        # A roster that cannot be read is refused when it is asked for; chatting goes without.
        self._cache.use(event.account, lambda _: loaded.callback(None), partial(loaded.callback, None))
        return loaded

    @on(SessionBound)
    def bound(self, event: SessionBound) -> None:
        """Keep the roster while there is a session."""
        self._cache.pin(event.session.account)

    @on(SessionEnded)
    def ended(self, event: SessionEnded) -> None:
        """The roster may go when the last session has gone."""
        if not self.core.sessions.of(event.session.account):
            self._cache.unpin(event.session.account)

    @on(HostRemoved)
    def host_removed(self, event: HostRemoved) -> None:
        """Forget the rosters of a library that is served no more."""
        self._cache.drop_all(event.host.domain)

    @on(AccountRemoved)
    def account_removed(self, event: AccountRemoved) -> None:
        """Forget the roster and tell all contacts that the subscriptions have ended (XEP-0077 3.2, RFC 6121
        2.5.2). Rosters in memory forget what they approved; the store has forgotten it already.
        """
        account = event.account
        self._cache.drop(account)
        for item in event.contacts:
            state = state_of(item.subscription, item.ask, item.pending_in is not None)
            for stanza in farewell(self.core.sessions, account, item.jid, state):
                self.core.router.route(stanza)
        for owner in event.known_by:
            if self._cache.holds(owner):
                self._cache.use(owner, partial(self._forget_contact, account), _nothing)

    def _forget_contact(self, contact: JID, roster: Roster | None) -> None:
        item = None if roster is None else roster.items.get(contact)
        if roster is None or item is None:
            return
        forgotten = evolve(with_state(item, SubscriptionState.NONE), approved=False)
        if forgotten == item:
            return
        if item.listed:
            self.change(roster, forgotten)
        else:
            self.discard(roster, contact)

    # -- changing ---------------------------------------------------------------------

    def _committed(
        self, roster: Roster, before: Action, pushed: RosterItem | JID, seen: bool, then: Action, version: int
    ) -> None:
        """`seen`: the client sees a difference. Behind a commit that failed it does in any case: that one's
        change was not pushed, and is in this one."""
        roster.version = version
        before()
        if seen or self._cache.get(roster.account) is not roster:
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

    def _by_server(self, account: JID, use: Callable[..., None], *args: Any) -> Deferred[None]:
        done: Deferred[None] = Deferred()

        def found(roster: Roster | None) -> None:
            if roster is None:
                done.errback(NoSuchAccount("there is no such account"))
            else:
                use(roster, done, *args)

        self._cache.use(account, found, partial(_fail, done))
        return done

    def _set_by_server(self, roster: Roster, done: Deferred[None], item: RosterItem) -> None:
        self.change(
            roster, item, then=partial(done.callback, None), failed=partial(_fail, done), always_push=True
        )

    def _remove_by_server(self, roster: Roster, done: Deferred[None], contact: JID) -> None:
        if contact in roster.items:
            self.discard(roster, contact, then=partial(done.callback, None), failed=partial(_fail, done))
        else:
            self._cache.after_commits(roster.account, partial(done.callback, None))

    def _later(
        self,
        stanza: Stanza,
        roster: Roster | None,
        use: Callable[..., object],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        try:
            use(roster, *args, **kwargs)
        except StanzaError as error:
            self.core.router.bounce(stanza, error)
        except Exception:
            log.failure("a {kind} could not be processed", kind=stanza.kind)
            self._lost(stanza)

    def _lost(self, stanza: Stanza) -> None:
        self.core.router.bounce(stanza, StanzaError(Condition.INTERNAL_SERVER_ERROR))


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
