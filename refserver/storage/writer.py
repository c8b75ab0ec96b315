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
from refserver.storage.lane import Job
from refserver.storage.pace import Pace

__all__ = ["GroupCommit"]

LOCK_SECONDS = 30.0  # how long another process may hold the write lock before our jobs fail

_log = Logger()


class GroupCommit:
    """Runs batches of jobs on the writer's connection; `hurry` is true when the database is closing."""

    def __init__(self, hurry: Callable[[], bool], pace: Pace | None = None) -> None:
        self._hurry = hurry
        self._pace = pace or Pace()

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
        seconds = self._pace.rest()
        if seconds and not self._hurry():
            time.sleep(seconds)

    def _commit(self, transaction: RootTransaction) -> None:
        started = time.monotonic()
        transaction.commit()
        self._pace.spend(time.monotonic() - started)

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
