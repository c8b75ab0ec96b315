"""What strangers may do is counted, and the counting itself is bounded."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from refserver.c2s import delays
from refserver.c2s.delays import Delays
from refserver.core import limits
from refserver.core.limits import Quota

HOUR = 3600.0


class TestQuota:
    def test_each_key_has_the_limit_and_no_more(self) -> None:
        quota = Quota(2, HOUR, Clock().seconds)
        assert [True, True, False] == [quota.spend("a") for _ in range(3)]
        assert quota.spend("b")

    def test_it_refills_evenly(self) -> None:
        clock = Clock()
        quota = Quota(2, HOUR, clock.seconds)
        for _ in range(3):
            quota.spend("a")
        clock.advance(HOUR / 2 - 1)
        assert not quota.spend("a")
        clock.advance(1)
        assert [True, False] == [quota.spend("a"), quota.spend("a")]

    def test_what_was_refused_costs_nothing(self) -> None:
        clock = Clock()
        quota = Quota(1, HOUR, clock.seconds)
        quota.spend("a")
        for _ in range(10):
            clock.advance(HOUR / 20)
            assert not quota.spend("a")
        clock.advance(HOUR / 2)
        assert quota.spend("a")

    def test_nobody_saves_up_more_than_the_limit(self) -> None:
        clock = Clock()
        quota = Quota(2, HOUR, clock.seconds)
        quota.spend("a")
        clock.advance(100 * HOUR)
        assert [True, True, False] == [quota.spend("a") for _ in range(3)]

    def test_no_limit_is_none(self) -> None:
        quota = Quota(0, HOUR, Clock().seconds)
        assert all(quota.spend("a") for _ in range(100))

    def test_the_least_recently_used_keys_are_forgotten(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(limits, "MOST_KEYS", 2)
        quota = Quota(1, HOUR, Clock().seconds)
        quota.spend("a")
        quota.spend("b")
        quota.spend("a")
        quota.spend("c")
        assert [False, False, True] == [quota.spend(key) for key in ("a", "c", "b")]


class TestDelays:
    def test_three_failures_are_free(self) -> None:
        waiting = Delays(Clock().seconds)
        for _ in range(3):
            waiting.failed("address")
        assert 0.0 == waiting.wait("address")

    def test_each_further_failure_doubles_the_wait_up_to_ten_seconds(self) -> None:
        waiting = Delays(Clock().seconds)
        waits = []
        for _ in range(10):
            waiting.failed("address")
            waits.append(waiting.wait("address"))
        assert [0.0, 0.0, 0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0] == waits

    def test_the_worst_of_all_keys_counts(self) -> None:
        waiting = Delays(Clock().seconds)
        for _ in range(4):
            waiting.failed("address", "account")
        waiting.failed("account")
        assert 1.0 == waiting.wait("address", "account", "nobody") == waiting.wait("account")
        assert (0.5, 0.0, 0.0) == (waiting.wait("address"), waiting.wait("nobody"), waiting.wait())

    def test_success_forgets_the_failures_of_its_keys_only(self) -> None:
        waiting = Delays(Clock().seconds)
        for _ in range(4):
            waiting.failed("address", "account")
        waiting.succeeded("account", "nobody")
        assert (0.0, 0.5) == (waiting.wait("account"), waiting.wait("address"))

    def test_failures_are_forgotten_some_time_after_the_last(self) -> None:
        clock = Clock()
        waiting = Delays(clock.seconds)
        for _ in range(4):
            waiting.failed("address")
        clock.advance(599)
        assert 0.5 == waiting.wait("address")
        clock.advance(1)
        assert 0.0 == waiting.wait("address")
        waiting.failed("address")
        assert 0.0 == waiting.wait("address")

    def test_memory_is_bounded_and_the_oldest_are_forgotten(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(delays, "MOST_KEYS", 2)
        waiting = Delays(Clock().seconds)
        for _ in range(4):
            waiting.failed("a", "b")
        waiting.failed("a")
        waiting.failed("c")
        assert (1.0, 0.0) == (waiting.wait("a"), waiting.wait("b"))
