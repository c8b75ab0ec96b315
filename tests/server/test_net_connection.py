"""Connections of the multiplexer over real sockets: coalescing, back-pressure, limits, closing."""

from __future__ import annotations

import socket
import threading
from collections.abc import AsyncIterator
from typing import cast

import pytest
import pytest_twisted
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher

from refserver.net import connection as module
from refserver.net.connection import Connection
from refserver.net.mux import Mux

from .loopback import (
    Recorder,
    adopt,
    in_thread,
    meet,
    open_door,
    reactor,
    read_exactly,
    read_to_end,
    turn,
    until,
)

MEGABYTE = 1024 * 1024


@pytest_twisted.async_yield_fixture
async def mux() -> AsyncIterator[Mux]:
    """A multiplexer on the real reactor."""
    multiplexer = Mux(reactor)
    multiplexer.start()
    yield multiplexer
    await multiplexer.stop(0.2)


@pytest.fixture
def packets(mux: Mux) -> tuple[Connection, Recorder, socket.socket]:
    """A connection whose every write stays a packet of its own, so that the writes can be counted."""
    ours, client = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    client.settimeout(5)
    recorder = Recorder()
    recorder.connection = adopt(mux, ours, recorder)
    return recorder.connection, recorder, client


# -- coalescing


@pytest_twisted.ensureDeferred
async def test_what_is_sent_outside_a_turn_leaves_in_one_write(packets):
    connection, _, client = packets
    connection.send(b"one ")
    connection.send(b"two ")
    connection.send(b"three")
    assert connection.queued == 13
    assert (await in_thread(lambda: client.recv(1000))) == b"one two three"
    assert connection.queued == 0


@pytest_twisted.ensureDeferred
async def test_answers_to_one_read_leave_in_one_write(packets):
    connection, recorder, client = packets
    recorder.on_data = lambda data: [connection.send(b"<%d/>" % number) for number in range(50)]
    client.send(b"go")
    expected = b"".join(b"<%d/>" % number for number in range(50))
    assert (await in_thread(lambda: client.recv(1000))) == expected


@pytest_twisted.ensureDeferred
async def test_what_many_connections_send_to_one_in_a_turn_leaves_in_one_write(mux, packets):
    target, _, client = packets
    sources = []
    for number in range(20):
        ours, theirs = socket.socketpair()
        adopt(mux, ours, Recorder(on_data=target.send))
        theirs.send(b"[%02d]" % number)  # all are readable before the reactor turns
        sources.append(theirs)
    packet = await in_thread(lambda: client.recv(1000))
    assert sorted(packet.split(b"]")[:-1]) == [b"[%02d" % number for number in range(20)]


@pytest_twisted.ensureDeferred
async def test_order_is_kept_over_turns(mux):
    connection, recorder, client = meet(mux)
    recorder.on_data = connection.send
    numbers = b"".join(b"%05d," % number for number in range(20000))
    sender = in_thread(lambda: client.sendall(numbers))
    echoed = await in_thread(lambda: read_exactly(client, len(numbers)))
    await sender
    assert echoed == numbers


# -- back-pressure


@pytest_twisted.ensureDeferred
async def test_a_slow_reader_gets_everything_in_order(mux):
    connection, _, client = meet(mux, send_buffer=8192, receive_buffer=8192)
    pieces = [bytes([number % 251]) * 7919 for number in range(400)]
    for piece in pieces:
        connection.send(piece)
    await until(lambda: 0 < connection.queued < 400 * 7919)  # the kernel has taken what it can
    connection.send(b"end")
    expected = b"".join(pieces) + b"end"
    assert (await in_thread(lambda: read_exactly(client, len(expected)))) == expected
    await until(lambda: not connection.queued)


@pytest_twisted.ensureDeferred
async def test_what_the_peers_machine_has_not_acknowledged_is_known(mux):
    connection, recorder, client = meet(mux, send_buffer=8192, receive_buffer=8192)
    assert connection.unacknowledged == 0
    connection.send(bytes(400_000))
    await until(lambda: 0 < connection.queued < 400_000)  # the kernel has taken what it can
    assert connection.queued < connection.unacknowledged <= 400_000
    await in_thread(lambda: read_exactly(client, 400_000))
    await until(lambda: connection.unacknowledged == 0)
    client.close()
    await recorder.until_lost()
    assert connection.unacknowledged == 0


@pytest_twisted.ensureDeferred
async def test_a_reader_slower_than_max_queued_is_cut_off(mux):
    connection, recorder, client = meet(mux, send_buffer=8192, receive_buffer=8192)
    connection.max_queued = 100_000
    sent = 0
    while not connection.closed and sent < 64 * MEGABYTE:
        connection.send(bytes(50_000))
        sent += 50_000
        assert connection.queued <= 150_000
        await turn()
    await recorder.until_lost()
    assert recorder.reason == "slow reader"
    assert mux.connections == 0
    client.close()


@pytest_twisted.ensureDeferred
async def test_more_than_max_queued_in_one_turn_is_fine_for_a_reader_that_keeps_up(mux):
    connection, recorder, client = meet(mux)
    connection.max_queued = 100_000
    for _ in range(10):
        connection.send(bytes(30_000))
    assert len(await in_thread(lambda: read_exactly(client, 300_000))) == 300_000
    assert recorder.losses == 0


@pytest_twisted.ensureDeferred
async def test_lost_is_not_called_while_the_receiver_is_sending(mux):
    connection, recorder, client = meet(mux, send_buffer=8192, receive_buffer=8192)
    connection.max_queued = 1000
    connection.send(bytes(16 * MEGABYTE))
    assert connection.closed
    assert recorder.losses == 0
    await recorder.until_lost()
    assert recorder.reason == "slow reader"
    client.close()


@pytest_twisted.ensureDeferred
async def test_a_paused_connection_is_not_read_from(mux):
    connection, recorder, client = meet(mux)
    connection.throttled(True)
    client.send(b"later")
    for _ in range(20):
        await turn()
    assert bytes(recorder.data) == b""
    connection.throttled(False)
    await recorder.until_received(5)
    assert bytes(recorder.data) == b"later"
    client.close()


@pytest_twisted.ensureDeferred
async def test_what_a_peer_sent_before_it_went_away_is_read_after_resuming(mux):
    ours, theirs = socket.socketpair()
    recorder = Recorder()
    connection = adopt(mux, ours, recorder)
    connection.throttled(True)
    theirs.send(b"last words")
    theirs.close()  # on a Unix socket epoll reports that whether asked or not
    for _ in range(20):
        await turn()
    assert recorder.losses == 0
    connection.throttled(False)
    await recorder.until_lost()
    assert bytes(recorder.data) == b"last words"
    assert recorder.reason == "closed by the peer"


@pytest_twisted.ensureDeferred
async def test_the_rate_limit_holds_on_average_after_the_burst(mux):
    rate = 200_000
    connection, recorder, client = meet(mux)
    connection.bytes_per_second = rate
    total = rate * module.BURST_SECONDS + rate // 2
    started = reactor.seconds()
    sender = in_thread(lambda: client.sendall(bytes(total)))
    await recorder.until_received(rate * module.BURST_SECONDS)
    burst = reactor.seconds() - started
    await recorder.until_received(total)
    took = reactor.seconds() - started
    await sender
    assert burst < 1
    assert took > 0.5 - module.READ_SIZE / rate  # one read may go beyond what is left
    assert took < 3
    client.close()


@pytest_twisted.ensureDeferred
async def test_lifting_the_rate_limit_frees_a_throttled_connection(mux):
    connection, recorder, client = meet(mux)
    connection.bytes_per_second = 1000
    sender = in_thread(lambda: client.sendall(bytes(MEGABYTE)))
    await recorder.until_received(4000)
    connection.bytes_per_second = 0
    await recorder.until_received(MEGABYTE)
    await sender
    assert connection.bytes_per_second == 0
    client.close()


@pytest_twisted.ensureDeferred
async def test_another_rate_forgives_no_debt_and_gives_no_new_burst(mux):
    connection, recorder, client = meet(mux)
    connection.bytes_per_second = 1000
    sender = in_thread(lambda: client.sendall(bytes(MEGABYTE)))
    await recorder.until_received(4000)
    debt = connection._tokens
    connection.bytes_per_second = 2000
    assert debt < 0
    assert debt == connection._tokens
    assert connection._paused & module.BY_RATE
    connection.bytes_per_second = 0
    await recorder.until_received(MEGABYTE)
    await sender
    client.close()


@pytest_twisted.ensureDeferred
async def test_a_flood_on_one_connection_does_not_starve_another(mux):
    door = await open_door(mux, lambda c, recorder: setattr(recorder, "on_data", c.send))
    stop = threading.Event()
    flooder = await in_thread(door.dial)
    flooder.settimeout(0.05)

    def flood() -> None:
        while not stop.is_set():
            try:
                flooder.send(bytes(65536))
                flooder.recv(1 << 20)
            except TimeoutError:
                continue

    flooding = in_thread(flood)
    other = await in_thread(door.dial)

    def talk() -> bytes:
        answers = bytearray()
        for _ in range(100):
            other.send(b"x")
            answers += other.recv(1)
        return bytes(answers)

    assert (await in_thread(talk)) == b"x" * 100
    stop.set()
    await flooding
    flooder.close()
    other.close()


# -- closing


@pytest_twisted.ensureDeferred
async def test_close_delivers_all_that_was_queued(mux):
    connection, recorder, client = meet(mux, send_buffer=8192, receive_buffer=8192)
    payload = bytes(range(256)) * 12_000
    client.send(b"unread input must not turn the end into a reset")
    connection.send(payload)
    connection.close()
    connection.send(b"too late")
    assert (await in_thread(lambda: read_to_end(client))) == payload
    client.close()
    await recorder.until_lost()
    assert recorder.reason == "closed"
    assert recorder.losses == 1


@pytest_twisted.ensureDeferred
async def test_nothing_is_received_after_close(mux):
    connection, recorder, client = meet(mux)
    recorder.on_data = lambda data: connection.close()
    client.send(b"first")
    assert (await in_thread(lambda: read_to_end(client))) == b""
    client.send(b"second")
    client.close()
    await recorder.until_lost()
    assert bytes(recorder.data) == b"first"


@pytest_twisted.ensureDeferred
async def test_a_peer_that_does_not_read_is_cut_off_some_time_after_close(mux, monkeypatch):
    monkeypatch.setattr(module, "CLOSE_SECONDS", 0.2)
    connection, recorder, client = meet(mux, send_buffer=8192, receive_buffer=8192)
    connection.send(bytes(3 * MEGABYTE))
    connection.close()
    await recorder.until_lost()
    assert mux.connections == 0
    with pytest.raises(ConnectionResetError):
        await in_thread(lambda: read_to_end(client))


@pytest_twisted.ensureDeferred
async def test_a_peer_that_does_not_end_its_side_is_cut_off_some_time_after_close(mux, monkeypatch):
    monkeypatch.setattr(module, "CLOSE_SECONDS", 0.2)
    connection, recorder, client = meet(mux)
    connection.send(b"bye")
    connection.close()
    assert (await in_thread(lambda: read_to_end(client))) == b"bye"
    await recorder.until_lost()
    assert mux.connections == 0


@pytest_twisted.ensureDeferred
async def test_abort_drops_what_is_queued_and_tells_once_with_the_reason(mux):
    connection, recorder, client = meet(mux)
    connection.send(b"never")
    connection.abort("test")
    connection.abort("again")
    connection.close()
    assert recorder.losses == 0
    await recorder.until_lost()
    assert recorder.reason == "test"
    assert recorder.losses == 1
    assert (await in_thread(lambda: client.recv(100))) == b""


@pytest_twisted.ensureDeferred
async def test_a_peer_that_ends_is_reported_after_its_last_data(mux):
    _, recorder, client = meet(mux)
    client.sendall(bytes(200_000))
    client.close()
    await recorder.until_lost()
    assert len(recorder.data) == 200_000
    assert recorder.reason == "closed by the peer"


@pytest_twisted.ensureDeferred
async def test_a_peer_that_ended_its_side_still_gets_the_answer(mux):
    connection, recorder, client = meet(mux)
    recorder.on_data = lambda data: connection.send(b"answer")
    client.send(b"question")
    client.shutdown(socket.SHUT_WR)
    assert (await in_thread(lambda: read_to_end(client))) == b"answer"
    assert recorder.reason == "closed by the peer"


@pytest_twisted.ensureDeferred
async def test_a_slow_peer_that_ended_its_side_still_gets_all_that_waits_for_it(mux):
    connection, recorder, client = meet(mux, send_buffer=8192, receive_buffer=8192)
    payload = bytes(range(256)) * 4000
    recorder.on_data = lambda data: connection.send(payload)
    client.send(b"question")
    client.shutdown(socket.SHUT_WR)
    assert (await in_thread(lambda: read_to_end(client))) == payload
    await recorder.until_lost()
    assert recorder.reason == "closed by the peer"


@pytest_twisted.ensureDeferred
async def test_a_peer_that_ends_its_side_while_we_close_still_gets_all(mux):
    connection, recorder, client = meet(mux, send_buffer=8192, receive_buffer=8192)
    payload = bytes(range(256)) * 4000
    connection.send(payload)
    connection.close()
    client.shutdown(socket.SHUT_WR)
    assert (await in_thread(lambda: read_to_end(client))) == payload
    await recorder.until_lost()
    assert recorder.reason == "closed"


@pytest_twisted.ensureDeferred
async def test_a_reset_is_reported_as_such(mux):
    connection, recorder, client = meet(mux)
    connection.send(b"unread")
    await until(lambda: connection.queued == 0)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    await recorder.until_lost()
    assert recorder.reason == "connection reset by peer"


@pytest_twisted.ensureDeferred
async def test_what_a_peer_sent_before_a_reset_is_read_although_writing_fails_first(mux):
    connection, recorder, client = meet(mux)
    client.send(b"last words")
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    connection.send(b"written before anything is read")
    await recorder.until_lost()
    assert bytes(recorder.data) == b"last words"
    assert recorder.reason == "connection reset by peer"


@pytest_twisted.ensureDeferred
async def test_one_large_piece_is_written_bit_by_bit(mux):
    connection, _, client = meet(mux, send_buffer=8192, receive_buffer=8192)
    payload = bytes(range(256)) * 4000
    connection.send(payload)
    assert (await in_thread(lambda: read_exactly(client, len(payload)))) == payload
    client.close()


@pytest_twisted.ensureDeferred
async def test_a_reset_is_noticed_while_paused(mux):
    connection, recorder, client = meet(mux)
    connection.throttled(True)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    await recorder.until_lost()
    assert recorder.reason == "connection reset by peer"


# -- faults


@pytest_twisted.ensureDeferred
async def test_an_exception_costs_only_its_connection_and_is_logged_without_data(mux):
    events: list[LogEvent] = []
    observer = cast(ILogObserver, events.append)
    globalLogPublisher.addObserver(observer)

    def fail(data: bytes) -> None:
        raise RuntimeError("a fault of the receiver")

    try:
        door = await open_door(mux)
        bad, good = await in_thread(lambda: (door.dial(), door.dial()))
        await until(lambda: len(door.recorders) == 2)
        door.recorders[0].on_data = fail
        bad.send(b"secret")
        await door.recorders[0].until_lost()
        good.send(b"hello")
        await door.recorders[1].until_received(5)
    finally:
        globalLogPublisher.removeObserver(observer)
    assert door.recorders[0].reason == "internal error"
    assert door.recorders[1].losses == 0
    failures = [event for event in events if event.get("log_namespace") == "refserver.net"]
    assert ["a fault of the receiver"] == [str(event["log_failure"].value) for event in failures]
    assert "secret" not in repr(failures)
    good.close()


@pytest_twisted.ensureDeferred
async def test_an_exception_in_lost_harms_nobody(mux):
    def fail(reason: str) -> None:
        raise RuntimeError("a fault of the receiver")

    door = await open_door(mux)
    bad, good = await in_thread(lambda: (door.dial(), door.dial()))
    await until(lambda: len(door.recorders) == 2)
    door.recorders[0].on_lost = fail
    bad.close()
    await door.recorders[0].until_lost()
    good.send(b"hello")
    await door.recorders[1].until_received(5)
    assert mux.connections == 1
    good.close()
