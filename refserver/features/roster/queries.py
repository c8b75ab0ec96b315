"""Roster queries of clients: get, set, and only what has changed (RFC 6121 2, XEP-0237).

A version is the number that the store gives to each change. A client that knows one gets
the changes since then as pushes. All of them but the last are labelled `known.1`, `known.2`, …:
a client that is cut off in between asks again from the version it had.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Final

from attrs import evolve
from twisted.internet.defer import Deferred

from refserver import ns
from refserver.core.feature import Feature, Request, Target, iq
from refserver.core.sessions import Session
from refserver.errors import Condition, StanzaError
from refserver.features.roster.rosters import Roster, Rosters
from refserver.features.roster.stanzas import (
    ItemSet,
    farewell,
    format_item,
    format_push,
    format_query,
    format_removal,
    read_set,
)
from refserver.jid import JID
from refserver.storage import NoSuchAccount, rosters
from refserver.storage.rosters import RosterItem
from refserver.xml.element import Element

_VERSION: Final = re.compile(r"([0-9]{1,18})(?:\.[0-9]+)?").fullmatch


class RosterQueries(Feature):
    """Answers jabber:iq:roster for an account's own sessions. Needs `Rosters`."""

    name = "roster-queries"
    xeps = ("0237",)
    disco = {Target.SERVER: (ns.ROSTER,)}

    @iq("get", ns.ROSTER, "query", to=Target.OWN)
    async def get(self, request: Request) -> Element | None:
        """The roster (2.1.4), or nothing, and what has changed since the client's version as pushes (2.6)."""
        session = request.session
        assert session is not None
        session.interested = True
        await self._committed(request.address)
        roster = await self._roster(request.address)
        known, version = request.payload.get("ver"), roster.version
        if known == str(version):
            return None
        changed = await self._changed(roster, known)
        if known is None or changed is None:
            return format_query(str(version), *map(format_item, roster.listed()))
        self.core.clock.callLater(0, self._catch_up, session, changed, known, version)
        return None

    @iq("set", ns.ROSTER, "query", to=Target.OWN)
    async def set(self, request: Request) -> None:
        """Add, update or remove an item; answered after the commit (2.3-2.5)."""
        wanted = read_set(request.payload)
        if wanted.jid == request.address:
            raise StanzaError(Condition.NOT_ALLOWED, "nobody is in their own roster")
        roster = await self._roster(request.address)
        done: Deferred[None] = Deferred()
        if wanted.remove:
            self._remove(roster, wanted.jid, done)
        else:
            self._update(roster, wanted, done)
        await done

    # -- set -----------------------------------------------------------------------

    def _update(self, roster: Roster, wanted: ItemSet, done: Deferred[None]) -> None:
        old = roster.items.get(wanted.jid) or RosterItem(wanted.jid)
        item = evolve(old, name=wanted.name, groups=wanted.groups, listed=True)
        if not roster.has_room_for(item):
            raise StanzaError(Condition.RESOURCE_CONSTRAINT, "the roster is full")
        then, failed = partial(done.callback, None), partial(_fail, done)
        self._rosters.change(roster, item.jid, item, then=then, failed=failed, always_push=True)

    def _remove(self, roster: Roster, contact: JID, done: Deferred[None]) -> None:
        if roster.find(contact) is None:
            raise StanzaError(Condition.ITEM_NOT_FOUND)
        told = farewell(self.core.sessions, roster.account, contact, roster.state(contact))

        def removed() -> None:
            for stanza in told:
                self.core.router.route(stanza)
            done.callback(None)

        self._rosters.change(roster, contact, None, then=removed, failed=partial(_fail, done))

    # -- get -----------------------------------------------------------------------

    async def _changed(self, roster: Roster, known: str | None) -> Sequence[JID] | None:
        """The changes since the version that a client knows; None: send the whole roster."""
        match = _VERSION(known or "")
        if match is None:
            return None
        since = int(match[1])
        changes = await self.core.database.read(rosters.changes_since, roster.account, since)
        if changes is None or len(changes) > len(roster.items):
            return None
        return [change.jid for change in changes]

    def _catch_up(self, session: Session, changed: Sequence[JID], known: str, version: int) -> None:
        """Push what had changed between the versions, as it is now (2.6.3: interim roster pushes)."""
        roster = self._rosters.in_memory(session.account)
        if roster is None or self.core.sessions.get(session.jid) is not session:
            return
        for number, contact in enumerate(changed, 1):
            item = roster.find(contact)
            pushed = format_removal(contact) if item is None else format_item(item)
            label = str(version) if number == len(changed) else f"{known.partition('.')[0]}.{number}"
            session.deliver(format_push(session.account, pushed, label).copy_to(session.jid))

    async def _committed(self, account: JID) -> None:
        """Wait for the changes under way: the version that is told must be durable."""
        waiting: Deferred[None] = Deferred()
        self._rosters.after_commits(account, partial(waiting.callback, None))
        await waiting

    async def _roster(self, account: JID) -> Roster:
        try:
            roster = self._rosters.roster_of(account)
            return roster if isinstance(roster, Roster) else await roster
        except NoSuchAccount as error:
            raise StanzaError(Condition.ITEM_NOT_FOUND) from error  # 2.1.4

    @property
    def _rosters(self) -> Rosters:
        return self.core.feature(Rosters)


def _fail(done: Deferred[None]) -> None:
    done.errback(StanzaError(Condition.INTERNAL_SERVER_ERROR))
