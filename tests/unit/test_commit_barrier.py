"""What waits for the database before other servers are told."""

from __future__ import annotations

from functools import partial

from twisted.internet.defer import Deferred

from refserver.core.commit_barrier import CommitBarrier


class Database:
    """Hands out a Deferred for each question, as long as it is busy."""

    def __init__(self) -> None:
        self.busy = False
        self.asked: list[Deferred[None]] = []

    def written(self) -> Deferred[None] | None:
        if not self.busy:
            return None
        self.asked.append(Deferred())
        return self.asked[-1]


def test_where_nothing_is_written_calls_are_made_at_once_and_in_order():
    told: list[int] = []
    durable = CommitBarrier(Database().written)
    for number in range(3):
        durable.then(partial(told.append, number))
        assert list(range(number + 1)) == told


def test_calls_wait_for_what_was_written_before_them():
    database = Database()
    told: list[object] = []
    durable = CommitBarrier(database.written)
    database.busy = True
    durable.then(lambda: told.append("first"))
    durable.then(lambda: told.append("second"))
    assert [] == told
    database.asked[0].callback(None)
    assert ["first"] == told, "more was written before the second"
    database.busy = False
    database.asked[1].callback(None)
    assert ["first", "second"] == told


def test_however_many_calls_wait_the_writer_is_asked_once():
    database = Database()
    told: list[object] = []
    durable = CommitBarrier(database.written)
    database.busy = True
    for number in range(1_000):
        durable.then(partial(told.append, number))
    assert 1 == len(database.asked)
    database.asked[0].callback(None)
    assert (2, [0]) == (len(database.asked), told)
    database.asked[1].callback(None)
    assert list(range(1_000)) == told
    database.busy = False
    durable.then(lambda: told.append(-1))
    assert -1 == told[-1]


def test_a_write_that_fails_does_not_keep_calls_waiting():
    database = Database()
    told: list[object] = []
    durable = CommitBarrier(database.written)
    database.busy = True
    durable.then(lambda: told.append("told"))
    database.asked[0].errback(OSError("the disk is full"))
    assert ["told"] == told


def test_a_call_that_fails_does_not_keep_others_from_being_made():
    told: list[str] = []
    durable = CommitBarrier(Database().written)
    durable.then(lambda: told.remove("nothing"))
    durable.then(lambda: told.append("told"))
    assert ["told"] == told
