"""Roster items as XML (RFC 6121 2.1), and the presence stanzas that follow or end a subscription.

What is wrong with an item by itself is refused here; what is wrong with it in its roster, by queries.py.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

from refserver import ns
from refserver.core.sessions import Sessions
from refserver.errors import Condition, StanzaError
from refserver.features.roster.states import OUTBOUND, SubscriptionState
from refserver.jid import JID, InvalidJID
from refserver.stanza import Stanza, new_id
from refserver.storage.rosters import RosterItem
from refserver.xml.element import Element, clark, element

TEXT_BYTES: Final = 1023
"""The most that a name or a group's name may take in UTF-8."""
GROUPS: Final = 1000
"""The most groups of one item."""

_ITEM: Final = clark(ns.ROSTER, "item")
_GROUP: Final = clark(ns.ROSTER, "group")


@frozen
class ItemSet:
    """The parts of an item that a client may set (2.1.5)."""

    jid: JID
    name: str
    groups: tuple[str, ...]
    remove: bool


def read_set(query: Element) -> ItemSet:
    """Read the query of a roster set. Raises `StanzaError` (2.3.3)."""
    items = query.findall(_ITEM)
    if len(items) != 1:
        raise StanzaError(Condition.BAD_REQUEST, "a roster set has exactly one item")
    (item,) = items
    jid = _jid(item.get("jid"))
    if item.get("subscription") == "remove":  # 2.1.2.5: all other values are ignored
        return ItemSet(jid, "", (), remove=True)
    name = item.get("name", "")
    if len(name.encode()) > TEXT_BYTES:
        raise StanzaError(Condition.NOT_ACCEPTABLE, "the name is too long")
    return ItemSet(jid, name, _groups(item), remove=False)


def _jid(text: str | None) -> JID:
    if text is None:
        raise StanzaError(Condition.BAD_REQUEST, "an item needs a jid")
    try:
        jid = JID.parse(text)
    except InvalidJID as error:
        raise StanzaError(Condition.JID_MALFORMED) from error
    if not jid.is_bare:
        raise StanzaError(Condition.BAD_REQUEST, "an item's jid has no resource")
    return jid


def _groups(item: Element) -> tuple[str, ...]:
    elements = item.findall(_GROUP)
    if len(elements) > GROUPS:
        raise StanzaError(Condition.RESOURCE_CONSTRAINT, "the item has too many groups")
    groups = [group.text or "" for group in elements]
    if "" in groups:
        raise StanzaError(Condition.NOT_ACCEPTABLE, "a group's name is empty")
    if any(len(group.encode()) > TEXT_BYTES for group in groups):
        raise StanzaError(Condition.NOT_ACCEPTABLE, "a group's name is too long")
    if len(set(groups)) != len(groups):
        raise StanzaError(Condition.BAD_REQUEST, "a group is named twice")
    return tuple(sorted(groups))


def format_item(item: RosterItem) -> Element:
    """The item as a client sees it."""
    attributes = {"jid": item.jid.text, "subscription": item.subscription}
    if item.name:
        attributes["name"] = item.name
    if item.ask:
        attributes["ask"] = "subscribe"
    if item.approved:
        attributes["approved"] = "true"
    made = Element(_ITEM, attributes)
    for name in item.groups:
        group = Element(_GROUP)
        group.text = name
        made.append(group)
    return made


def format_removal(contact: JID) -> Element:
    """The item of a push that says that a contact is no longer in the roster."""
    return Element(_ITEM, {"jid": contact.text, "subscription": "remove"})


def format_query(version: str, *items: Element) -> Element:
    """The query of a roster result or push."""
    return element(ns.ROSTER, "query", {"ver": version}, *items)


def format_push(account: JID, item: Element, version: str) -> Stanza:
    """A roster push (2.1.6), still to be addressed to a session."""
    return Stanza.iq("set", None, account, payload=format_query(version, item))


def presences(sessions: Sessions, account: JID, contact: JID) -> list[Stanza]:
    """The current presence of each available resource of `account`, for `contact`."""
    return [
        session.presence.copy_to(contact)
        for session in sessions.available(account)
        if session.presence is not None
    ]


def absences(sessions: Sessions, account: JID, contact: JID) -> list[Stanza]:
    """Unavailable presence from each available resource of `account`, for `contact`."""
    return [Stanza.presence(contact, session.jid, "unavailable") for session in sessions.available(account)]


def farewell(sessions: Sessions, account: JID, contact: JID, state: SubscriptionState) -> list[Stanza]:
    """The stanzas that end all subscriptions with a contact, in both directions (RFC 6121 2.5.2).

    Requests that are not answered yet are withdrawn and denied.
    """
    told = []
    if OUTBOUND[state, "unsubscribe"].state is not state:
        told.append(Stanza.presence(contact, account, "unsubscribe", new_id()))
    if state.shows:
        told += absences(sessions, account, contact)
    if OUTBOUND[state, "unsubscribed"].state is not state:
        told.append(Stanza.presence(contact, account, "unsubscribed", new_id()))
    return told
