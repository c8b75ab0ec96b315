"""The server's own keys: made once, at random, and kept."""

from __future__ import annotations

from secrets import token_bytes
from typing import Final

from sqlalchemy import Connection, insert, select
from sqlalchemy import delete as sql_delete

from refserver.storage.libraries import number as number_of
from refserver.storage.schema import pseudonym_keys as _keys
from refserver.storage.schema import secrets as _secrets
from refserver.storage.statement import upsert

PSEUDONYM_KEY_BYTES: Final = 32

_put_key = upsert(_keys)


def get_or_create(connection: Connection, name: str, nbytes: int) -> bytes:
    """The key called `name`; a new one of `nbytes` random bytes the first time. Needs a write."""
    found: bytes | None = connection.execute(select(_secrets.c.value).where(_secrets.c.name == name)).scalar()
    if found is not None:
        return found
    made = token_bytes(nbytes)
    connection.execute(insert(_secrets).values(name=name, value=made))
    return made


def delete(connection: Connection, name: str) -> None:
    """Destroy the key called `name`, if there is one: what was made with it can no longer be linked."""
    connection.execute(sql_delete(_secrets).where(_secrets.c.name == name))


def pseudonym_key(connection: Connection, library: str, period: str) -> bytes:
    """Return a library's key of that period; the key of another period is destroyed. Needs a write."""
    number = connection.execute(select(number_of(library))).scalar()
    query = select(_keys.c.value).where(_keys.c.library == number, _keys.c.period == period)
    found: bytes | None = connection.execute(query).scalar()
    if found is None:
        found = token_bytes(PSEUDONYM_KEY_BYTES)
        _put_key.run(connection, library=number, period=period, value=found)
    return found


def is_older(connection: Connection, period: str) -> bool:
    """Return True if there is a key of an earlier period."""
    older = select(_keys.c.library).where(_keys.c.period < period).limit(1)
    return connection.execute(older).first() is not None


def destroy_older(connection: Connection, period: str) -> None:
    """Destroy the keys of earlier periods."""
    connection.execute(sql_delete(_keys).where(_keys.c.period < period))
