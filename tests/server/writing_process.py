"""A process that writes to a database and prints what was acknowledged; run by tests.

python writing_process.py stream FILE START      until it is killed, several writes under way
python writing_process.py add FILE PREFIX COUNT  so many writes, one after the other
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from sqlalchemy import Connection

from refserver.storage import Database, libraries

UNDER_WAY = 8


def add(connection: Connection, domain: str) -> str:
    """A row in each of two tables, so that half a job could be told from a whole one."""
    libraries.add(connection, domain, "")
    connection.exec_driver_sql(
        "INSERT INTO accounts (library, jid, created, roster_version)"
        " SELECT id, domain, 1.0, 1 FROM libraries WHERE domain = :domain",
        {"domain": domain},
    )
    return domain


def stream(path: str, start: int) -> None:
    """Write for ever; a line is printed once a write was acknowledged."""
    calls: SimpleQueue[tuple[Callable[..., object], tuple[Any, ...]]] = SimpleQueue()
    database = Database.open(path, lambda function, *args: calls.put((function, args)))

    def next_write(number: int) -> None:
        writing = database.write(add, f"{number}.example")
        writing.addCallback(acknowledged, number)

    def acknowledged(domain: str, number: int) -> None:
        print(domain, flush=True)
        next_write(number + UNDER_WAY)

    for number in range(start, start + UNDER_WAY):
        next_write(number)
    while True:
        function, args = calls.get()
        function(*args)


def add_many(path: str, prefix: str, count: int) -> None:
    """Write as the command line does."""
    database = Database.open(path)
    for number in range(count):
        database.write_now(add, f"{prefix}{number}.example")
    database.close_now()


if __name__ == "__main__":
    if sys.argv[1] == "stream":
        stream(sys.argv[2], int(sys.argv[3]))
    else:
        add_many(sys.argv[2], sys.argv[3], int(sys.argv[4]))
