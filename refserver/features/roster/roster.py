"""A roster in memory: the items of one account, and the questions presence asks about them.

Does not load, store or push anything (cache.py, rosters.py), and takes any change it is told.
"""

from __future__ import annotations

from typing import Final

from attrs import define, evolve, field

from refserver.features.roster.states import SubscriptionState, state_of
from refserver.jid import JID
from refserver.storage.rosters import RosterItem

MOST_ITEMS: Final = 5000
MOST_WEIGHT: Final = 2 * 1024 * 1024
_SHOWN: Final = ("from", "both")
_SEEN: Final = ("to", "both")
_ITEM_WEIGHT: Final = 256  # bytes of an item apart from its texts, roughly


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
