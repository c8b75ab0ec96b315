"""Reading: a batch of jobs on one snapshot, never a write."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from refserver.storage.lane import Job

__all__ = ["read_batch"]


def read_batch(connection: Connection, batch: Sequence[Job]) -> None:
    """Run every job of `batch`; all see what was committed before the batch was taken, or later."""
    transaction = connection.begin()
    try:
        for job in batch:
            job.run(connection)
    finally:
        transaction.rollback()
