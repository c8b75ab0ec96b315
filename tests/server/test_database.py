"""The database with its threads: order, group commit, failures, closing."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection, event
from twisted.internet.defer import Deferred, gatherResults

from refserver.storage import Database, DatabaseClosed, libraries, worker

T = TypeVar("T")
DEADLINE = 20.0


class Turns:
    """The reactor's thread, as far as a database needs one: runs what other threads ask for."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[tuple[Callable[..., object], tuple[Any, ...]]] = SimpleQueue()
        self.calls = 0

    def call_from_thread(self, function: Callable[..., object], /, *args: Any) -> None:
        self._queue.put((function, args))

    def until(self, deferred: Deferred[T]) -> T:
        """Run turns until `deferred` has fired, and give its result or raise its exception."""
        results: list[Any] = []
        failures: list[Any] = []
        deferred.addCallbacks(results.append, failures.append)
        end = time.monotonic() + DEADLINE
        while not results and not failures:
            function, args = self._queue.get(timeout=max(0.0, end - time.monotonic()))
            self.calls += 1
            function(*args)
        if failures:
            failures[0].raiseException()
        result: T = results[0]
        return result

    def quiet(self, seconds: float) -> bool:
        """True if no thread asks for anything for so long."""
        try:
            self._queue.put(self._queue.get(timeout=seconds))
        except Empty:
            return True
        return False


@pytest.fixture
def turns() -> Turns:
    """The thread of the test as the reactor's."""
    return Turns()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of the database."""
    return tmp_path / "refserver.sqlite"


@pytest.fixture
def database(path: Path, turns: Turns) -> Iterator[Database]:
    """A database in a file, with threads."""
    database = Database.open(path, turns.call_from_thread)
    yield database
    turns.until(database.close())


def add(connection: Connection, domain: str) -> str:
    libraries.add(connection, domain, "")
    return domain


def domains(connection: Connection) -> list[str]:
    rows = connection.exec_driver_sql("SELECT domain FROM libraries ORDER BY id")
    return [row[0] for row in rows]


def add_and_fail(connection: Connection, domain: str) -> None:
    add(connection, domain)
    raise RuntimeError(f"after {domain}")


class Gate:
    """Holds the writer inside a job, so that what is queued meanwhile becomes one batch."""

    def __init__(self, database: Database, turns: Turns) -> None:
        self._opened = threading.Event()
        entered = threading.Event()

        def hold(connection: Connection) -> None:
            entered.set()
            assert self._opened.wait(DEADLINE)

        self.passed = database.write(hold)
        assert entered.wait(DEADLINE)

    def open(self) -> None:
        self._opened.set()


def count_commits(database: Database, turns: Turns) -> list[Any]:
    """A list that grows with each commit of the writer."""
    commits: list[Any] = []

    def listen(connection: Connection) -> None:
        event.listen(connection.engine, "commit", commits.append)

    turns.until(database.write(listen))
    commits.clear()
    return commits


def test_a_write_gives_its_result_once_another_process_could_see_it(
    database: Database, turns: Turns, path: Path
) -> None:
    assert turns.until(database.write(add, "a.example")) == "a.example"
    assert sqlite3.connect(path).execute("SELECT domain FROM libraries").fetchall() == [("a.example",)]


def test_a_read_sees_every_write_that_was_answered(database: Database, turns: Turns) -> None:
    for number in range(20):
        turns.until(database.write(add, f"{number}.example"))
        assert f"{number}.example" in turns.until(database.read(domains))


def test_a_read_sees_nothing_of_a_write_under_way(database: Database, turns: Turns) -> None:
    inserted, seen = threading.Event(), threading.Event()

    def insert_and_wait(connection: Connection) -> None:
        add(connection, "a.example")
        inserted.set()
        assert seen.wait(DEADLINE)

    writing = database.write(insert_and_wait)
    assert inserted.wait(DEADLINE)
    assert turns.until(database.read(domains)) == []
    seen.set()
    turns.until(writing)


def test_writes_are_answered_in_the_order_of_the_calls(database: Database, turns: Turns) -> None:
    order: list[str] = []
    writes = [database.write(add, f"{n}.example").addCallback(order.append) for n in range(1000)]
    turns.until(gatherResults(writes))
    assert order == [f"{n}.example" for n in range(1000)] == turns.until(database.read(domains))


def test_it_is_known_when_all_that_was_written_is_durable(database: Database, turns: Turns) -> None:
    assert database.written() is None
    order: list[str] = []
    first = database.write(add, "a.example").addCallback(order.append)
    failing = database.write(add_and_fail, "b.example").addErrback(lambda _: order.append("failed"))
    written = database.written()
    assert written is not None
    later = database.write(add, "c.example").addCallback(order.append)
    turns.until(written.addCallback(lambda _: order.append("written")))
    turns.until(gatherResults([first, failing, later]))
    assert order == ["a.example", "failed", "written", "c.example"]
    assert database.written() is None


def test_writes_of_one_turn_share_one_commit_and_one_wake_up(database: Database, turns: Turns) -> None:
    commits = count_commits(database, turns)
    gate = Gate(database, turns)
    writes = [database.write(add, f"{n}.example") for n in range(50)]
    gate.open()
    turns.until(gate.passed)
    turns.calls = 0
    turns.until(gatherResults(writes))
    assert len(commits) == 2  # the gate's, and one for the fifty
    assert turns.calls == 1


def test_an_exception_undoes_and_fails_its_own_job_only(database: Database, turns: Turns) -> None:
    gate = Gate(database, turns)
    before = database.write(add, "before.example")
    failing = database.write(add_and_fail, "failing.example")
    after = database.write(add, "after.example")
    gate.open()
    with pytest.raises(RuntimeError, match="after failing"):
        turns.until(failing)
    assert turns.until(before) == "before.example"
    assert turns.until(after) == "after.example"
    assert turns.until(database.read(domains)) == ["before.example", "after.example"]


def test_an_exception_of_a_job_alone_undoes_it(database: Database, turns: Turns) -> None:
    with pytest.raises(RuntimeError):
        turns.until(database.write(add_and_fail, "failing.example"))
    assert turns.until(database.read(domains)) == []
    assert turns.until(database.write(add, "next.example")) == "next.example"


def test_an_exit_in_a_job_does_not_end_the_writer(database: Database, turns: Turns) -> None:
    def leave(connection: Connection) -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        turns.until(database.write(leave))
    assert turns.until(database.write(add, "next.example")) == "next.example"


def test_savepoints_of_a_job_are_its_own(database: Database, turns: Turns) -> None:
    def partly(connection: Connection) -> None:
        add(connection, "kept.example")
        with pytest.raises(RuntimeError), connection.begin_nested():
            add_and_fail(connection, "dropped.example")

    gate = Gate(database, turns)
    writes: list[Deferred[Any]] = [database.write(partly), database.write(add, "other.example")]
    gate.open()
    turns.until(gatherResults(writes))
    assert turns.until(database.read(domains)) == ["kept.example", "other.example"]


def break_commit(connection: Connection) -> None:
    """Leave a reference to nothing, which is looked at when the transaction commits."""
    connection.exec_driver_sql("PRAGMA defer_foreign_keys=ON")
    connection.exec_driver_sql("INSERT INTO vcards (account, element) VALUES (77, '')")


def test_a_commit_that_fails_fails_every_job_of_its_group(database: Database, turns: Turns) -> None:
    gate = Gate(database, turns)
    jobs: list[Deferred[Any]] = [
        database.write(add, "first.example"),
        database.write(break_commit),
        database.write(add_and_fail, "failing.example"),
        database.write(add, "last.example"),
    ]
    gate.open()
    for job, error in zip(jobs, (Exception, Exception, RuntimeError, Exception), strict=True):
        with pytest.raises(error, match="after failing" if error is RuntimeError else "FOREIGN KEY"):
            turns.until(job)
    assert turns.until(database.read(domains)) == []
    assert turns.until(database.write(add, "next.example")) == "next.example"


def test_what_is_acknowledged_when_the_disk_is_full_is_there(
    database: Database, turns: Turns, path: Path
) -> None:
    def fill(connection: Connection) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 2}")

    def add_large(connection: Connection) -> None:
        libraries.add(connection, "large.example", "x" * 100_000)

    turns.until(database.write(fill))
    gate = Gate(database, turns)
    acknowledged: list[str] = []
    refused: list[object] = []
    jobs: list[Deferred[Any]] = [
        database.write(add, "before.example"),
        database.write(add_large),
        database.write(add, "after.example"),
    ]
    for job in jobs:
        job.addCallbacks(acknowledged.append, refused.append)
    gate.open()
    turns.until(gatherResults(jobs))
    assert len(acknowledged) + len(refused) == 3
    assert refused
    assert turns.until(database.read(domains)) == acknowledged


def test_a_reader_cannot_write(database: Database, turns: Turns) -> None:
    with pytest.raises(Exception, match="readonly"):
        turns.until(database.read(add, "a.example"))
    assert turns.until(database.read(domains)) == []


def test_reads_of_one_turn_come_back_together_each_with_its_own_result(
    database: Database, turns: Turns
) -> None:
    def echo(connection: Connection, number: int) -> int:
        if number == 13:
            raise RuntimeError("thirteen")
        return number

    reads = [database.read(echo, number) for number in range(200)]
    failing = reads.pop(13)
    assert turns.until(gatherResults(reads)) == [number for number in range(200) if number != 13]
    with pytest.raises(RuntimeError, match="thirteen"):
        turns.until(failing)
    assert turns.calls < 200


def test_a_long_read_does_not_hold_up_the_others(database: Database, turns: Turns) -> None:
    entered, leave = threading.Event(), threading.Event()

    def long(connection: Connection) -> None:
        entered.set()
        assert leave.wait(DEADLINE)

    reading = database.read(long)
    assert entered.wait(DEADLINE)
    assert turns.until(database.read(domains)) == []
    leave.set()
    turns.until(reading)


def test_closing_commits_and_answers_everything_that_was_queued(path: Path, turns: Turns) -> None:
    database = Database.open(path, turns.call_from_thread)
    writes = [database.write(add, f"{n}.example") for n in range(600)]
    read = database.read(domains)
    turns.until(database.close())
    assert all(write.called for write in writes)
    assert read.called
    assert sqlite3.connect(path).execute("SELECT count(*) FROM libraries").fetchone() == (600,)


def test_jobs_after_closing_are_refused(path: Path, turns: Turns) -> None:
    database = Database.open(path, turns.call_from_thread)
    turns.until(database.write(add, "a.example"))
    closing = database.close()
    jobs: list[Deferred[Any]] = [database.write(add, "late.example"), database.read(domains)]
    for late in jobs:
        with pytest.raises(DatabaseClosed):
            turns.until(late)
    turns.until(closing)
    turns.until(database.close())
    assert sqlite3.connect(path).execute("SELECT domain FROM libraries").fetchall() == [("a.example",)]


def test_a_database_that_was_never_used_closes(path: Path, turns: Turns) -> None:
    turns.until(Database.open(path, turns.call_from_thread).close())


def test_closing_ends_the_threads_and_leaves_one_file(path: Path, turns: Turns) -> None:
    before = set(threading.enumerate())
    database = Database.open(path, turns.call_from_thread)
    used: list[Deferred[Any]] = [database.write(add, "a.example"), database.read(domains)]
    turns.until(gatherResults(used))
    threads = set(threading.enumerate()) - before
    assert len(threads) == 3
    turns.until(database.close())
    for thread in threads:
        thread.join(DEADLINE)
    assert not any(thread.is_alive() for thread in threads)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_the_disk_is_synced_at_each_commit(database: Database, turns: Turns) -> None:
    def pragmas(connection: Connection) -> list[object]:
        names = ("journal_mode", "synchronous", "foreign_keys", "secure_delete")
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in names]

    assert turns.until(database.write(pragmas)) == ["wal", 2, 1, 1]


def busy_timeout(connection: Connection, milliseconds: int) -> None:
    connection.exec_driver_sql(f"PRAGMA busy_timeout={milliseconds}")


def test_the_writer_waits_for_another_process_transaction(
    database: Database, turns: Turns, path: Path
) -> None:
    turns.until(database.write(busy_timeout, 10))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writing = database.write(add, "a.example")
    assert turns.quiet(0.2)  # many times the time-out: it tries again and again
    assert turns.until(database.read(domains)) == []
    other.execute("COMMIT")
    assert turns.until(writing) == "a.example"


def test_a_lock_that_does_not_end_fails_the_jobs_and_the_next_ones_work(
    database: Database, turns: Turns, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "LOCK_SECONDS", 0.05)
    turns.until(database.write(busy_timeout, 10))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        turns.until(database.write(add, "a.example"))
    other.execute("COMMIT")
    assert turns.until(database.write(add, "b.example")) == "b.example"
    assert turns.until(database.read(domains)) == ["b.example"]


def test_closing_does_not_wait_for_a_lock_for_long(path: Path, turns: Turns) -> None:
    database = Database.open(path, turns.call_from_thread)
    turns.until(database.write(busy_timeout, 10))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writing = database.write(add, "a.example")
    started = time.monotonic()
    turns.until(database.close())
    assert time.monotonic() - started < worker.LOCK_SECONDS / 2
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        turns.until(writing)


def test_the_command_line_reads_and_writes_without_threads(path: Path, turns: Turns) -> None:
    before = threading.active_count()
    database = Database.open(path)
    assert database.write_now(add, "a.example") == "a.example"
    with pytest.raises(RuntimeError):
        database.write_now(add_and_fail, "b.example")
    assert database.read_now(domains) == ["a.example"]
    with pytest.raises(Exception, match="readonly"):
        database.read_now(add, "c.example")
    assert threading.active_count() == before
    database.close_now()


def test_a_database_in_memory_answers_at_once(turns: Turns) -> None:
    database = Database.memory()
    assert turns.until(database.write(add, "a.example")) == "a.example"
    with pytest.raises(RuntimeError):
        turns.until(database.write(add_and_fail, "b.example"))
    assert turns.until(database.read(domains)) == ["a.example"] == database.read_now(domains)
    with pytest.raises(Exception, match="readonly"):
        turns.until(database.read(add, "c.example"))
    assert database.write_now(add, "d.example") == "d.example"
    assert Database.memory().read_now(domains) == []
    turns.until(database.close())
    with pytest.raises(DatabaseClosed):
        turns.until(database.write(add, "late.example"))


def test_a_database_in_memory_can_hold_its_answers_back() -> None:
    held: list[tuple[Callable[..., object], tuple[Any, ...]]] = []
    database = Database.memory(lambda function, *args: held.append((function, args)))
    writing = database.write(add, "a.example")
    written = database.written()
    assert written is not None
    assert not writing.called
    for function, args in held:
        assert not written.called
        function(*args)
    assert writing.result == "a.example"
    assert written.called
    assert database.written() is None
