"""The server's own keys: made once, at random, and kept."""

from __future__ import annotations

from secrets import token_bytes
from typing import Final

from sqlalchemy import Connection, bindparam, select
from sqlalchemy import delete as sql_delete

from refserver.storage.schema import libraries
from refserver.storage.schema import pseudonym_keys as _keys
from refserver.storage.schema import secrets as _secrets
from refserver.storage.statement import Prepared, upsert

PSEUDONYM_KEY_BYTES: Final = 32

_insert = Prepared(_secrets.insert())
_select = Prepared(select(_secrets.c.value).where(_secrets.c.name == bindparam("by_name")))
_library = Prepared(select(libraries.c.id).where(libraries.c.domain == bindparam("by_domain")))
_key = Prepared(
    select(_keys.c.value).where(_keys.c.library == bindparam("of"), _keys.c.period == bindparam("at"))
)
_put_key = upsert(_keys)
_older = _keys.c.period < bindparam("period")
_find_older = Prepared(select(_keys.c.library).where(_older).limit(1))
_destroy_older = Prepared(sql_delete(_keys).where(_older))
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


def pseudonym_key(connection: Connection, library: str, period: str) -> bytes:
    """Return a library's key of that period; the key of another period is destroyed. Needs a write."""
    number = _library.value(connection, by_domain=library)
    found: bytes | None = _key.value(connection, of=number, at=period)
    if found is None:
        found = token_bytes(PSEUDONYM_KEY_BYTES)
        _put_key.run(connection, library=number, period=period, value=found)
    return found


def is_older(connection: Connection, period: str) -> bool:
    """Return True if there is a key of an earlier period."""
    return _find_older.row(connection, period=period) is not None


def destroy_older(connection: Connection, period: str) -> None:
    """Destroy the keys of earlier periods."""
    _destroy_older.run(connection, period=period)
