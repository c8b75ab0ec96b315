"""Jobs run at once on the caller's thread: the database of unit tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from sqlalchemy import Connection
from twisted.internet.defer import Deferred, fail, succeed

from refserver.storage.errors import DatabaseClosed
from refserver.storage.lane import CallFromThread, Job, settle

__all__ = ["Inline"]


class Inline:
    """Takes jobs like a `Lane`, but runs each within `submit`, in a transaction of its own.

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
        """Whether there are jobs whose Deferreds have not fired."""
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
