"""The libraries (tenants): one XMPP domain each."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen
from sqlalchemy import Connection, ScalarSelect, delete, select, update

from refserver.storage import rooms
from refserver.storage.errors import LibraryExists, NoSuchLibrary
from refserver.storage.schema import libraries
from refserver.storage.statement import insert_new

ROOMS = "rooms."  # the room service of a library is this and its domain


@frozen
class Library:
    """A library's domain (normalised) and its name for people."""

    domain: str
    name: str


def add(connection: Connection, domain: str, name: str) -> None:
    """Add a library. Raises `LibraryExists`."""
    added = insert_new(libraries, "domain").values(domain=domain, name=name)
    if not connection.execute(added).rowcount:
        raise LibraryExists(f"there is a library {domain} already")


def list(connection: Connection) -> Sequence[Library]:
    """Every library, by domain."""
    query = select(libraries.c.domain, libraries.c.name).order_by(libraries.c.domain)
    return [Library(*row) for row in connection.execute(query)]


def get(connection: Connection, domain: str) -> Library | None:
    """The library of `domain`."""
    query = select(libraries.c.domain, libraries.c.name).where(libraries.c.domain == domain)
    row = connection.execute(query).first()
    return None if row is None else Library(*row)


def rename(connection: Connection, domain: str, name: str) -> None:
    """Give a library another name. Raises `NoSuchLibrary`."""
    renamed = update(libraries).where(libraries.c.domain == domain).values(name=name)
    if not connection.execute(renamed).rowcount:
        raise NoSuchLibrary(f"there is no library {domain}")


def remove(connection: Connection, domain: str) -> None:
    """Remove a library with its accounts, rooms and all that belongs to them. Raises `NoSuchLibrary`."""
    if not connection.execute(delete(libraries).where(libraries.c.domain == domain)).rowcount:
        raise NoSuchLibrary(f"there is no library {domain}")
    rooms.delete_service(connection, ROOMS + domain)


def number(domain: str) -> ScalarSelect[int]:
    """The number under which a library's rows are kept, as a part of a statement."""
    return select(libraries.c.id).where(libraries.c.domain == domain).scalar_subquery()
