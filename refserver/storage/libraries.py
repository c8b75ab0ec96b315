"""The libraries (tenants): one XMPP domain each."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen
from sqlalchemy import Connection, ScalarSelect, bindparam, delete, select, update

from refserver.storage import rooms
from refserver.storage.errors import LibraryExists, NoSuchLibrary
from refserver.storage.schema import libraries
from refserver.storage.statement import Prepared, insert_new

ROOMS = "rooms."  # the room service of a library is this and its domain

_BY_DOMAIN = libraries.c.domain == bindparam("by_domain")
_insert = Prepared(insert_new(libraries, "domain").returning(libraries.c.id), ["domain", "name"])
_select = Prepared(select(libraries.c.domain, libraries.c.name).where(_BY_DOMAIN))
_select_all = Prepared(select(libraries.c.domain, libraries.c.name).order_by(libraries.c.domain))
_rename = Prepared(update(libraries).where(_BY_DOMAIN), ["name"])
_delete = Prepared(delete(libraries).where(_BY_DOMAIN))


@frozen
class Library:
    """A library's domain (normalised) and its name for people."""

    domain: str
    name: str


def add(connection: Connection, domain: str, name: str) -> None:
    """Add a library. Raises `LibraryExists`."""
    if _insert.row(connection, domain=domain, name=name) is None:
        raise LibraryExists(f"there is a library {domain} already")


def list(connection: Connection) -> Sequence[Library]:
    """Every library, by domain."""
    return [Library(*row) for row in _select_all.rows(connection)]


def get(connection: Connection, domain: str) -> Library | None:
    """The library of `domain`."""
    row = _select.row(connection, by_domain=domain)
    return None if row is None else Library(*row)


def rename(connection: Connection, domain: str, name: str) -> None:
    """Give a library another name. Raises `NoSuchLibrary`."""
    if not _rename.run(connection, by_domain=domain, name=name):
        raise NoSuchLibrary(f"there is no library {domain}")


def remove(connection: Connection, domain: str) -> None:
    """Remove a library with its accounts, rooms and all that belongs to them. Raises `NoSuchLibrary`."""
    if not _delete.run(connection, by_domain=domain):
        raise NoSuchLibrary(f"there is no library {domain}")
    rooms.delete_service(connection, ROOMS + domain)


def number(domain: str) -> ScalarSelect[int]:
    """The number under which a library's rows are kept, as a part of a statement."""
    return select(libraries.c.id).where(libraries.c.domain == domain).scalar_subquery()
