"""A flood from one domain costs that domain: others are answered meanwhile; and who is blocked everywhere.

The real server in a process of its own, with the limits as they are when nobody changes a setting, and
other servers that are sockets.
"""

from __future__ import annotations

import json
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from xml.etree.ElementTree import Element

import pytest

from refserver.net.connection import BURST_SECONDS, READ_SIZE
from tests.interop.peers.authority import TestAuthority
from tests.server.live import SECONDS
from tests.server.strangers import LIBRARY, PING, SERVER, Stream, Town, header, message

RATE = 65_536  # s2s_bytes_per_second, where nothing else is said
STREAMS = 3
CALM, TURNS = 3, 30
MIA = f"mia@{LIBRARY}"


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory, certificates: TestAuthority) -> Iterator[Town]:
    """A server among others, with the usual limits on what these send."""
    limits = {"c2s_bytes_per_second": 0}
    with Town(tmp_path_factory.mktemp("limited"), certificates, "certificate", limits=limits) as town:
        yield town


class Flood:
    """One domain sends messages on several streams as fast as they are taken, and reads what comes back."""

    def __init__(self, streams: list[Stream]) -> None:
        self._sockets = [stream._socket for stream in streams]
        one = message(f"eve@{streams[0].name}", MIA, "cheap watches")
        self.size, self._chunk = len(one), one * 200
        self._sent = dict.fromkeys(self._sockets, 0)
        self._answers = b""
        self._over = threading.Event()
        self._answered = threading.Condition()
        self._thread = threading.Thread(target=self._run, daemon=True)
        for each in self._sockets:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
            each.settimeout(0)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.is_set():
            for each in self._sockets:
                self._send(each)
                self._read(each)
            select.select(self._sockets, [], [], 0.01)

    def _send(self, sock: socket.socket) -> None:
        """As much as is taken now: what is not is sent again from the same byte."""
        for _ in range(50):
            try:
                at = self._sent[sock] % len(self._chunk)
                self._sent[sock] += sock.send(self._chunk[at:])
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return

    def _read(self, sock: socket.socket) -> None:
        try:
            data = sock.recv(65536)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        with self._answered:
            self._answers += data
            self._answered.notify_all()

    def until_answered(self, word: bytes) -> None:
        """Wait for an answer with that word in it, on whichever stream."""
        with self._answered:
            assert self._answered.wait_for(lambda: word in self._answers, SECONDS)

    def stop(self) -> None:
        """Send no more."""
        self._over.set()
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()


def test_while_one_domain_floods_every_stanza_of_the_others_is_answered(limited: Town) -> None:
    calm = [limited.stranger().proved(bidi=True) for _ in range(CALM)]
    flooding = limited.stranger()
    streams = [flooding.proved(bidi=True) for _ in range(STREAMS)]
    began = time.monotonic()
    flood = Flood(streams)
    try:
        flood.until_answered(b"<resource-constraint")
        for turn in range(TURNS):
            for stream in calm:
                stream.send(message(f"pat@{stream.name}", MIA, f"question {turn}"))
                assert "result" == stream.ask().get("type")
        shown = json.loads(limited.server.process.ctl("--json", "s2s", "show", flooding.domain))
        allowed = RATE * (BURST_SECONDS + time.monotonic() - began) + STREAMS * READ_SIZE
        assert shown["received"] * flood.size < allowed, "all its streams together bring what one may"
        assert shown["refused"] > 0
    finally:
        flood.stop()
    assert "result" == limited.stranger().proved(bidi=True).ask().get("type"), "newcomers are served"


def test_the_flooding_domain_is_heard_again_when_it_is_calm(limited: Town) -> None:
    """Its streams live on: one person's flood is not the fault of all others there."""
    flooding = limited.stranger()
    stream = flooding.proved(bidi=True)
    ping = PING.format(f"eve@{flooding.domain}", LIBRARY).encode()
    stream.send(ping * 900)
    refused = [stream.element() for _ in range(900)]
    assert {"result", "error"} == {element.get("type") for element in refused}
    assert "result" == stream.ask().get("type"), "somebody else there"


def test_a_domain_blocked_everywhere_is_refused_at_the_stream_and_its_streams_are_closed(
    limited: Town,
) -> None:
    spam, other = limited.stranger(), limited.stranger()
    stream, calm = spam.proved(bidi=True), other.proved(bidi=True)
    assert "result" == stream.ask().get("type")
    ctl = limited.server.process.ctl
    ctl("block", "add", "*", spam.domain, "--reason", "a flood")
    stream.failed("policy-violation")
    refused = spam.connect()
    refused.send(header(spam.domain))
    refused.failed("policy-violation")
    assert "result" == calm.ask().get("type")
    ctl("block", "remove", "*", spam.domain)
    assert "result" == spam.proved(bidi=True).ask().get("type")


def test_a_domain_blocked_by_the_library_finds_nobody_there(limited: Town) -> None:
    spam = limited.stranger()
    stream = spam.proved(bidi=True)
    limited.server.process.ctl("block", "add", LIBRARY, spam.domain)
    answer = stream.ask()
    assert ("error", "service-unavailable") == (answer.get("type"), _condition(answer))
    limited.server.process.ctl("allow", "add", LIBRARY, f"pat@{spam.domain}")
    assert "result" == stream.ask().get("type")


def test_whom_the_library_allows_may_send_as_much_as_a_stream_brings(limited: Town) -> None:
    friend = limited.stranger()
    limited.server.process.ctl("allow", "add", LIBRARY, friend.domain)
    stream = friend.proved(bidi=True)
    stream.send(PING.format(f"pat@{friend.domain}", LIBRARY).encode() * 900)
    assert {"result"} == {stream.element().get("type") for _ in range(900)}


def _condition(stanza: Element) -> str:
    error = stanza.find(f"{SERVER}error")
    assert error is not None
    return error[0].tag.partition("}")[2]
