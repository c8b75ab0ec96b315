"""Rosters (RFC 6121 2) with the subscription state, and versions of them (2.6, XEP-0237).

The version is a number of the account that grows with each visible change. Items carry the
version at which they changed, removals stay behind as marks; both answer for the last
`KEPT_VERSIONS` versions, for older ones the whole roster must be sent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve, frozen
from sqlalchemy import BindParameter, Connection, bindparam, select, update
from sqlalchemy import delete as sql_delete

from refserver.jid import JID
from refserver.storage import schema as tables
from refserver.storage.errors import NoSuchAccount
from refserver.storage.statement import Prepared, upsert

KEPT_VERSIONS = 500

_accounts, _items, _removals = tables.accounts, tables.roster_items, tables.roster_removals
_BY_JID = _accounts.c.jid == bindparam("by_jid")
_ACCOUNT: BindParameter[int] = bindparam("account")
_ITEM = [column for column in _items.c if column.name not in ("account", "version")]

_version = Prepared(select(_accounts.c.id, _accounts.c.roster_version).where(_BY_JID))
_next_version = Prepared(
    update(_accounts)
    .where(_accounts.c.id == bindparam("account"))
    .values(roster_version=_accounts.c.roster_version + 1)
    .returning(_accounts.c.roster_version)
)
_select = Prepared(select(*_ITEM).where(_items.c.account == _ACCOUNT))
_select_since = Prepared(
    select(*_ITEM)
    .where(_items.c.account == _ACCOUNT, _items.c.listed, _items.c.version > bindparam("since"))
    .order_by(_items.c.version)
)
_listed = Prepared(
    select(_items.c.listed).where(_items.c.account == _ACCOUNT, _items.c.contact == bindparam("by_contact"))
)
_select_owners = Prepared(
    select(_accounts.c.jid, *_ITEM)
    .join_from(_items, _accounts)
    .where(_items.c.contact == bindparam("by_contact"))
)
_upsert = upsert(_items)
_delete = Prepared(
    sql_delete(_items).where(_items.c.account == _ACCOUNT, _items.c.contact == bindparam("by_contact"))
)
_upsert_removal = upsert(_removals)
_removals_since = Prepared(
    select(_removals.c.contact)
    .where(_removals.c.account == _ACCOUNT, _removals.c.version > bindparam("since"))
    .order_by(_removals.c.version)
)
_forget_removal = Prepared(
    sql_delete(_removals).where(
        _removals.c.account == _ACCOUNT, _removals.c.contact == bindparam("by_contact")
    )
)
_forget_old = Prepared(
    sql_delete(_removals).where(_removals.c.account == _ACCOUNT, _removals.c.version <= bindparam("until"))
)


@frozen
class RosterItem:
    """A contact as the account's server keeps it (RFC 6121 2.1.2 and appendix A).

    `subscription` is "none", "to", "from" or "both"; `ask`: our request is not answered yet;
    `approved`: a request of the contact is approved beforehand (3.4); `groups` is sorted;
    `pending_in`: the contact's request, waiting for an answer. An item that is not `listed`
    only remembers a request or an approval: it was never put into the roster, the client does
    not see it, and saving it does not change the version.
    """

    jid: JID
    name: str = ""
    subscription: str = "none"
    ask: bool = False
    approved: bool = False
    groups: tuple[str, ...] = ()
    pending_in: bytes | None = None
    listed: bool = True


@frozen
class Removed:
    """A contact that is no longer in the roster."""

    jid: JID


@frozen
class Roster:
    """All items of an account, listed or not, and the version."""

    version: int
    items: Mapping[JID, RosterItem]


def load(connection: Connection, account: JID) -> Roster:
    """The roster of `account`; an empty one of version 0 where there is no such account."""
    found = _version.row(connection, by_jid=account.text)
    if found is None:
        return Roster(0, {})
    items = (_item(row) for row in _select.rows(connection, account=found[0]))
    return Roster(found[1], {item.jid: item for item in items})


def save(connection: Connection, account: JID, item: RosterItem) -> int:
    """Put `item` in the place of the one with its JID; the version then. Raises `NoSuchAccount`."""
    number, version = _account(connection, account)
    contact = item.jid.text
    if item.listed:
        version = _next_version.value(connection, account=number)
        _forget_removal.run(connection, account=number, by_contact=contact)
    elif _listed.value(connection, account=number, by_contact=contact):
        version = _mark_removed(connection, number, contact)
    _upsert.run(
        connection,
        account=number,
        contact=contact,
        name=item.name,
        subscription=item.subscription,
        ask=item.ask,
        approved=item.approved,
        groups=json.dumps(sorted(item.groups), ensure_ascii=False),
        pending_in=item.pending_in,
        listed=item.listed,
        version=version,
    )
    return version


def delete(connection: Connection, account: JID, contact: JID) -> int:
    """Remove the item of `contact`, if there is one; the version then. Raises `NoSuchAccount`."""
    number, version = _account(connection, account)
    listed = _listed.value(connection, account=number, by_contact=contact.text)
    _delete.run(connection, account=number, by_contact=contact.text)
    return _mark_removed(connection, number, contact.text) if listed else version


def forget_contact(connection: Connection, contact: JID) -> Sequence[JID]:
    """Remove subscriptions, requests and approvals of `contact` from all rosters; the accounts that had any.

    Items stay where clients see them.
    """
    changed = []
    for account, *columns in _select_owners.rows(connection, by_contact=contact.text):
        old = _item(columns)
        new = evolve(old, subscription="none", ask=False, approved=False, pending_in=None)
        if new != old:
            owner = JID.parse(account)
            changed.append(owner)
            if new.listed:
                save(connection, owner, new)
            else:
                delete(connection, owner, contact)
    return changed


def changes_since(
    connection: Connection, account: JID, version: int
) -> Sequence[RosterItem | Removed] | None:
    """Return the changes since `version`, in any order; None: send the whole roster."""
    number, current = _account(connection, account)
    if not current - KEPT_VERSIONS <= version <= current:
        return None
    removed = _removals_since.rows(connection, account=number, since=version)
    changed = _select_since.rows(connection, account=number, since=version)
    return [*(Removed(JID.parse(row[0])) for row in removed), *(_item(row) for row in changed)]


def _account(connection: Connection, account: JID) -> tuple[int, int]:
    found = _version.row(connection, by_jid=account.text)
    if found is None:
        raise NoSuchAccount("there is no such account")
    return found[0], found[1]


def _mark_removed(connection: Connection, account: int, contact: str) -> int:
    version: int = _next_version.value(connection, account=account)
    _upsert_removal.run(connection, account=account, contact=contact, version=version)
    _forget_old.run(connection, account=account, until=version - KEPT_VERSIONS)
    return version


def _item(row: Sequence[Any]) -> RosterItem:
    contact, name, subscription, ask, approved, groups, pending_in, listed = row
    in_groups = tuple(json.loads(groups))
    return RosterItem(
        JID.parse(contact), name, subscription, bool(ask), bool(approved), in_groups, pending_in, bool(listed)
    )
