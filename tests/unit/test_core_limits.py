"""Quotas of strangers and delays of who guesses, on a clock of our own."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from refserver.c2s import service
from refserver.c2s.service import FORGOTTEN, FREE, LONGEST, LoginThrottle
from refserver.core import limits
from refserver.core.limits import Quota
from refserver.net.receiver import PeerAddress


@pytest.fixture
def clock() -> Clock:
    return Clock()


# -- quotas --------------------------------------------------------------------------------


def test_a_key_has_the_whole_limit_at_once(clock: Clock) -> None:
    quota = Quota(5, 3600, clock.seconds)
    assert [True] * 5 + [False] * 3 == [quota.spend("a") for _ in range(8)]
    assert quota.spend("b")


def test_it_is_refilled_evenly_and_not_beyond_the_limit(clock: Clock) -> None:
    quota = Quota(5, 3600, clock.seconds)
    for _ in range(5):
        quota.spend("a")
    clock.advance(719)
    assert not quota.spend("a")
    clock.advance(1)
    assert [True, False] == [quota.spend("a"), quota.spend("a")]
    clock.advance(1_000_000)
    assert [True] * 5 + [False] == [quota.spend("a") for _ in range(6)]


def test_refused_acts_cost_nothing(clock: Clock) -> None:
    quota = Quota(1, 8, clock.seconds)
    quota.spend("a")
    for _ in range(7):
        clock.advance(1)
        assert not quota.spend("a")
    clock.advance(1)
    assert quota.spend("a")


def test_no_limit_is_none(clock: Clock) -> None:
    quota = Quota(0, 3600, clock.seconds)
    assert all(quota.spend("a") for _ in range(1000))
    assert {} == quota._keys


def test_the_memory_of_keys_is_bounded_and_the_latest_stay(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MOST_KEYS", 3)
    quota = Quota(1, 3600, clock.seconds)
    for key in "abcd":
        quota.spend(key)
    assert ["b", "c", "d"] == list(quota._keys)
    assert not quota.spend("b")
    quota.spend("e")
    assert ["d", "b", "e"] == list(quota._keys)


# -- log-ins --------------------------------------------------------------------------------


def test_each_failure_beyond_the_first_ones_doubles_the_wait(clock: Clock) -> None:
    delays = LoginThrottle(clock.seconds)
    waits = []
    for _ in range(12):
        waits.append(delays.wait("address", "account"))
        delays.failed("address", "account")
    assert [0.0] * (FREE + 1) + [0.5, 1.0, 2.0, 4.0, 8.0, LONGEST, LONGEST, LONGEST] == waits


def test_the_longest_wait_counts(clock: Clock) -> None:
    delays = LoginThrottle(clock.seconds)
    for _ in range(FREE + 2):
        delays.failed("address")
    assert 1.0 == delays.wait("address", "account") == delays.wait("address")
    assert 0.0 == delays.wait("account") == delays.wait()


def test_success_forgives_the_account_and_not_the_address(clock: Clock) -> None:
    """Or who has an account could go on guessing others' passwords."""
    delays = LoginThrottle(clock.seconds)
    for _ in range(FREE + 1):
        delays.failed("address", "account")
    delays.succeeded("account")
    assert 0.0 == delays.wait("account")
    assert 0.5 == delays.wait("address")


def test_failures_are_forgotten_after_a_while_without_any(clock: Clock) -> None:
    delays = LoginThrottle(clock.seconds)
    for _ in range(FREE + 1):
        clock.advance(FORGOTTEN - 1)
        delays.failed("account")
    assert 0.5 == delays.wait("account")
    clock.advance(FORGOTTEN)
    assert 0.0 == delays.wait("account")
    delays.failed("account")
    assert 0.0 == delays.wait("account")


def test_the_memory_of_failures_is_bounded(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MOST_KEYS", 10)
    some = LoginThrottle(clock.seconds)
    for number in range(100):
        some.failed("address", number)
    assert 10 == len(some._failures)
    assert LONGEST == some.wait("address")


# -- whom limits count ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "host, source",
    [
        ("192.0.2.7", "192.0.2.7"),
        ("unix", "unix"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("::1", "::/64"),
    ],
)
def test_an_ipv6_household_counts_as_one(host: str, source: str) -> None:
    assert source == PeerAddress(host, 5222).source
