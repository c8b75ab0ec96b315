"""Stores what is counted: one row a question, made when it is asked, completed when it ends.

No row holds a patron, a librarian or a word that was said; rows outlive their questions.
"""

from __future__ import annotations

import json
from typing import Any

from attrs import asdict, frozen
from sqlalchemy import Connection, Row, bindparam, delete, desc, insert, select, update

from refserver.storage.schema import question_statistics
from refserver.storage.statement import Prepared

_columns = question_statistics.c
_recent_durations = Prepared(
    select(_columns.duration)
    .where(
        _columns.domain == bindparam("of_domain"),
        _columns.queue == bindparam("of_queue"),
        _columns.duration.is_not(None),
        _columns.outcome != "spam",
    )
    .order_by(desc(_columns.day), desc(_columns.question))
    .limit(bindparam("most"))
)

_any_older = Prepared(select(_columns.question).where(_columns.day < bindparam("before")).limit(1))


@frozen
class Statistics:
    """The counted facts of one question.

    `day` (ISO date), `hour` and `weekday` (Monday is 0) are local where the queue is.
    `staffed`: somebody was on duty when it was asked. `wait` is the seconds until the first
    claim, `duration` from there to the close, `gaps` the seconds between messages.
    """

    question: int
    domain: str
    queue: str
    channel: str
    language: str
    day: str
    hour: int
    weekday: int
    staffed: bool
    wait: float | None = None
    duration: float | None = None
    patron_messages: int = 0
    staff_messages: int = 0
    gaps: tuple[float, ...] = ()
    transfers: int = 0
    releases: int = 0
    kind: str = ""
    read_level: int | None = None
    outcome: str = ""


def add(connection: Connection, statistics: Statistics) -> None:
    """Add the row of a new question."""
    values = asdict(statistics) | {"gaps": json.dumps(statistics.gaps)}
    connection.execute(insert(question_statistics).values(values))


def change(connection: Connection, question_id: int, **values: Any) -> None:
    """Set columns of a question's row; nothing happens if it has none (practice)."""
    if "gaps" in values:
        values["gaps"] = json.dumps(values["gaps"])
    connection.execute(update(question_statistics).where(_columns.question == question_id).values(values))


def count(connection: Connection, question_id: int, column: str) -> None:
    """Add one to `transfers` or `releases`."""
    counted = question_statistics.c[column]
    connection.execute(
        update(question_statistics).where(_columns.question == question_id).values({column: counted + 1})
    )


def of(connection: Connection, question_id: int) -> Statistics | None:
    """The row of a question."""
    found = connection.execute(select(question_statistics).where(_columns.question == question_id)).first()
    return None if found is None else _statistics(found)


def rows(
    connection: Connection, domain: str, queue: str = "", first_day: str = "", last_day: str = ""
) -> list[Statistics]:
    """The rows of a library, or of one queue of it, of days from `first_day` to `last_day` (ISO dates)."""
    query = select(question_statistics).where(_columns.domain == domain)
    if queue:
        query = query.where(_columns.queue == queue)
    if first_day:
        query = query.where(_columns.day >= first_day)
    if last_day:
        query = query.where(_columns.day <= last_day)
    return [_statistics(row) for row in connection.execute(query.order_by(_columns.question))]


def recent_durations(connection: Connection, domain: str, queue: str, limit: int = 20) -> list[float]:
    """Return the seconds that a queue's newest finished questions took, without spam."""
    found = _recent_durations.rows(connection, of_domain=domain, of_queue=queue, most=limit)
    return [row[0] for row in found]


def is_older(connection: Connection, day: str) -> bool:
    """Return True if there is a row of a day before `day` (ISO date)."""
    return _any_older.row(connection, before=day) is not None


def delete_older(connection: Connection, day: str, limit: int) -> int:
    """Delete rows of days before `day`, `limit` at most; how many there were."""
    old = select(_columns.question).where(_columns.day < day).limit(limit)
    return connection.execute(delete(question_statistics).where(_columns.question.in_(old))).rowcount


def _statistics(row: Row[Any]) -> Statistics:
    values = dict(row._mapping) | {"gaps": tuple(json.loads(row.gaps))}
    return Statistics(**values)
