"""The ways to other servers: waiting, sending, giving back, trying again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from refserver import ns
from refserver.core.hooks import Hooks
from refserver.core.hosts import Host, Hosts
from refserver.core.router import Router
from refserver.errors import Condition, StanzaError, StreamCondition, StreamError
from refserver.jid import JID
from refserver.s2s import pool as pool_module
from refserver.s2s.outgoing import Unreachable
from refserver.s2s.pool import IDLE_SECONDS, Pool
from refserver.s2s.remotes import Remotes
from refserver.s2s.way import ATTEMPT_SECONDS, LONGEST_PAUSE
from refserver.stanza import Stanza

MIA = JID.parse("mia@library.example/desk")
PAT = JID.parse("pat@there.example")
TIMEOUT = Unreachable("refused", Condition.REMOTE_SERVER_TIMEOUT)
NOT_FOUND = Unreachable("none", Condition.REMOTE_SERVER_NOT_FOUND, permanent=True)


class Stream:
    """An outgoing connection that keeps what is sent."""

    def __init__(self, most: int = 0) -> None:
        self.sent: list[bytes] = []
        self.usable = True
        self.method = "certificate"
        self.closed_with: list[Any] = []
        self.most = most
        self.ended: Any = None
        self.came: Any = None

    def send(self, stanza: Stanza) -> None:
        self.send_bytes(stanza.encode(ns.SERVER))

    def send_bytes(self, data: bytes) -> None:
        if self.most and len(data) > self.most:
            raise StanzaError(Condition.POLICY_VIOLATION)
        self.sent.append(data)

    def close(self, error: StreamError | None = None) -> None:
        self.closed_with.append(error)
        self.usable = False
        self.ended(self, "closed")


class Bench:
    """A pool whose attempts the test answers."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.attempts: list[Deferred[Any]] = []
        self.returned: list[Stanza] = []
        hosts = Hosts()
        hosts.add(Host("library.example"))
        hosts.add(Host("other.example"))
        self.router = Router(hosts, Hooks())
        self.router.accounts = SimpleNamespace(deliver=self.returned.append)
        reach: Any = SimpleNamespace(
            connect=self._connect,
            established=None,
            clock=self.clock,
            remotes=Remotes(lambda: 1000.0),
        )
        self.reachable: list[str] = []
        self.pool = Pool(
            reach, hosts, self.router.bounce, random=lambda: 1.0, reachable=self.reachable.append
        )
        self.router.remote = self.pool

    def _connect(self, local: str, remote: str, use: Any) -> Deferred[Any]:
        attempt: Deferred[Any] = Deferred()
        self.attempts.append(attempt)
        return attempt

    def send(self, id: str, to: JID = PAT, from_: JID = MIA, type: str = "chat", body: str = "hello") -> None:
        self.router.route(Stanza.message(to, from_, type=type, id=id, body=body))

    def open(self, stream: Stream | None = None) -> Stream:
        stream = stream or Stream()
        self.attempts[-1].callback(stream)
        return stream

    def fail(self, error: Unreachable) -> None:
        self.attempts[-1].errback(Failure(error))

    def errors(self) -> list[tuple[str, str]]:
        return [(each.id, each.element[0][0].tag.partition("}")[2]) for each in self.returned]

    def advance(self, seconds: float) -> None:
        for _ in range(int(seconds * 10)):
            self.clock.advance(0.1)

    def status(self) -> Any:
        (remote,) = self.pool.remotes
        return remote


@pytest.fixture
def bench() -> Bench:
    return Bench()


def ids(stream: Stream) -> list[str]:
    return [
        next(n for n in ("1", "2", "3", "4") if f'id="{n}"'.encode() in d or f"id='{n}'".encode() in d)
        for d in stream.sent
    ]


def test_stanzas_wait_for_the_stream_and_leave_in_order(bench):
    for id in ("1", "2", "3"):
        bench.send(id)
    assert 1 == len(bench.attempts), "one attempt for all of them"
    stream = bench.open()
    bench.send("4")
    assert ["1", "2", "3", "4"] == ids(stream)
    assert [] == bench.returned
    assert 4 == bench.status().sent


def test_each_pair_of_domains_has_a_stream_of_its_own(bench):
    bench.send("1")
    bench.send("2", from_=JID.parse("mia@other.example"))
    bench.send("3", to=JID.parse("pat@elsewhere.example"))
    assert 3 == len(bench.attempts)


def test_where_there_is_no_server_stanzas_come_back_at_once(bench):
    bench.send("1")
    bench.send("2")
    bench.fail(NOT_FOUND)
    assert [("1", "remote-server-not-found"), ("2", "remote-server-not-found")] == bench.errors()
    assert (MIA, PAT) == (bench.returned[0].to, bench.returned[0].from_)


def test_a_server_that_restarts_is_tried_again_before_anything_comes_back(bench):
    bench.send("1")
    bench.fail(TIMEOUT)
    assert [] == bench.returned
    bench.advance(1)
    assert 2 == len(bench.attempts)
    assert ["1"] == ids(bench.open())


def test_what_waited_too_long_comes_back(bench):
    bench.send("1")
    bench.advance(ATTEMPT_SECONDS + 1)
    assert [("1", "remote-server-timeout")] == bench.errors()
    assert not bench.clock.getDelayedCalls()


def test_the_pauses_between_tries_grow_and_end_with_the_deadline(bench):
    bench.send("1")
    while not bench.returned:
        bench.fail(TIMEOUT)
        before = len(bench.attempts)
        while len(bench.attempts) == before and not bench.returned:
            bench.advance(0.1)
    assert 4 <= len(bench.attempts) <= 8
    assert [("1", "remote-server-timeout")] == bench.errors()
    assert "refused" == bench.status().last_error


def test_after_a_failure_nobody_waits_until_the_pause_is_over(bench):
    bench.send("1")
    bench.fail(NOT_FOUND)
    bench.send("2")
    assert 1 == len(bench.attempts)
    assert [("1", "remote-server-not-found"), ("2", "remote-server-not-found")] == bench.errors()
    bench.advance(6)
    bench.send("3")
    assert 2 == len(bench.attempts)


def test_the_pause_doubles_up_to_a_minute(bench):
    for pause in (5, 10, 20, 40, LONGEST_PAUSE, LONGEST_PAUSE):
        bench.send("1")
        bench.fail(NOT_FOUND)
        tried = len(bench.attempts)
        bench.advance(pause - 1)
        bench.send("1")
        assert tried == len(bench.attempts), pause
        bench.advance(2)
    bench.send("1")
    assert tried + 1 == len(bench.attempts)


def test_a_success_forgets_the_failures(bench):
    bench.send("1")
    bench.fail(NOT_FOUND)
    bench.advance(6)
    bench.send("2")
    bench.open().close()
    bench.send("3")
    bench.fail(NOT_FOUND)
    bench.advance(6)
    bench.send("4")
    assert 4 == len(bench.attempts)


def test_a_sign_of_life_ends_the_pause(bench):
    bench.send("1")
    bench.fail(NOT_FOUND)
    bench.pool.heard_from("there.example")
    bench.send("2")
    assert 2 == len(bench.attempts)


def test_a_black_hole_costs_bounded_memory_and_every_stanza_gets_an_error(bench):
    for number in range(10_000):
        bench.send(str(number))
    refused = bench.errors()
    assert 9_000 == len(refused)
    assert {"resource-constraint"} == {condition for _, condition in refused}
    bench.advance(ATTEMPT_SECONDS + 1)
    rest = bench.errors()[9_000:]
    assert [(str(number), "remote-server-timeout") for number in range(1_000)] == rest


def test_large_stanzas_fill_the_backlog_by_their_size(bench):
    for number in range(30):
        bench.send(str(number), body="x" * 100_000)
    assert 10 == len(bench.returned)


def test_an_undeliverable_error_is_dropped(bench):
    bench.send("1", type="error")
    bench.fail(NOT_FOUND)
    bench.send("2", type="error")
    assert [] == bench.returned


def test_what_is_not_from_a_domain_of_ours_is_not_passed_on(bench):
    bench.send("1", from_=JID.parse("eve@elsewhere.example"))
    assert [] == bench.attempts
    assert [] == bench.returned


def test_a_stream_that_broke_is_made_anew_at_once(bench):
    bench.send("1")
    stream = bench.open()
    stream.usable = False
    stream.ended(stream, "reset by the peer")
    bench.send("2")
    assert 2 == len(bench.attempts)
    assert ["2"] == ids(bench.open())
    assert 1 == bench.status().outgoing


def test_a_dying_stream_takes_nothing_more(bench):
    bench.send("1")
    bench.open().usable = False  # aborted, but not told yet
    bench.send("2")
    assert ["2"] == ids(bench.open())


def test_a_stanza_too_large_for_the_peer_comes_back(bench):
    bench.send("1", body="x" * 2_000)
    bench.send("2")
    stream = bench.open(Stream(most=1_000))
    bench.send("3", body="x" * 2_000)
    assert ["2"] == ids(stream)
    assert [("1", "policy-violation"), ("3", "policy-violation")] == bench.errors()


def test_idle_streams_are_closed_and_busy_ones_are_not(bench):
    bench.send("1")
    stream = bench.open()
    bench.clock.advance(IDLE_SECONDS - 1)
    bench.pool.close_idle()
    assert stream.usable
    bench.clock.advance(2)
    bench.pool.close_idle()
    assert [None] == stream.closed_with
    assert 0 == bench.status().outgoing


def test_at_the_end_streams_are_closed_and_what_waits_comes_back(bench):
    bench.send("1")
    stream = bench.open()
    bench.send("2", to=JID.parse("pat@elsewhere.example"))
    bench.pool.close_all(StreamError(StreamCondition.SYSTEM_SHUTDOWN))
    assert StreamCondition.SYSTEM_SHUTDOWN is stream.closed_with[0].condition
    assert [("2", "remote-server-timeout")] == bench.errors()
    assert not bench.clock.getDelayedCalls()


def test_ways_and_attempts_are_bounded(bench, monkeypatch):
    monkeypatch.setattr(pool_module, "MOST_WAYS", 3)
    monkeypatch.setattr(pool_module, "MOST_ATTEMPTS", 2)
    for number in range(4):
        bench.send(str(number), to=JID.parse(f"pat@d{number}.example"))
    assert 2 == len(bench.attempts)
    assert [("2", "resource-constraint"), ("3", "resource-constraint")] == bench.errors()
    assert 3 == len(list(bench.pool))


def test_a_fault_of_ours_gives_everything_back(bench):
    bench.send("1")
    stream = Stream()
    del stream.method
    bench.open(stream)
    assert [("1", "internal-server-error")] == bench.errors()


def test_the_first_stream_since_the_start_or_a_failure_is_told_once(bench):
    bench.send("1")
    stream = bench.open()
    assert ["there.example"] == bench.reachable
    bench.pool.heard_from("there.example")
    assert ["there.example"] == bench.reachable, "nothing has failed"
    stream.usable = False
    stream.ended(stream, "reset by the peer")
    bench.pool.heard_from("there.example")
    bench.pool.heard_from("there.example")
    assert 2 == len(bench.reachable)
    bench.send("2")
    bench.fail(NOT_FOUND)
    bench.pool.heard_from("there.example")
    assert 3 == len(bench.reachable)


def test_a_stream_that_was_closed_for_idleness_has_not_failed(bench):
    bench.send("1")
    bench.open()
    bench.clock.advance(IDLE_SECONDS + 1)
    bench.pool.close_idle()
    bench.send("2")
    bench.open()
    assert ["there.example"] == bench.reachable


def test_what_is_sent_when_a_server_is_back_comes_behind_what_waited(bench):
    bench.pool.reachable = lambda domain: bench.send("2")
    bench.send("1")
    assert ["1", "2"] == ids(bench.open())


class Carrier:
    def __init__(self, works: bool = True) -> None:
        self.sent: list[Stanza] = []
        self.works = works

    def send(self, stanza: Stanza) -> bool:
        self.sent.append(stanza)
        return self.works


def test_a_stream_of_the_peers_carries_what_it_can(bench):
    carrier = Carrier()
    bench.pool.carry(("library.example", "there.example"), carrier)
    bench.send("1")
    assert 1 == len(carrier.sent)
    assert [] == bench.attempts
    bench.pool.carry_no_more(carrier)
    bench.send("2")
    assert 1 == len(bench.attempts)


def test_a_stream_of_the_peers_does_not_overtake_what_waits(bench):
    bench.send("1")
    carrier = Carrier()
    bench.pool.carry(("library.example", "there.example"), carrier)
    bench.send("2")
    assert [] == carrier.sent
    assert ["1", "2"] == ids(bench.open())


def test_a_carrier_that_fails_is_replaced(bench):
    bench.pool.carry(("library.example", "there.example"), Carrier(works=False))
    bench.send("1")
    assert ["1"] == ids(bench.open())


def test_what_a_peer_says_is_fit_for_a_terminal(bench):
    bench.send("1")
    error = Unreachable("busy\n\x1b[2J", Condition.REMOTE_SERVER_NOT_FOUND, permanent=True)
    bench.fail(error)
    assert "busy??[2J" == bench.status().last_error
    assert 0 == bench.pool.attempts
