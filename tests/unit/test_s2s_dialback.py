"""Asking authoritative servers about dialback keys."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from refserver.errors import Cause, Condition, StanzaError, StreamFault
from refserver.s2s.dialback import (
    MOST_KEYS,
    MOST_KEYS_FROM_ONE,
    MOST_KEYS_OF_ONE,
    VERIFY_SECONDS,
    DialbackVerifier,
)
from refserver.s2s.known_servers import KnownServers
from refserver.s2s.outgoing import Unreachable
from refserver.stream.events import KeyToVerify


class Authority:
    """A connection to the authoritative server."""

    def __init__(self) -> None:
        self.asked: list[tuple[KeyToVerify, Deferred[Any]]] = []
        self.closed = False

    def verify(self, asked: KeyToVerify) -> Deferred[Any]:
        answer: Deferred[Any] = Deferred()
        self.asked.append((asked, answer))
        return answer

    def close(self) -> None:
        self.closed = True


class Bench:
    def __init__(self) -> None:
        self.clock = Clock()
        self.attempts: list[tuple[str, str, Deferred[Any]]] = []
        self.open: Authority | None = None
        pool: Any = SimpleNamespace(
            clock=self.clock,
            known_servers=KnownServers(lambda: 1000.0),
            connector=SimpleNamespace(connect=self._connect),
            connection=lambda local, remote: self.open,
        )
        self.pool = pool
        self.dialback = DialbackVerifier(pool)

    @inlineCallbacks
    def _connect(self, local: str, remote: str, use: Any, verify_only: bool) -> Any:
        assert verify_only
        attempt: Deferred[Any] = Deferred()
        self.attempts.append((local, remote, attempt))
        connection = yield attempt
        result = yield Deferred.fromCoroutine(use(connection))
        return result

    def ask(self, number: int = 1, domain: str = "there.example", source: str = "127.0.0.2") -> list[Any]:
        verdicts: list[Any] = []
        asked = KeyToVerify(domain, "library.example", f"key{number}", f"stream{number}")
        self.dialback.verify(asked, source).addBoth(verdicts.append)
        return verdicts


@pytest.fixture
def bench() -> Bench:
    return Bench()


def condition(verdicts: list[Any]) -> Condition:
    (verdict,) = verdicts
    assert isinstance(verdict, StanzaError), verdict
    return verdict.condition


@pytest.mark.parametrize("word", [True, False])
def test_the_authoritative_server_is_asked_on_a_connection_for_that_alone(bench, word):
    verdicts = bench.ask()
    ((local, remote, attempt),) = bench.attempts
    assert ("library.example", "there.example") == (local, remote)
    authority = Authority()
    attempt.callback(authority)
    authority.asked[0][1].callback(word)
    assert [word] == verdicts
    assert authority.closed


def test_an_open_stream_serves(bench):
    bench.open = Authority()
    verdicts = bench.ask()
    bench.open.asked[0][1].callback(True)
    assert [True] == verdicts
    assert [] == bench.attempts
    assert not bench.open.closed


def test_an_open_stream_that_cannot_tell_is_not_the_last_word(bench):
    bench.open = Authority()
    bench.ask()
    bench.open.asked[0][1].callback(StanzaError(Condition.REMOTE_SERVER_TIMEOUT))
    assert 1 == len(bench.attempts)


def test_the_same_key_is_asked_about_once(bench):
    verdicts = [bench.ask(), bench.ask()]
    assert 1 == len(bench.attempts)
    authority = Authority()
    bench.attempts[0][2].callback(authority)
    authority.asked[0][1].callback(True)
    assert [[True], [True]] == verdicts


def test_a_server_that_is_not_there_verifies_nothing(bench):
    verdicts = bench.ask()
    error = Unreachable(Cause.NO_SERVER, Condition.REMOTE_SERVER_NOT_FOUND, permanent=True)
    bench.attempts[0][2].errback(Failure(error))
    assert Condition.REMOTE_SERVER_NOT_FOUND is condition(verdicts)
    assert StreamFault(Cause.NO_SERVER) == bench.pool.known_servers.get("there.example").last_error


def test_an_endless_handshake_ends(bench):
    verdicts = bench.ask()
    authority = Authority()
    bench.attempts[0][2].callback(authority)
    bench.clock.advance(VERIFY_SECONDS + 1)
    assert Condition.REMOTE_SERVER_TIMEOUT is condition(verdicts)
    assert authority.closed
    assert not bench.clock.getDelayedCalls()


def test_nobody_makes_us_flood_another_server(bench):
    """A stranger who claims a domain in many keys gets few of them asked about (XEP-0220 4)."""
    verdicts = [bench.ask(number) for number in range(50)]
    assert MOST_KEYS_OF_ONE == len(bench.attempts)
    assert Condition.RESOURCE_CONSTRAINT is condition(verdicts[-1])
    bench.ask(1, "elsewhere.example")
    assert MOST_KEYS_OF_ONE + 1 == len(bench.attempts)


def test_one_address_does_not_keep_the_others_from_being_verified(bench):
    for number in range(MOST_KEYS):
        bench.ask(number, f"d{number}.example")
    assert MOST_KEYS_FROM_ONE == len(bench.attempts)
    bench.ask(1, "calm.example", "127.0.0.3")
    assert MOST_KEYS_FROM_ONE + 1 == len(bench.attempts)
    bench.clock.advance(VERIFY_SECONDS + 1)
    bench.ask(1, "late.example")
    assert MOST_KEYS_FROM_ONE + 2 == len(bench.attempts)
    assert 1 == len(bench.dialback._asking)


def test_four_addresses_with_keys_of_black_holes_keep_no_healthy_server_out(bench):
    black_holes = [
        bench.ask(number, f"d{number}.example", f"127.0.0.{2 + number % 4}") for number in range(MOST_KEYS)
    ]
    assert MOST_KEYS == len(bench.attempts)
    verdicts = bench.ask(1, "calm.example", "127.0.0.9")
    authority = Authority()
    bench.attempts[-1][2].callback(authority)
    authority.asked[0][1].callback(True)
    assert [True] == verdicts
    assert Condition.RESOURCE_CONSTRAINT is condition(black_holes[0]), "the oldest has made room"
    assert 1 == sum(map(len, black_holes))


def test_all_keys_together_are_bounded_and_room_comes_back(bench):
    for number in range(MOST_KEYS + 10):
        bench.ask(number, f"d{number}.example", f"127.0.{number % 16}.1")
    assert MOST_KEYS == len(bench.attempts)
    bench.clock.advance(VERIFY_SECONDS + 1)
    bench.ask(1, "late.example")
    assert MOST_KEYS + 1 == len(bench.attempts)
