"""Subscription requests, approvals, cancellations, pre-approvals (RFC 6121 3).

What each does to the state is in roster/states.py; this module changes rosters by it, and
sends what follows. A stanza to an account here takes the same way through the router as
one to another server: the sender's side goes out of here, the contact's side comes in.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from attrs import evolve
from twisted.logger import Logger

from refserver.core.core import Core
from refserver.core.limits import Quota
from refserver.core.sessions import Session
from refserver.errors import Condition, StanzaError
from refserver.features.presence.delivery import Delivery
from refserver.features.roster import Roster, RosterItem, Rosters
from refserver.features.roster.rosters import with_state
from refserver.features.roster.stanzas import absences, presences
from refserver.features.roster.states import INBOUND, OUTBOUND, Inbound
from refserver.jid import JID
from refserver.stanza import Stanza

MOST_REQUESTS: Final = 100
"""The most requests that wait for one account's answers (3.1.3's warning)."""
REQUEST_BYTES: Final = 4096
"""The most that is kept of a request; of a longer one only who asks."""


REQUESTS_PER_HOUR: Final = 1000
"""The most requests an account may send: enough for a move with all contacts."""

log = Logger()


class Subscriptions:
    """Processes the stanzas of the four subscription types."""

    def __init__(self, core: Core, rosters: Rosters, delivery: Delivery) -> None:
        self._core = core
        self._rosters = rosters
        self._delivery = delivery
        self._requests = Quota(REQUESTS_PER_HOUR, 3600, core.clock.seconds)

    # -- outbound ------------------------------------------------------------------

    def send(self, stanza: Stanza, session: Session) -> None:
        """Take what a client sends. Raises `StanzaError`."""
        to, account = stanza.to, session.account
        if to is None:
            raise StanzaError(Condition.BAD_REQUEST, "whose presence?")
        if to.bare == account:
            raise StanzaError(Condition.NOT_ALLOWED, "everybody sees their own presence")
        if stanza.type == "subscribe" and not self._requests.spend(account):
            log.warn("an account of {domain} sends too many subscription requests", domain=account.domainpart)
            raise StanzaError(Condition.POLICY_VIOLATION, "too many subscription requests", type="wait")
        self._rosters.when_loaded(stanza, account, self._send, stanza, to.bare)

    def _send(self, roster: Roster | None, stanza: Stanza, contact: JID) -> None:
        if roster is None:
            raise StanzaError(Condition.ITEM_NOT_FOUND)
        account, old, state = roster.account, roster.items.get(contact), roster.state(contact)
        step = OUTBOUND[state, stanza.type]
        item = with_state(old or RosterItem(contact, listed=False), step.state)
        if stanza.type == "unsubscribed":
            item = evolve(item, approved=False)  # 3.2.2
        elif step.preapproves:
            item = evolve(item, approved=True, listed=True)
        elif stanza.type != "unsubscribe":
            item = evolve(item, listed=True)
        if old is None and item.listed and not roster.has_room_for(item):
            raise StanzaError(Condition.RESOURCE_CONSTRAINT, "the roster is full")
        told: list[Stanza] = []
        if step.routed:
            if stanza.type == "unsubscribed" and state.shows:
                told += absences(self._core.sessions, account, contact)
            told.append(_between(stanza, account, contact))
        shown = stanza.type == "subscribed" and step.routed
        self._change(roster, item, stanza, _nothing, partial(self._sent, told, account, contact, shown))

    def _sent(self, told: list[Stanza], account: JID, contact: JID, shown: bool) -> None:
        self._delivery.route(told)
        if shown:  # 3.1.5
            self._delivery.route(presences(self._core.sessions, account, contact))

    # -- inbound -------------------------------------------------------------------

    def receive(self, stanza: Stanza, account: JID) -> None:
        """Take what has come for an account here. Raises `StanzaError`."""
        assert stanza.from_ is not None
        contact = stanza.from_.bare
        if contact != account:
            self._rosters.when_loaded(stanza, account, self._receive, stanza, account, contact)

    def _receive(self, roster: Roster | None, stanza: Stanza, account: JID, contact: JID) -> None:
        type, id = stanza.type, stanza.id
        if roster is None:
            if type == "subscribe" and not account.localpart:
                self._core.router.route(Stanza.presence(contact, account, "unsubscribed", id))
            return  # RFC 6121 8.5.1: who has no account is not told from who has not answered
        old, state = roster.items.get(contact), roster.state(contact)
        step = INBOUND[state, type]
        if type == "subscribe" and old is not None and old.approved and step.state.pending_in:
            step = Inbound(OUTBOUND[step.state, "subscribed"].state, reply="subscribed")  # 3.4.2
        stanza = _between(stanza, contact, account)
        item = with_state(old or RosterItem(contact, listed=False), step.state)
        if step.state.pending_in and not state.pending_in:
            item = self._asked(roster, item, stanza)
        told: list[Stanza] = []
        if step.reply == "unsubscribed" and state.shows:
            told += absences(self._core.sessions, account, contact)  # 3.3.3
        if step.reply:
            told.append(Stanza.presence(contact, account, step.reply, id))
        before = partial(self._deliver, stanza, account) if step.delivered else _nothing
        after = partial(self._sent, told, account, contact, step.reply == "subscribed")
        self._change(roster, item, stanza, before, after)

    def _asked(self, roster: Roster, item: RosterItem, stanza: Stanza) -> RosterItem:
        """The item with the request in it, to be delivered until it is answered (3.1.3)."""
        request = stanza.wire()
        if len(request) > REQUEST_BYTES:
            assert stanza.from_ is not None
            request = Stanza.presence(stanza.to, stanza.from_, "subscribe", stanza.id[:64]).wire()
        item = evolve(item, pending_in=request)
        if len(roster.requests()) >= MOST_REQUESTS or not roster.has_room_for(item):
            raise StanzaError(Condition.RESOURCE_CONSTRAINT)
        return item

    def _deliver(self, stanza: Stanza, account: JID) -> None:
        """3.1: requests go to available resources, all else to those interested in the roster."""
        if stanza.type == "subscribe":
            self._delivery.to_available(stanza, account)
        else:
            self._delivery.to_interested(stanza, account)

    # -- both ----------------------------------------------------------------------

    def _change(
        self,
        roster: Roster,
        item: RosterItem,
        stanza: Stanza,
        before: Callable[[], object],
        then: Callable[[], object],
    ) -> None:
        """Make `item` what the roster holds of a contact, and do what goes before and after the push."""
        old = roster.items.get(item.jid)
        failed = partial(self._core.router.bounce, stanza, StanzaError(Condition.INTERNAL_SERVER_ERROR))
        if not item.listed and item.pending_in is None:  # nothing left to remember
            if old is not None:
                self._rosters.change(roster, item.jid, None, before, then, failed)
                return
        elif item != old:
            self._rosters.change(roster, item.jid, item, before, then, failed)
            return
        self._rosters.after_commits(roster.account, before)
        self._rosters.after_commits(roster.account, then)


def _between(stanza: Stanza, sender: JID, recipient: JID) -> Stanza:
    """The stanza between two bare JIDs (RFC 6121 3: full ones would leak presence)."""
    if stanza.from_ == sender and stanza.to == recipient:
        return stanza
    return Stanza(stanza.kind, stanza.element, recipient, sender)


def _nothing() -> None:
    pass
