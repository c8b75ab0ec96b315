"""The end of an account: one transaction, whoever ends it.

Clients (XEP-0077), `refserverctl account remove` and `refserverctl library remove` call `remove_account`.
After the commit its events are published, and the features act on `AccountRemoved`: sessions end, contacts
are told, caches forget.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sqlalchemy import Connection

from refserver.core.hooks import AccountRemoved
from refserver.jid import JID
from refserver.storage import accounts, rosters

Step = Callable[[Connection, JID, float], Iterable[object]]
"""Removes what one part of the server stores of an account (a bare JID) at a time (Unix seconds).

Returns events to publish after the commit.
"""
RemoveAccount = Callable[[Connection, JID, float], tuple[object, ...]]


def remove_account(
    connection: Connection, account: JID, now: float, steps: Iterable[Step] = ()
) -> tuple[object, ...]:
    """Remove `account` with all that is stored of it here, and what contacts here store of its subscriptions.

    Returns the events to publish after the commit, `AccountRemoved` first. Raises `NoSuchAccount`.
    """
    contacts = tuple(rosters.load(connection, account).items.values())
    events = [event for step in steps for event in step(connection, account, now)]
    known_by = rosters.forget_contact(connection, account)
    accounts.remove(connection, account)
    return (AccountRemoved(account, contacts, tuple(known_by)), *events)
