"""Group commit: many jobs, one transaction, one sync to disk.

Each job runs inside a savepoint of its own, so an exception undoes that job only; one
COMMIT makes all the others durable. A job alone in its batch needs no savepoint: its
transaction is its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, RootTransaction
from twisted.logger import Logger

from refserver.storage import sqlite
from refserver.storage.worker import Job

LOCK_SECONDS = 30.0  # how long another process may hold the write lock before our jobs fail

_log = Logger()


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
