"""Everything that is true of SQLite only: how to open it, its pragmas, its locks.

The driver's own transaction handling is switched off (`isolation_level=None`): a writing
transaction starts with BEGIN IMMEDIATE, so that it waits for another process' lock at its
start and never fails in the middle, and SAVEPOINT works as SQLite defines it.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Dialect, Engine, StaticPool, create_engine, event, make_url
from sqlalchemy.util import LRUCache

BUSY_TIMEOUT_MS = 5000  # how long one attempt waits for another process' transaction

_COMMON = (f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}", "PRAGMA cache_size=-8192", "PRAGMA temp_store=MEMORY")
# FULL: the log is synced at each commit, so what was acknowledged survives a power loss.
# secure_delete: what was purged is overwritten, not left lying in a free page.
_WRITE = (
    "PRAGMA journal_mode=WAL",  # a restored copy may be in another mode
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA secure_delete=ON",
    "PRAGMA journal_size_limit=67108864",
)
_READ = ("PRAGMA query_only=ON",)
# Rebuilding a table (Alembic's batch mode) drops the old one: enforcement would delete what refers to it.
_MIGRATE = ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "PRAGMA foreign_keys=OFF")


def make_file(path: Path) -> None:
    """Make an empty database, readable for its owner only, if there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # it holds verifiers and letters


def write_engine(path: Path) -> Engine:
    """An engine whose transactions take the write lock when they begin."""
    return _engine(path, (*_COMMON, *_WRITE), "BEGIN IMMEDIATE")


def read_engine(path: Path) -> Engine:
    """An engine that cannot write; each transaction is one consistent snapshot."""
    return _engine(path, (*_COMMON, *_READ), "BEGIN")


def migration_engine(path: Path) -> Engine:
    """An engine for changing the schema, without enforcement of references."""
    return _engine(path, (*_COMMON, *_MIGRATE), "BEGIN IMMEDIATE")


def memory_engine(content: bytes = b"") -> Engine:
    """A database of its own in memory, on a single connection: empty, or a copy of what was serialised."""

    def connect() -> Any:
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        if content:
            connection.deserialize(content)
        return connection

    dialect, compiled = _in_memory()
    engine = Engine(
        StaticPool(connect),
        dialect,
        make_url("sqlite://"),
        execution_options={"compiled_cache": compiled},
        hide_parameters=True,
    )
    return _configured(engine, ("PRAGMA foreign_keys=ON",), "BEGIN")


def serialised(engine: Engine) -> bytes:
    """All that is in a database in memory, for `memory_engine`."""
    with engine.connect() as connection:
        driver_connection: Any = connection.connection.driver_connection
        return bytes(driver_connection.serialize())


@cache
def _in_memory() -> tuple[Dialect, LRUCache[Any, Any]]:
    """The dialect and the compiled statements that all databases in memory share."""
    engine = create_engine("sqlite://", paramstyle="named")
    engine.connect().close()  # finds out what this SQLite can do
    return engine.dialect, LRUCache(2_000)


def is_locked(error: BaseException) -> bool:
    """True if `error` says that another process holds the lock, so that trying again helps."""
    return (
        isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
    )


def empty_log(engine: Engine) -> bool:
    """Empty the write-ahead log into the database; False if a reader is in the way."""
    connection = engine.raw_connection()
    try:
        busy = connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    finally:
        connection.close()
    return not busy


def check_references(connection: Connection) -> None:
    """Raise if a row refers to one that is not there: enforcement is off during a migration."""
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
    if broken:
        tables = ", ".join(sorted({row[0] for row in broken}))
        raise sqlite3.IntegrityError(f"rows without owner after the migration in: {tables}")


@contextmanager
def query_only(engine: Engine) -> Iterator[Connection]:
    """A transaction that cannot write, on an engine that otherwise can."""
    with engine.connect() as connection:
        driver_connection: Any = connection.connection.driver_connection
        driver_connection.execute("PRAGMA query_only=ON")
        try:
            yield connection
        finally:
            driver_connection.execute("PRAGMA query_only=OFF")


def _engine(path: Path, pragmas: tuple[str, ...], begin: str) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        connect_args={"isolation_level": None, "check_same_thread": False},
        paramstyle="named",
        hide_parameters=True,  # an exception's text must not carry what was being stored
    )
    return _configured(engine, pragmas, begin)


def _configured(engine: Engine, pragmas: tuple[str, ...], begin: str) -> Engine:
    def connected(driver_connection: Any, record: object) -> None:
        for pragma in pragmas:
            _set(driver_connection, pragma)

    def begun(connection: Connection) -> None:
        driver_connection: Any = connection.connection.driver_connection
        driver_connection.execute(begin)

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", begun)
    return engine


def _set(driver_connection: sqlite3.Connection, pragma: str) -> None:
    """Execute `pragma`, waiting for locks: changing the journal mode does not heed the busy timeout."""
    deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            driver_connection.execute(pragma)
            return
        except sqlite3.OperationalError as error:
            if not is_locked(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.02)
