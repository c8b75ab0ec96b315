"""The server's own keys: made once, at random, and kept."""

from __future__ import annotations

from secrets import token_bytes

from sqlalchemy import Connection, bindparam, select
from sqlalchemy import delete as sql_delete

from refserver.storage.schema.accounts import secrets as _secrets
from refserver.storage.statement import Prepared

__all__ = ["delete", "get_or_create"]

_insert = Prepared(_secrets.insert())
_select = Prepared(select(_secrets.c.value).where(_secrets.c.name == bindparam("by_name")))
_delete = Prepared(sql_delete(_secrets).where(_secrets.c.name == bindparam("by_name")))


def get_or_create(connection: Connection, name: str, nbytes: int) -> bytes:
    """The key called `name`; a new one of `nbytes` random bytes the first time. Needs a write."""
    found: bytes | None = _select.value(connection, by_name=name)
    if found is not None:
        return found
    made = token_bytes(nbytes)
    _insert.run(connection, name=name, value=made)
    return made


def delete(connection: Connection, name: str) -> None:
    """Destroy the key called `name`, if there is one: what was made with it can no longer be linked."""
    _delete.run(connection, by_name=name)
