"""Private XML of accounts (XEP-0049): one element for each qualified name, as bytes."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, func, select

from refserver.jid import JID
from refserver.storage import accounts
from refserver.storage.schema import accounts as _accounts
from refserver.storage.schema import private_elements as _elements
from refserver.storage.statement import Prepared, upsert

_BY_JID = _accounts.c.jid == bindparam("by_jid")
_select = Prepared(
    select(_elements.c.element)
    .join_from(_accounts, _elements)
    .where(_BY_JID, _elements.c.namespace == bindparam("namespace"), _elements.c.name == bindparam("name"))
)
_size = Prepared(
    select(func.count(_elements.c.name), func.coalesce(func.sum(func.length(_elements.c.element)), 0))
    .join_from(_accounts, _elements)
    .where(_BY_JID)
)
_upsert = upsert(_elements)


def get(connection: Connection, account: JID, namespace: str, name: str) -> bytes | None:
    """The element kept under this name."""
    found: bytes | None = _select.value(connection, by_jid=account.text, namespace=namespace, name=name)
    return found


def set(
    connection: Connection, account: JID, namespace: str, name: str, element: bytes, limit: int = 0
) -> bool:
    """Replace the element of this name; False, and nothing kept, if it would be one more than `limit`.

    A limit of 0 is none. Raises `NoSuchAccount`.
    """
    number = accounts.id_of(connection, account)
    if limit and get(connection, account, namespace, name) is None and size(connection, account)[0] >= limit:
        return False
    _upsert.run(connection, account=number, namespace=namespace, name=name, element=element)
    return True


def size(connection: Connection, account: JID) -> tuple[int, int]:
    """Return the number of the account's elements, and their bytes."""
    row = _size.row(connection, by_jid=account.text)
    return (0, 0) if row is None else (int(row[0]), int(row[1]))
