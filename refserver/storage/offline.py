"""Messages kept for accounts that are offline (XEP-0160), as they will be delivered.

Delivery is at least once: a message is deleted only after it was handed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, func, select
from sqlalchemy import delete as sql_delete

from refserver.jid import JID
from refserver.storage import accounts
from refserver.storage.schema import accounts as _accounts
from refserver.storage.schema import offline_messages as _messages
from refserver.storage.statement import Prepared

_BY_JID = _accounts.c.jid == bindparam("by_jid")
_insert = Prepared(_messages.insert().returning(_messages.c.id), ["account", "received_at", "stanza"])
_size = Prepared(
    select(func.count(), func.coalesce(func.sum(func.length(_messages.c.stanza)), 0)).where(
        _messages.c.account == bindparam("account")
    )
)
_count_of = Prepared(select(func.count(_messages.c.id)).join_from(_accounts, _messages).where(_BY_JID))
_select = Prepared(
    select(_messages.c.id, _messages.c.received_at, _messages.c.stanza)
    .join_from(_accounts, _messages)
    .where(_BY_JID)
    .order_by(_messages.c.id)
)


class OfflineMessage(NamedTuple):
    """A kept message; its `id` is never used twice, `received_at` is in Unix seconds."""

    id: int
    received_at: float
    stanza: bytes


def store(
    connection: Connection, account: JID, stanza: bytes, received_at: float, limit: int, bytes_limit: int = 0
) -> int:
    """Keep `stanza`; its id, or 0 and nothing kept if there were more than `limit`, or `bytes_limit` in all.

    A limit of 0 is none. Raises `NoSuchAccount`.
    """
    number = accounts.id_of(connection, account)
    count, size = _size.row(connection, account=number) or (0, 0)
    if (limit and count >= limit) or (bytes_limit and size + len(stanza) > bytes_limit):
        return 0
    return int(_insert.value(connection, account=number, received_at=received_at, stanza=stanza))


def fetch(connection: Connection, account: JID) -> Sequence[OfflineMessage]:
    """Everything kept for `account`, oldest first."""
    return [OfflineMessage(*row) for row in _select.rows(connection, by_jid=account.text)]


def delete(connection: Connection, account: JID, ids: Iterable[int]) -> None:
    """Forget the messages `ids` of `account`; those which are gone already do not matter."""
    number = select(_accounts.c.id).where(_accounts.c.jid == account.text).scalar_subquery()
    owned = _messages.c.account == number
    connection.execute(sql_delete(_messages).where(owned, _messages.c.id.in_(list(ids))))


def count(connection: Connection, account: JID) -> int:
    """The number of messages kept."""
    return int(_count_of.value(connection, by_jid=account.text))
