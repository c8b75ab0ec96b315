"""Everything that must survive: one `Database`, and one module of plain functions per aggregate.

The functions take a SQLAlchemy `Connection` first and never commit; `Database.read` and
`Database.write` run them off the reactor's thread, inside a transaction. Addresses are
normalised `JID` objects outside and their text inside; times are Unix seconds (UTC) as
floats, as `clock.seconds()` gives them.
"""

from __future__ import annotations

from refserver.storage.engine import Database
from refserver.storage.errors import (
    AccountExists,
    DatabaseClosed,
    DatabaseTooNew,
    LibraryExists,
    NoSuchAccount,
    NoSuchLibrary,
    NoSuchRoom,
    StorageError,
    UnsupportedDatabase,
)

__all__ = [
    "AccountExists",
    "Database",
    "DatabaseClosed",
    "DatabaseTooNew",
    "LibraryExists",
    "NoSuchAccount",
    "NoSuchLibrary",
    "NoSuchRoom",
    "StorageError",
    "UnsupportedDatabase",
]
