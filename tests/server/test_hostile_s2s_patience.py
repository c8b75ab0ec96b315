"""Other servers that take for ever: each step has its end, however slowly the bytes drip.

Both ends' deadlines are shorter here than in service.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.task import LoopingCall

from refserver.errors import Cause, StreamFault
from refserver.net.mux import Mux
from refserver.s2s import connect, outbound_queue
from refserver.s2s import dialback as dialback_module
from refserver.s2s.resolver import Target
from tests.server.federated import FederatedServer
from tests.server.live import STARTTLS, TLS
from tests.server.loopback import in_thread, reactor, read_to_end, until
from tests.server.strangers import dialback, external, features, header

HERE, THERE = "library.example", "there.example"
MIA, PAT = f"mia@{HERE}/desk", f"pat@{THERE}/phone"
OFFER = features(f"<starttls xmlns='{TLS}'/>")
PROCEED = f"<proceed xmlns='{TLS}'/>".encode()
HELLO = bytes.fromhex("160303400002")  # a record of 16 KiB begins, with a handshake in it


@pytest.fixture
def drops() -> Iterator[Callable[[socket.socket, bytes], None]]:
    """Sends bytes one by one for as long as somebody takes them, the last one again and again."""
    running: list[LoopingCall] = []

    def start(sock: socket.socket, data: bytes) -> None:
        left = bytearray(data)

        def drop() -> None:
            with contextlib.suppress(OSError):
                sock.send(bytes([left.pop(0)]) if len(left) > 1 else bytes(left))

        call = LoopingCall(drop)
        running.append(call)
        call.start(0.01)

    yield start
    for call in running:
        call.stop()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FederatedServer]:
    monkeypatch.setattr(outbound_queue, "ATTEMPT_SECONDS", 0.9)
    monkeypatch.setattr(connect, "NEGOTIATE_SECONDS", 0.4)
    monkeypatch.setattr(dialback_module, "VERIFY_SECONDS", 0.4)
    mux = Mux(reactor)
    mux.start()
    yield FederatedServer(mux, tmp_path / "certificates", {}, [HERE], dialback=True, unproved_timeout=1)
    pytest_twisted.blockon(mux.stop(0.2))


# -- who comes to us ---------------------------------------------------------------------------


def opened(target: Target, words: bytes) -> socket.socket:
    """A connection on which `words` were said and something was answered, if words there were."""
    sock = socket.create_connection((target.host, target.port), 10)
    sock.sendall(words)
    return sock


def secured(target: Target, folder: Path) -> ssl.SSLSocket:
    """A stream under TLS, open, without a certificate."""
    sock = opened(target, header(THERE) + STARTTLS)
    data = b""
    while not data.endswith(b"/>") or b"proceed" not in data:
        data += sock.recv(1)
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    under = context.wrap_socket(sock, server_hostname=HERE)
    under.sendall(header(THERE))
    return under


@pytest_twisted.ensureDeferred
async def test_who_proves_nothing_in_time_is_sent_away(here: FederatedServer, drops: Any) -> None:
    """Drops give nobody more time."""
    await here.listen()
    target = here.places[HERE]
    beginnings = {"silent": b"", "beginning": header(THERE)[:60], "opened": header(THERE)}
    socks = {name: opened(target, words) for name, words in beginnings.items()}
    socks["shaking"] = opened(target, header(THERE) + STARTTLS)
    drops(socks["opened"], b" ")
    drops(socks["beginning"], b"aaa")
    drops(socks["shaking"], HELLO)
    unproved = await in_thread(lambda: secured(target, here.folder))
    answers = {name: await in_thread(partial(read_to_end, sock)) for name, sock in socks.items()}
    for name in beginnings:
        assert b"<connection-timeout " in answers[name], name
    assert b"stream:error" not in answers["shaking"]
    assert b"<connection-timeout " in await in_thread(lambda: read_to_end(unproved))
    for sock in (*socks.values(), unproved):
        sock.close()
    await until(lambda: here.service.mux.connections == 0)
    assert not here.service.connections


@pytest_twisted.ensureDeferred
async def test_who_shakes_hands_at_once_and_never_ends_is_cut_off(here: FederatedServer, drops: Any) -> None:
    await here.listen(tls=True)
    sock = opened(here.places[HERE], b"")
    drops(sock, HELLO)
    assert b"" == await in_thread(lambda: read_to_end(sock))
    await until(lambda: not here.service.connections)


# -- to whom we go -----------------------------------------------------------------------------

DRIPPED = {
    "nothing": (b"", b""),
    "a header": (b"", header(THERE, HERE, "id='s' version='1.0'")[:-1] + b" a='aaa"),
    "spaces": (header(THERE, HERE, "id='s' version='1.0'"), b" "),
    "features": (header(THERE, HERE, "id='s' version='1.0'"), b"<stream:features>a"),
    "a handshake": (header(THERE, HERE, "id='s' version='1.0'") + OFFER + PROCEED, HELLO),
}


def answered(listening: socket.socket, at_once: bytes) -> socket.socket:
    """Our connection, to which `at_once` was said; if that lets us shake hands we have begun to."""
    sock, _ = listening.accept()
    sock.settimeout(10)
    sock.sendall(at_once)
    data = b""
    while at_once.endswith(PROCEED) and b"\x16\x03" not in data:
        data += sock.recv(10_000)
    return sock


@pytest.mark.parametrize("row", DRIPPED)
@pytest_twisted.ensureDeferred
async def test_a_server_that_gets_never_ready_is_left(here: FederatedServer, drops: Any, row: str) -> None:
    at_once, slowly = DRIPPED[row]
    with socket.create_server(("127.0.0.1", 0)) as listening:
        here.places[THERE] = Target(*listening.getsockname())
        here.send(MIA, PAT)
        sock = await in_thread(lambda: answered(listening, at_once))
        drops(sock, slowly)
        assert ["remote-server-timeout"] == await here.until_got(1)
    assert StreamFault(Cause.TOO_SLOW) == here.status(THERE).last_error
    sock.close()
    await until(lambda: here.service.mux.connections == 0)


# -- whom we ask -------------------------------------------------------------------------------


@pytest.mark.parametrize("row", DRIPPED)
@pytest_twisted.ensureDeferred
async def test_an_authority_that_never_answers_is_given_up(
    here: FederatedServer, drops: Any, row: str
) -> None:
    """The server whose key it is hears of it; nothing is left of the question."""
    at_once, slowly = DRIPPED[row]
    await here.listen()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        here.places[THERE] = Target(*listening.getsockname())
        asking = await in_thread(lambda: secured(here.places[HERE], here.folder))
        asking.sendall(dialback("result", THERE, HERE, "key"))
        sock = await in_thread(lambda: answered(listening, at_once))
        drops(sock, slowly)
        data = b""
        while b"</db:result>" not in data:
            data += await in_thread(lambda: asking.recv(10_000))
        assert b"<remote-server-timeout " in data
    assert not here.service.dialback._asking
    assert not here.service.dialback._by_source
    for each in (sock, asking):
        each.close()
    await until(lambda: here.service.mux.connections == 0)


@pytest_twisted.ensureDeferred
async def test_the_word_of_an_authority_is_of_no_use_to_who_has_gone(here: FederatedServer) -> None:
    await here.listen()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        here.places[THERE] = Target(*listening.getsockname())
        asking = await in_thread(lambda: secured(here.places[HERE], here.folder))
        asking.sendall(dialback("result", THERE, HERE, "key") + external())
        sock, _ = await in_thread(listening.accept)
        asking.close()
        await until(lambda: not here.service.connections)
        await until(lambda: not here.service.dialback._asking)
        sock.close()
    await until(lambda: here.service.mux.connections == 0)
