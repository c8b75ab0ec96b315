"""Places for work that strangers can cause: bounds, and who yields to whom when all are taken."""

from __future__ import annotations

from refserver.s2s.attempts import Attempts, Shares


class Task:
    """Takes a place at once, and keeps it until it is told to give up."""

    def __init__(self, shares: Shares, owner: str) -> None:
        self.shares, self.owner, self.running = shares, owner, True
        shares.take(owner, self.give_up)

    def give_up(self) -> None:
        self.running = False
        self.shares.release(self.owner, self.give_up)


def test_one_owner_has_a_bound():
    shares = Shares(10, 2)
    tasks = [Task(shares, "mia") for _ in range(2)]
    assert not shares.may_take("mia")
    assert shares.may_take("ben")
    tasks[0].give_up()
    assert shares.may_take("mia")


def test_when_all_places_are_taken_the_greediest_owner_loses_the_oldest():
    shares = Shares(4, 3)
    greedy = [Task(shares, "greedy") for _ in range(3)]
    Task(shares, "ben")
    assert shares.may_take("mia")
    mia = Task(shares, "mia")
    assert [False, True, True] == [task.running for task in greedy]
    assert (True, 4) == (mia.running, len(shares))


def test_nobody_yields_to_an_owner_who_has_as_much():
    shares = Shares(4, 4)
    for owner in ("mia", "mia", "ben", "ben"):
        Task(shares, owner)
    assert not shares.may_take("mia")
    assert shares.may_take("zoe")
    Task(shares, "zoe")
    assert not shares.may_take("zoe")


def test_one_site_has_a_bound_that_leaves_others_under_a_registry_alone():
    attempts = Attempts()
    count = 0
    while attempts.may_begin(None, f"hole{count}.evil.co.uk"):
        attempts.begin(None, f"hole{count}.evil.co.uk", lambda: None)
        count += 1
    assert attempts.may_begin(None, "town.co.uk")
    assert attempts.may_begin(None, "evil.example.uk")
