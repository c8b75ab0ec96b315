"""The database and other processes: killed while they write, or writing at the same time."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from random import Random
from typing import Any

import pytest
from twisted.internet.defer import gatherResults

from refserver.storage import Database, libraries

PROGRAM = Path(__file__).with_name("writing_process.py")
ROUNDS = 12
DEADLINE = 60.0


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(PROGRAM), *map(str, arguments)]
    root = str(PROGRAM.parents[2])
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=root, env={**os.environ, "PYTHONPATH": root}
    )


def killed_after(process: subprocess.Popen[str], lines: int) -> list[str]:
    """Kill -9 once it has printed so many lines; everything that it printed."""
    assert process.stdout is not None
    printed = [process.stdout.readline() for _ in range(lines)]
    process.kill()
    printed += process.stdout.readlines()
    process.wait(DEADLINE)
    process.stdout.close()
    return [line.removesuffix("\n") for line in printed if line.endswith("\n")]


@pytest.mark.slow
def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "refserver.sqlite"
    Database.open(path).close_now()
    random = Random(20)
    acknowledged: set[str] = set()
    for number in range(ROUNDS):
        printed = killed_after(start("stream", path, number * 1_000_000), random.randrange(1, 120))
        assert printed
        acknowledged.update(printed)
        database = Database.open(path)
        kept = {library.domain for library in database.read_now(libraries.list)}
        database.close_now()
        assert acknowledged <= kept
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        halves = "SELECT count(*) FROM libraries WHERE domain NOT IN (SELECT jid FROM accounts)"
        assert connection.execute(halves).fetchone() == (0,)


def test_two_processes_write_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "refserver.sqlite"
    calls: SimpleQueue[tuple[Callable[..., object], tuple[Any, ...]]] = SimpleQueue()
    database = Database.open(path, lambda function, *args: calls.put((function, args)))
    other = start("add", path, "other", 100)
    written: list[str] = []
    ended: list[object] = []

    def add_next(number: int) -> None:
        writing = [database.write(libraries.add, f"own{number}-{part}.example", "") for part in range(3)]
        gatherResults(writing).addCallbacks(lambda _: again(number), ended.append)

    def again(number: int) -> None:
        written.extend(f"own{number}-{part}.example" for part in range(3))
        if other.poll() is None:
            add_next(number + 1)
        else:
            database.close().addBoth(ended.append)

    add_next(0)
    while not ended:
        function, args = calls.get(timeout=DEADLINE)
        function(*args)
    assert ended == [None]
    assert other.wait(DEADLINE) == 0
    with sqlite3.connect(path) as connection:
        kept = {row[0] for row in connection.execute("SELECT domain FROM libraries")}
    assert kept == {*written, *(f"other{number}.example" for number in range(100))}
    if other.stdout is not None:
        other.stdout.close()
