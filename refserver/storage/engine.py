"""`Database`: the one door to storage.

Owns the engines, the writer's thread, the readers' threads and the start (migrations).
Does not know any table. What is special to one kind of database stands in `sqlite.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine
from twisted.internet.defer import Deferred, gatherResults

from refserver.storage import migrations, schema, sqlite
from refserver.storage.errors import UnsupportedDatabase
from refserver.storage.worker import CallFromThread, GroupCommit, Inline, Job, Worker

READERS = 2

P = ParamSpec("P")
T = TypeVar("T")


def _here(function: Callable[..., object], /, *args: Any) -> None:
    function(*args)


class Database:
    """A database whose jobs run off the reactor's thread.

    `write`: the Deferred fires after the commit that made the job durable, in the order of
    the calls; an exception undoes and fails that job only. `read`: sees everything whose
    `write` has fired, and nothing of writes still under way. Cancelling a Deferred does not
    undo a job. Functions must not commit, and must not keep the connection.
    """

    def __init__(
        self, writing: Engine, reading: Engine, writer: Worker | Inline, readers: Worker | Inline
    ) -> None:
        self._writing = writing
        self._reading = reading
        self._writer = writer
        self._readers = readers

    @classmethod
    def open(cls, location: str | Path, call_from_thread: CallFromThread = _here) -> Database:
        """Open, make or migrate the SQLite file at `location`, a path or a `sqlite:///` URL.

        `call_from_thread` is the reactor's; without it only `read_now` and `write_now` serve.
        Raises `DatabaseTooNew` or `UnsupportedDatabase`.
        """
        path = _path(location)
        migrations.bring_to_head(path)
        writing, reading = sqlite.write_engine(path), sqlite.read_engine(path)
        commit = GroupCommit(hurry=lambda: writer.closing)
        writer = Worker("writer", writing.connect, commit, call_from_thread, rest=commit.rest)
        readers = Worker("reader", reading.connect, _read_batch, call_from_thread, READERS, batch_size=32)
        return cls(writing, reading, writer, readers)

    @classmethod
    def memory(cls, call_from_thread: CallFromThread = _here) -> Database:
        """An empty database in memory, for tests: jobs run at once, without any thread.

        The Deferreds have fired when `read` and `write` return, unless `call_from_thread`
        holds them back.
        """
        engine = sqlite.memory_engine(_new())
        writer = Inline(engine.begin, call_from_thread)
        readers = Inline(lambda: sqlite.query_only(engine), call_from_thread)
        return cls(engine, engine, writer, readers)

    def read(
        self, function: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Deferred[T]:
        """Call `function(connection, …)` in a reader's thread, with its result."""
        return self._readers.submit(function, args, kwargs)

    def write(
        self, function: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Deferred[T]:
        """Call `function(connection, …)` in the writer's thread, with its result once it is durable."""
        return self._writer.submit(function, args, kwargs)

    def written(self) -> Deferred[None] | None:
        """None if all that was given to `write` until now is durable; else fires as soon as it is."""
        return self._writer.submit(_nothing, (), {}) if self._writer.busy else None

    def read_now(
        self, function: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Read on the calling thread: for start-up and the command line, not for a running server."""
        with self._reading.begin() as connection:
            return function(connection, *args, **kwargs)

    def write_now(
        self, function: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Write and commit on the calling thread: for start-up and the command line."""
        with self._writing.begin() as connection:
            return function(connection, *args, **kwargs)

    def empty_log_now(self) -> bool:
        """Empty the write-ahead log, where deleted rows can still be read; False if somebody is reading."""
        return sqlite.empty_log(self._writing)

    def close(self) -> Deferred[None]:
        """Commit everything queued, answer it, end the threads; later jobs fail with `DatabaseClosed`."""
        closing: Deferred[Any] = gatherResults([self._writer.close(), self._readers.close()])
        return closing.addCallback(lambda _: self.close_now())

    def close_now(self) -> None:
        """Close the connections, without waiting for jobs: where only `…_now` was used."""
        self._reading.dispose()
        self._writing.dispose()


@cache
def _new() -> bytes:
    """An empty database with all tables."""
    engine = sqlite.memory_engine()
    schema.metadata.create_all(engine)
    return sqlite.serialised(engine)


def _read_batch(connection: Connection, batch: Sequence[Job]) -> None:
    """Run every job of `batch`; all see what was committed before the batch was taken, or later."""
    transaction = connection.begin()
    try:
        for job in batch:
            job.run(connection)
    finally:
        transaction.rollback()


def _nothing(connection: Connection) -> None:
    """Take a turn behind other jobs."""


def _path(location: str | Path) -> Path:
    text = str(location)
    if text.startswith("sqlite:///"):
        return Path(text.removeprefix("sqlite:///"))
    if "://" in text:
        raise UnsupportedDatabase(f"no support for {text.split('://')[0]} databases: only for sqlite")
    return Path(text)
