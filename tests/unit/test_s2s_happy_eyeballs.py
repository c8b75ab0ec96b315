"""Connecting to the first of several addresses that answers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from refserver.net.receiver import SILENT
from refserver.s2s.connect import connect_first

ADDRESSES = [("192.0.2.1", 5269), ("192.0.2.2", 5269), ("192.0.2.3", 5269)]


class Network:
    """Attempts that tests let succeed or fail."""

    def __init__(self) -> None:
        self.attempts: list[tuple[Any, Any, Deferred[Any]]] = []
        self.cancelled: list[Any] = []

    def connect(self, address, accept, seconds):
        result: Deferred[Any] = Deferred(lambda _: self.cancelled.append(address))
        self.attempts.append((address, accept, result))
        return result

    def tried(self) -> list[Any]:
        return [address for address, _, _ in self.attempts]

    def answer(self, number: int) -> Any:
        _, accept, result = self.attempts[number]
        connection = SimpleNamespace(closed=False)
        connection.closed = accept(connection) is None
        result.callback(connection)
        return connection

    def refuse(self, number: int) -> None:
        self.attempts[number][2].errback(ConnectionRefusedError())


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def begin(network: Network, clock: Clock) -> tuple[Any, list[Any]]:
    outcome: list[Any] = []
    result = connect_first(network.connect, clock, ADDRESSES, SILENT, 5.0)
    result.addBoth(outcome.append)
    return result, outcome


def test_the_next_address_has_its_turn_after_a_quarter_of_a_second(network, clock):
    begin(network, clock)
    clock.advance(0.24)
    assert ADDRESSES[:1] == network.tried()
    clock.advance(0.02)
    assert ADDRESSES[:2] == network.tried()


def test_a_refused_connection_makes_way_at_once(network, clock):
    begin(network, clock)
    network.refuse(0)
    assert ADDRESSES[:2] == network.tried()


def test_the_first_that_answers_wins_and_the_others_end(network, clock):
    _, outcome = begin(network, clock)
    clock.advance(0.3)
    clock.advance(0.3)
    winner = network.answer(1)
    assert [winner] == outcome
    assert {ADDRESSES[0], ADDRESSES[2]} == set(network.cancelled)
    assert not clock.getDelayedCalls()


def test_when_all_fail_the_last_reason_is_told(network, clock):
    _, outcome = begin(network, clock)
    for number in range(3):
        network.refuse(number)
    outcome[0].trap(ConnectionRefusedError)
    assert not clock.getDelayedCalls()


def test_an_attempt_still_running_is_waited_for(network, clock):
    _, outcome = begin(network, clock)
    clock.advance(0.3)
    network.refuse(1)
    network.refuse(2)
    assert [] == outcome
    winner = network.answer(0)
    assert [winner] == outcome


def test_cancelling_ends_every_attempt(network, clock):
    result, outcome = begin(network, clock)
    clock.advance(0.3)
    result.cancel()
    outcome[0].trap(CancelledError)
    assert set(ADDRESSES[:2]) == set(network.cancelled)
    assert not clock.getDelayedCalls()
