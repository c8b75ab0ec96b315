"""The pace of commits: at once when quiet, rests when busy."""

from __future__ import annotations

from refserver.storage.worker import CREDIT, LONGEST_REST, SHARE, CommitThrottle


class Hands:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_commits_now_and_then_never_rest() -> None:
    clock = Hands()
    pace = CommitThrottle(clock)
    for _ in range(1000):
        clock.now += 0.1
        pace.spend(0.01)
        assert pace.rest() == 0


def test_a_burst_does_not_rest_before_its_credit_is_spent() -> None:
    pace = CommitThrottle(Hands())
    commits = 0
    while not pace.rest():
        pace.spend(0.002)
        commits += 1
    assert CREDIT / 0.002 <= commits <= CREDIT / 0.002 + 1


def test_under_load_commits_take_their_share_of_the_time() -> None:
    clock = Hands()
    pace = CommitThrottle(clock)
    committing = 0.0
    while clock.now < 1060:
        clock.now += 0.002
        committing += 0.002
        pace.spend(0.002)
        clock.now += pace.rest()
    assert SHARE * 0.95 < committing / 60 < SHARE * 1.05


def test_one_slow_commit_costs_one_rest() -> None:
    clock = Hands()
    pace = CommitThrottle(clock)
    pace.spend(30.0)
    assert 0 < pace.rest() <= LONGEST_REST
    clock.now += LONGEST_REST
    pace.spend(0.0)
    assert pace.rest() < 1e-9


def test_long_silence_gives_no_more_than_the_usual_credit() -> None:
    clock = Hands()
    pace = CommitThrottle(clock)
    clock.now += 86_400
    pace.spend(CREDIT + 0.001)
    assert pace.rest() > 0
