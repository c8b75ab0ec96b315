"""The cost of the database: microseconds of CPU and of waiting for a read and a write.

    python -m benchmarks.storage [FOLDER]

The folder is where the database is made: figures are those of its disk.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Connection
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.task import react

from refserver.jid import JID
from refserver.sasl.verifier import Verifier
from refserver.storage import Database, accounts, libraries, offline, rosters

ACCOUNTS = [JID.parse(f"patron{number}@library.example") for number in range(500)]
VERIFIERS = {name: Verifier(name, b"s" * 16, 10_000, b"k" * 32, b"v" * 32) for name in ("SHA-1", "SHA-256")}
MESSAGE = b"<message xmlns='jabber:client'>" + b"x" * 300 + b"</message>"


def fill(connection: Connection) -> None:
    """A library with all accounts."""
    libraries.add(connection, "library.example", "")
    for account in ACCOUNTS:
        accounts.add(connection, account, VERIFIERS, time.time())


def nothing(connection: Connection) -> None:
    """A job of no work: what remains is the way to the thread and back."""


async def measure(name: str, call: Callable[[int], Deferred[Any]], count: int, together: int) -> None:
    """Call `count` times, `together` at a time, and print what one of them cost."""
    await call(0)
    started, cpu, own = time.perf_counter(), time.process_time(), time.thread_time()
    for first in range(0, count, together):
        await gatherResults([call(number) for number in range(first, first + together)])
    figures = (time.perf_counter() - started, time.process_time() - cpu, time.thread_time() - own)
    elapsed, all_cpu, reactor_cpu = (seconds / count * 1e6 for seconds in figures)
    figures_text = f"{elapsed:7.1f} elapsed {all_cpu:7.1f} CPU {reactor_cpu:6.1f} reactor"
    print(f"{name:28}{together:4} at a time: {figures_text}")


def measure_alone(connection: Connection, name: str, call: Callable[[Connection, int], object]) -> None:
    """Call without threads: what the statements themselves cost."""
    call(connection, 0)
    own = time.thread_time()
    for number in range(3000):
        call(connection, number % len(ACCOUNTS))
    print(f"{name:28}{'alone':>14}: {(time.thread_time() - own) / 3000 * 1e6:8.1f} CPU")


def save_item(connection: Connection, number: int) -> int:
    """Add or change a roster item."""
    contact = ACCOUNTS[number * 7 % len(ACCOUNTS)]
    return rosters.save(connection, ACCOUNTS[number], rosters.RosterItem(contact, groups=("Friends",)))


async def run(database: Database) -> None:
    """All measurements."""
    database.write_now(fill)
    jobs: list[tuple[str, Callable[[int], Deferred[Any]], int]] = [
        ("read nothing", lambda _: database.read(nothing), 5000),
        ("read verifiers", lambda n: database.read(accounts.verifiers, ACCOUNTS[n % 500]), 5000),
        ("write nothing", lambda _: database.write(nothing), 5000),
        (
            "write an offline message",
            lambda n: database.write(offline.store, ACCOUNTS[n % 500], MESSAGE, time.time(), 0),
            5000,
        ),
    ]
    for name, call, count in jobs:
        await measure(name, call, count // 10, 1)
        await measure(name, call, count, 100)
    statements: list[tuple[str, Callable[[Connection, int], object]]] = [
        ("verifiers", lambda c, n: accounts.verifiers(c, ACCOUNTS[n])),
        ("load a roster of none", lambda c, n: rosters.load(c, ACCOUNTS[n])),
        ("store an offline message", lambda c, n: offline.store(c, ACCOUNTS[n], MESSAGE, 1.0, 100)),
        ("save a roster item", save_item),
    ]
    for name, statement in statements:
        database.write_now(measure_alone, name, statement)
    await database.close()


def main(folder: str | None = None) -> None:
    """Measure in a database made for it."""
    with tempfile.TemporaryDirectory(dir=folder) as made:
        database = Database.open(Path(made) / "refserver.sqlite", reactor.callFromThread)  # type: ignore[attr-defined]  # the module is the reactor
        react(lambda _: ensureDeferred(run(database)))


if __name__ == "__main__":
    main(*sys.argv[1:])
