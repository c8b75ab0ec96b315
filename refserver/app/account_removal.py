"""The steps that remove what each part of the server stores of an account."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Final

from sqlalchemy import Connection

from refserver.core import account_removal
from refserver.core.account_removal import RemoveAccount, Step
from refserver.core.hooks import QueuesChanged
from refserver.jid import JID
from refserver.reference import offices
from refserver.storage import access_rules, queues, rooms

__all__ = ["STEPS", "remove_account"]


def _end_offices(connection: Connection, account: JID, now: float) -> Iterable[object]:
    """End a librarian's work at every queue; her questions wait again."""
    domains = set()
    for queue, _ in queues.desks_of(connection, account):
        offices.dismiss(connection, queue.id, account)
        domains.add(queue.jid.domainpart)
    return [QueuesChanged(domain) for domain in sorted(domains)]


def _end_queue_subscriptions(connection: Connection, account: JID, now: float) -> Iterable[object]:
    """Remove the account from the subscribers of every queue."""
    access_rules.unsubscribe(connection, access_rules.EVERYWHERE, [account])
    return ()


def _leave_rooms(connection: Connection, account: JID, now: float) -> Iterable[object]:
    """Remove the account's affiliations, and the rooms that nobody else owns."""
    rooms.remove_account(connection, account)
    return ()


STEPS: Final[tuple[Step, ...]] = (_end_offices, _end_queue_subscriptions, _leave_rooms)

remove_account: Final[RemoveAccount] = partial(account_removal.remove_account, steps=STEPS)
"""Remove an account. See `core.account_removal.remove_account`."""
