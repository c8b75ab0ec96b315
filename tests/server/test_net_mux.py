"""The multiplexer: listening, connecting, the tick, running out of descriptors, stopping."""

from __future__ import annotations

import gc
import os
import select
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock

from refserver.net.connection import Connection
from refserver.net.mux import Mux

from .loopback import Recorder, adopt, in_thread, meet, open_door, reactor, turn, until


@pytest.fixture
def mux():
    """A multiplexer on the real reactor."""
    multiplexer = Mux(reactor)
    multiplexer.start()
    yield multiplexer
    pytest_twisted.blockon(multiplexer.stop(0.2))


# -- listening and connecting


@pytest_twisted.ensureDeferred
async def test_the_peer_of_an_accepted_connection_is_where_the_client_called_from(mux):
    door = await open_door(mux)
    client = await in_thread(door.dial)
    await until(lambda: len(door.recorders) == 1)
    peer = door.recorders[0].connection.peer
    assert (peer.host, peer.port) == client.getsockname()
    assert str(peer) == f"127.0.0.1:{client.getsockname()[1]}"
    client.close()


@pytest_twisted.ensureDeferred
async def test_an_ipv4_client_of_an_ipv6_socket_is_known_by_its_ipv4_address(mux):
    peers = []
    port = await serverFromString(reactor, "tcp6:0").listen(Factory())

    def accept(connection: Connection) -> Recorder:
        peers.append(connection.peer)
        return Recorder()

    mux.listen(port, accept)
    number = port.getHost().port
    four = socket.create_connection(("127.0.0.1", number))
    six = socket.create_connection(("::1", number))
    await until(lambda: len(peers) == 2)
    assert sorted(peer.host for peer in peers) == ["127.0.0.1", "::1"]
    assert f"[::1]:{six.getsockname()[1]}" in [str(peer) for peer in peers]
    four.close()
    six.close()


@pytest_twisted.ensureDeferred
async def test_a_unix_socket_serves_and_its_file_goes_away_with_the_listener(mux, tmp_path):
    path = tmp_path / "xmpp.sock"
    port = await serverFromString(reactor, f"unix:{path}").listen(Factory())
    recorder = Recorder()
    listener = mux.listen(port, lambda connection: recorder)
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(path))
    client.send(b"hello")
    await recorder.until_received(5)
    await listener.close()
    assert not path.exists()
    client.close()


@pytest_twisted.ensureDeferred
async def test_a_refused_connection_is_closed_and_others_are_served(mux):
    door = await open_door(mux)
    verdicts = iter([None, Recorder()])
    door.listener._accept = lambda connection: next(verdicts)
    refused, taken = await in_thread(lambda: (door.dial(), door.dial()))
    assert (await in_thread(lambda: refused.recv(10))) == b""
    await until(lambda: mux.connections == 1)
    taken.close()


@pytest_twisted.ensureDeferred
async def test_an_exception_while_accepting_costs_that_connection_only(mux):
    def fail_once(connection: Connection, recorder: Recorder) -> None:
        if len(door.recorders) == 1:
            raise RuntimeError("a fault of the one who accepts")

    door = await open_door(mux, fail_once)
    bad, good = await in_thread(lambda: (door.dial(), door.dial()))
    assert (await in_thread(lambda: bad.recv(10))) == b""
    good.send(b"hello")
    await until(lambda: len(door.recorders) == 2)
    await door.recorders[1].until_received(5)
    good.close()


@pytest_twisted.ensureDeferred
async def test_a_closed_listener_accepts_no_more(mux):
    door = await open_door(mux)
    await door.listener.close()
    await door.listener.close()
    with pytest.raises(ConnectionRefusedError):
        await in_thread(door.dial)


@pytest_twisted.ensureDeferred
async def test_connect_gives_a_connection_both_sides_can_use(mux):
    door = await open_door(mux, lambda connection, recorder: setattr(recorder, "on_data", connection.send))
    ours = Recorder()
    connection = await mux.connect(("127.0.0.1", door.port), lambda connection: ours)
    assert str(connection.peer) == f"127.0.0.1:{door.port}"
    connection.send(b"ping")
    await ours.until_received(4)
    assert bytes(ours.data) == b"ping"
    assert mux.connections == 2


@pytest_twisted.ensureDeferred
async def test_connect_reports_a_refusal(mux):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = listening.getsockname()
    with pytest.raises(ConnectionRefusedError):
        await mux.connect(address, lambda connection: Recorder())


@pytest_twisted.ensureDeferred
async def test_connect_reaches_a_unix_socket_or_reports_that_there_is_none(mux, tmp_path):
    path = str(tmp_path / "peer.sock")
    with pytest.raises(FileNotFoundError):
        await mux.connect(path, lambda connection: Recorder())
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        connection = await mux.connect(path, lambda connection: Recorder())
        assert str(connection.peer) == "unix"


@pytest_twisted.ensureDeferred
async def test_stopping_fails_attempts_to_connect():
    mux = Mux(reactor)
    mux.start()
    with full_backlog() as (address, _):
        attempt = mux.connect(address, lambda connection: Recorder())
        await mux.stop()
        with pytest.raises(OSError, match=r"(?i)cancel"):
            await attempt


@pytest_twisted.ensureDeferred
async def test_connect_gives_up_after_its_time(mux):
    with full_backlog() as (address, _), pytest.raises(TimeoutError):
        await mux.connect(address, lambda connection: Recorder(), seconds=0.1)


@pytest_twisted.ensureDeferred
async def test_a_connect_can_be_cancelled(mux):
    with full_backlog() as (address, _):
        attempt = mux.connect(address, lambda connection: Recorder())
        attempt.cancel()
        with pytest.raises(CancelledError):
            await attempt
    assert mux.connections == 0


class full_backlog:
    """A listening socket that answers no further SYN: its backlog is full."""

    def __enter__(self):
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=0)
        address = self.listening.getsockname()
        self.waiting = [socket.socket() for _ in range(4)]
        for sock in self.waiting:
            sock.setblocking(False)
            sock.connect_ex(address)
        return address, self.waiting

    def __exit__(self, *_: object) -> None:
        for sock in (self.listening, *self.waiting):
            sock.close()


# -- turns


@pytest_twisted.ensureDeferred
async def test_the_tick_calls_its_subscribers_until_they_leave(mux):
    calls: list[float] = []

    def fail() -> None:
        raise RuntimeError("a fault of a subscriber")

    mux.tick(fail)
    leave = mux.tick(lambda: calls.append(reactor.seconds()))
    await until(lambda: len(calls) == 2)
    assert 0.8 < calls[1] - calls[0] < 3
    leave()
    await until(lambda: mux.now > calls[1] + 0.5)
    assert len(calls) == 2


@pytest_twisted.ensureDeferred
async def test_a_descriptor_that_is_used_again_within_a_turn_does_not_get_the_old_events(mux):
    """The first of several ready connections aborts the others and opens new sockets in the same turn."""
    old = [meet(mux) for _ in range(8)]
    fresh: list[Recorder] = []

    def replace(data: bytes) -> None:
        for connection, _, _ in old:
            connection.abort("replaced")
        for _ in range(8):
            ours, theirs = socket.socketpair()
            recorder = Recorder()
            adopt(mux, ours, recorder)
            fresh.append(recorder)
            spare.append(theirs)

    spare: list[socket.socket] = []
    for _, recorder, client in old:
        recorder.on_data = replace if not recorder.data else recorder.on_data
        client.send(b"now")
    await old[0][1].until(lambda: len(fresh) >= 8)
    await until(lambda: all(recorder.reason == "replaced" for _, recorder, _ in old))
    for _ in range(5):
        await turn()
    assert sum(len(recorder.data) for _, recorder, _ in old) == 3
    assert [recorder.losses for recorder in fresh] == [0] * 8
    for sock in (*spare, *(client for _, _, client in old)):
        sock.close()


class Turns(Clock):
    """A reactor that never looks at its readers: the test does."""

    def addReader(self, reader: object) -> None:
        """See IReactorFDSet."""

    removeReader = addReader


def test_on_a_crowded_busy_server_a_message_is_served_as_soon_as_it_comes():
    clock = Turns()
    mux = Mux(clock)
    mux.start()
    clients = []
    for _ in range(1_000):
        connection, recorder, client = meet(mux)
        recorder.on_data = connection.send
        clients.append(client)
    for client in clients:  # a message each millisecond
        client.send(b"x")
        assert select.select([mux.fileno()], [], [], 0)[0]
        mux.doRead()
        assert client.recv(10) == b"x"
        clock.advance(0.001)
    for client in clients:
        client.close()
    mux.stop(0.0)
    clock.advance(0.0)


# -- running out


EXHAUST = """
    import resource, socket, sys
    from twisted.internet import reactor
    from twisted.internet.endpoints import serverFromString
    from twisted.internet.protocol import Factory
    from twisted.logger import globalLogPublisher, eventAsText
    from refserver.net.mux import Mux
    from tests.server.loopback import Recorder

    logged = []
    globalLogPublisher.addObserver(lambda event: logged.append(eventAsText(event, False, False, False)))
    mux = Mux(reactor)
    mux.start()
    accepted, clients, before = [], [], []

    def begin(port):
        number = port.getHost().port
        clients.extend(socket.create_connection(("127.0.0.1", number)) for _ in range(10))
        used = max(client.fileno() for client in clients) + 1
        while (filler := open("/dev/null")).fileno() < used:  # no gaps: the limit is on the number
            clients.append(filler)
        filler.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 2, used + 30))
        mux.listen(port, lambda connection: accepted.append(connection) or Recorder())
        reactor.callLater(0.5, widen, used)

    def widen(used):
        before.append(len(accepted))
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 30, used + 30))
        reactor.callLater(2.5, end)

    def end():
        complaints = [line for line in logged if "cannot accept" in line]
        print(before[0], len(accepted), len(complaints), complaints[0])
        reactor.stop()

    serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(Factory()).addCallback(begin)
    reactor.run()
"""


def test_without_descriptors_accepting_waits_and_goes_on_later():
    """The process has room for one or two more descriptors, ten clients wait; then the limit is raised."""
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(EXHAUST)],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    before, after, complaints, *text = run.stdout.split(maxsplit=3)
    assert int(before) < 3
    assert (int(after), int(complaints)) == (10, 1)
    assert text == ["cannot accept connections: Too many open files; waiting\n"]


@pytest_twisted.ensureDeferred
async def test_thousands_of_connections_leave_nothing_behind(mux):
    door = await open_door(mux)

    def come_and_go(count: int) -> None:
        for number in range(count):
            client = door.dial()
            if number % 3 == 0:
                client.send(b"hello")
            if number % 3 == 1:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.close()

    async def rest() -> tuple[int, int]:
        await until(lambda: len(door.recorders) > 0 and all(each.reason for each in door.recorders))
        door.recorders.clear()
        gc.collect()
        kept = sum(isinstance(each, Connection) for each in gc.get_objects())
        return kept, len(os.listdir("/proc/self/fd"))

    await in_thread(lambda: come_and_go(100))
    before = await rest()
    await in_thread(lambda: come_and_go(3000))
    assert (await rest()) == before
    assert mux.connections == 0


# -- stopping


@pytest_twisted.ensureDeferred
async def test_stop_delivers_what_is_queued_and_ends_when_the_peers_have_ended():
    mux = Mux(reactor)
    mux.start()
    connection, recorder, client = meet(mux)
    door = await open_door(mux)
    connection.send(b"goodbye")
    stopped = mux.stop(5)
    assert not stopped.called
    assert (await in_thread(lambda: client.recv(100))) == b"goodbye"
    assert (await in_thread(lambda: client.recv(100))) == b""
    client.close()
    await stopped
    assert recorder.reason == "closed"
    with pytest.raises(ConnectionRefusedError):
        await in_thread(door.dial)
    await mux.stop()


@pytest_twisted.ensureDeferred
async def test_stop_cuts_off_the_rest_after_its_time():
    mux = Mux(reactor)
    mux.start()
    _, recorder, client = meet(mux)
    await mux.stop(0.1)
    assert recorder.losses == 1
    assert mux.connections == 0
    client.close()


@pytest_twisted.ensureDeferred
async def test_a_stopped_multiplexer_leaves_nothing_in_the_reactor():
    readers = len(reactor.getReaders())
    descriptors = len(os.listdir("/proc/self/fd"))
    mux = Mux(reactor)
    mux.start()
    await open_door(mux)
    await mux.stop()
    await turn()
    assert len(reactor.getReaders()) == readers
    assert [call for call in reactor.getDelayedCalls() if getattr(call.func, "__self__", None) is mux] == []
    assert len(os.listdir("/proc/self/fd")) == descriptors
