"""Runs database jobs: `Worker` in batches on threads of its own, `Inline` at once on the caller's thread.

A worker knows nothing of transactions: the function that it is given runs a whole batch on a connection
and leaves a result in each job. All Deferreds of a batch fire in one call on the reactor's thread, so a
busy worker costs one wake-up a batch and not one a job.

`GroupCommit` is what the writer runs: many jobs, one transaction, one sync to disk. Each job runs inside a
savepoint of its own, so an exception undoes that job only; one COMMIT makes all the others durable. A job
alone in its batch needs no savepoint: its transaction is its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from attrs import define, field
from sqlalchemy import Connection, RootTransaction
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from refserver.storage import sqlite
from refserver.storage.errors import DatabaseClosed

_log = Logger()


class CallFromThread(Protocol):
    """`reactor.callFromThread`: run `function` soon on the reactor's thread."""

    def __call__(self, function: Callable[..., object], /, *args: Any) -> object: ...


@define(eq=False)
class Job:
    """One function to run, its Deferred, and (afterwards) its result or `Failure`."""

    function: Callable[..., Any]
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    deferred: Deferred[Any] = field(factory=Deferred)
    result: Any = None

    def run(self, connection: Connection) -> bool:
        """Call the function and keep what it returns or raises; False if it raised."""
        try:
            self.result = self.function(connection, *self.args, **self.kwargs)
        except BaseException:  # a SystemExit, too, belongs to the caller and must not end the thread
            self.result = Failure()
            return False
        return True

    def spoil(self, failure: Failure) -> None:
        """Replace a result by `failure`: it did not become durable."""
        if not isinstance(self.result, Failure):
            self.result = failure


def settle(jobs: Sequence[Job]) -> None:
    """Fire the Deferreds of jobs that were run, in their order."""
    for job in jobs:
        if isinstance(job.result, Failure):
            job.deferred.errback(job.result)
        else:
            job.deferred.callback(job.result)


class Worker:
    """A queue of jobs and the threads that serve it; first in, first out with one thread.

    `submit` and `close` are called on the reactor's thread. `run` gets a connection and a
    batch of at most `batch_size` jobs; if it raises, the connection is thrown away and every
    job of the batch that has no failure of its own fails with that exception. `rest` is
    called after a batch that was not full was settled: it may wait for more to come together.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], Connection],
        run: Callable[[Connection, Sequence[Job]], None],
        call_from_thread: CallFromThread,
        threads: int = 1,
        batch_size: int = 256,
        rest: Callable[[], None] = lambda: None,
    ) -> None:
        self._connect = connect
        self._run = run
        self._call_from_thread = call_from_thread
        self._batch_size = batch_size
        self._rest = rest
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._closed: Deferred[None] | None = None
        self._names = [f"refserver-{name}-{number}" for number in range(threads)]
        self._running = 0
        self._open = 0  # jobs that are not settled

    @property
    def busy(self) -> bool:
        """True if there are jobs whose Deferreds have not fired."""
        return self._open > 0

    def submit(
        self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Deferred[Any]:
        """Queue a call of `function(connection, *args, **kwargs)`; the Deferred fires when it is done."""
        if self._closed is not None:
            return fail(DatabaseClosed("the database is closed"))
        if not self._running:
            self._start()
        job = Job(function, args, kwargs)
        self._open += 1
        self._queue.put(job)
        return job.deferred

    def close(self) -> Deferred[None]:
        """Take no more jobs; fires after every job taken has been run and settled."""
        if self._closed is None:
            self._closed = Deferred()
            if not self._running:
                self._closed.callback(None)
            for _ in range(self._running):
                self._queue.put(None)
        return self._closed

    @property
    def closing(self) -> bool:
        """True if `close` was called."""
        return self._closed is not None

    def _start(self) -> None:
        self._running = len(self._names)
        for name in self._names:
            threading.Thread(target=self._serve, name=name, daemon=True).start()

    def _serve(self) -> None:
        connection: Connection | None = None
        more = True
        while more:
            batch, more = self._take()
            if batch:
                connection = self._serve_batch(connection, batch)
                self._call_from_thread(self._settle, batch)
                if len(batch) < self._batch_size:
                    self._rest()
        if connection is not None:
            connection.close()
        self._call_from_thread(self._ended)

    def _serve_batch(self, connection: Connection | None, batch: Sequence[Job]) -> Connection | None:
        try:
            if connection is None:
                connection = self._connect()
            self._run(connection, batch)
        except BaseException:  # whatever it was, the jobs must not wait for ever
            failure = Failure()
            for job in batch:
                job.spoil(failure)
            if connection is not None:
                connection.invalidate()
                connection.close()
            return None
        return connection

    def _take(self) -> tuple[list[Job], bool]:
        """Wait for a job, then take what else is there; False with the last batch."""
        batch: list[Job] = []
        job = self._queue.get()
        while job is not None:
            batch.append(job)
            if len(batch) == self._batch_size:
                return batch, True
            try:
                job = self._queue.get_nowait()
            except Empty:
                return batch, True
        return batch, False

    def _settle(self, batch: Sequence[Job]) -> None:
        self._open -= len(batch)
        settle(batch)

    def _ended(self) -> None:
        self._running -= 1
        if not self._running and self._closed is not None:
            self._closed.callback(None)


class Inline:
    """Takes jobs like a `Worker`, but runs each within `submit`, in a transaction of its own.

    Only the Deferreds go through `call_from_thread`: a test may hold them back to see what
    happens before an answer.
    """

    def __init__(
        self, transaction: Callable[[], AbstractContextManager[Connection]], call_from_thread: CallFromThread
    ) -> None:
        self._transaction = transaction
        self._call_from_thread = call_from_thread
        self._closed = False
        self._open = 0  # jobs that are not settled

    @property
    def busy(self) -> bool:
        """True if there are jobs whose Deferreds have not fired."""
        return self._open > 0

    def submit(
        self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Deferred[Any]:
        """Run `function(connection, *args, **kwargs)` and commit it, if it did not raise."""
        if self._closed:
            return fail(DatabaseClosed("the database is closed"))
        job = Job(function, args, kwargs)
        with self._transaction() as connection:
            if not job.run(connection):
                connection.rollback()
        self._open += 1
        self._call_from_thread(self._settle, job)
        return job.deferred

    def close(self) -> Deferred[None]:
        """Take no more jobs."""
        self._closed = True
        return succeed(None)

    def _settle(self, job: Job) -> None:
        self._open -= 1
        settle([job])


LOCK_SECONDS = 30.0  # how long another process may hold the write lock before our jobs fail


class GroupCommit:
    """Runs batches of jobs on the writer's connection; `hurry` is true when the database is closing."""

    def __init__(self, hurry: Callable[[], bool], throttle: CommitThrottle | None = None) -> None:
        self._hurry = hurry
        self._throttle = throttle or CommitThrottle()

    def __call__(self, connection: Connection, batch: Sequence[Job]) -> None:
        """Run and commit a batch; raises, with nothing kept, if it cannot begin or commit."""
        transaction = self._begin(connection)
        try:
            if len(batch) == 1:
                kept = batch[0].run(connection)
            else:
                kept = self._run_all(connection, batch)
        except BaseException:
            transaction.rollback()
            raise
        if kept:
            self._commit(transaction)
        else:
            transaction.rollback()

    def rest(self) -> None:
        """Let jobs gather, if there were many commits lately."""
        seconds = self._throttle.rest()
        if seconds and not self._hurry():
            time.sleep(seconds)

    def _commit(self, transaction: RootTransaction) -> None:
        started = time.monotonic()
        transaction.commit()
        self._throttle.spend(time.monotonic() - started)

    def _run_all(self, connection: Connection, batch: Sequence[Job]) -> bool:
        driver_connection: Any = connection.connection.driver_connection
        execute = driver_connection.execute
        kept = False
        for job in batch:
            execute("SAVEPOINT job")
            if job.run(connection):
                kept = True
            else:
                execute("ROLLBACK TO SAVEPOINT job")
            execute("RELEASE SAVEPOINT job")
        return kept

    def _begin(self, connection: Connection) -> RootTransaction:
        """Begin, waiting for another process' transaction as long as that makes sense."""
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                return connection.begin()
            except Exception as error:
                if not sqlite.is_locked(error) or self._hurry() or time.monotonic() > deadline:
                    raise
                _log.warn("the database is locked by another process; trying again")


SHARE = 0.25  # of the time may be spent in commits, in the long run
CREDIT = 0.1  # seconds: some fifty commits in a row before the first rest
LONGEST_REST = 0.025  # seconds: half of what a group may wait for its commit


class CommitThrottle:
    """Counts what commits cost and tells how long to rest; all in seconds."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._credit = CREDIT
        self._counted = monotonic()

    def spend(self, seconds: float) -> None:
        """A commit took `seconds`."""
        now = self._monotonic()
        self._credit = min(CREDIT, self._credit + (now - self._counted) * SHARE) - seconds
        self._counted = now

    def rest(self) -> float:
        """Seconds to wait before the next group: 0 while there is credit."""
        # Credit is never owed for longer than one rest: a single slow commit is no reason for many.
        self._credit = max(self._credit, -LONGEST_REST * SHARE)
        return max(0.0, -self._credit / SHARE)
