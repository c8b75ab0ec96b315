"""vCards of accounts (XEP-0054), as the bytes of their `<vCard/>` elements."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, select

from refserver.jid import JID
from refserver.storage import accounts
from refserver.storage.schema import accounts as _accounts
from refserver.storage.schema import vcards as _vcards
from refserver.storage.statement import Prepared, upsert

_select = Prepared(
    select(_vcards.c.element).join_from(_accounts, _vcards).where(_accounts.c.jid == bindparam("by_jid"))
)
_upsert = upsert(_vcards)


def get(connection: Connection, account: JID) -> bytes | None:
    """The vCard of `account`."""
    found: bytes | None = _select.value(connection, by_jid=account.text)
    return found


def set(connection: Connection, account: JID, element: bytes) -> None:
    """Replace the vCard. Raises `NoSuchAccount`."""
    _upsert.run(connection, account=accounts.id_of(connection, account), element=element)
