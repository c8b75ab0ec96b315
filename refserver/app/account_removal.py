"""The steps that remove what each part of the server stores of an account."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Final

from sqlalchemy import Connection

from refserver.core import account_removal
from refserver.core.account_removal import RemoveAccount, Step
from refserver.jid import JID
from refserver.reference import offices
from refserver.storage import rooms


def _leave_rooms(connection: Connection, account: JID, now: float) -> Iterable[object]:
    """Remove the account's affiliations, and the rooms that nobody else owns."""
    rooms.remove_account(connection, account)
    return ()


STEPS: Final[tuple[Step, ...]] = (offices.end_offices, _leave_rooms)

remove_account: Final[RemoveAccount] = partial(account_removal.remove_account, steps=STEPS)
"""Remove an account. See `core.account_removal.remove_account`."""
