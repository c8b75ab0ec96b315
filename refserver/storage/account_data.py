"""XML of accounts as bytes: vCards (XEP-0054), and private data (XEP-0049), each by its qualified name."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, func, select

from refserver.jid import JID
from refserver.storage import accounts
from refserver.storage.schema import accounts as _accounts
from refserver.storage.schema import private_elements as _elements
from refserver.storage.schema import vcards as _vcards
from refserver.storage.statement import Prepared, upsert

_BY_JID = _accounts.c.jid == bindparam("by_jid")
_select_vcard = Prepared(select(_vcards.c.element).join_from(_accounts, _vcards).where(_BY_JID))
_put_vcard = upsert(_vcards)
_select_private = Prepared(
    select(_elements.c.element)
    .join_from(_accounts, _elements)
    .where(_BY_JID, _elements.c.namespace == bindparam("namespace"), _elements.c.name == bindparam("name"))
)
_private_size = Prepared(
    select(func.count(_elements.c.name), func.coalesce(func.sum(func.length(_elements.c.element)), 0))
    .join_from(_accounts, _elements)
    .where(_BY_JID)
)
_put_private = upsert(_elements)


def vcard(connection: Connection, account: JID) -> bytes | None:
    """The vCard of `account`."""
    found: bytes | None = _select_vcard.value(connection, by_jid=account.text)
    return found


def set_vcard(connection: Connection, account: JID, element: bytes) -> None:
    """Replace the vCard. Raises `NoSuchAccount`."""
    _put_vcard.run(connection, account=accounts.id_of(connection, account), element=element)


def private(connection: Connection, account: JID, namespace: str, name: str) -> bytes | None:
    """The private element kept under this name."""
    found: bytes | None = _select_private.value(
        connection, by_jid=account.text, namespace=namespace, name=name
    )
    return found


def set_private(connection: Connection, account: JID, namespace: str, name: str, element: bytes) -> None:
    """Replace the private element of this name. Raises `NoSuchAccount`."""
    number = accounts.id_of(connection, account)
    _put_private.run(connection, account=number, namespace=namespace, name=name, element=element)


def private_size(connection: Connection, account: JID) -> tuple[int, int]:
    """Return the number of the account's private elements, and their bytes."""
    row = _private_size.row(connection, by_jid=account.text)
    return (0, 0) if row is None else (int(row[0]), int(row[1]))
