"""Clients that stop reading, are cut off or are killed at random moments: none of what was kept for them is
lost.

One client is a bare socket, with stream management (XEP-0198) or without, the other is slixmpp. 1,000
offline messages and the answers of a queue wait for a patron who comes and goes. What her client could not
acknowledge may come twice, with the same id; what it could comes once. With `--rounds N` she is cut off N
times.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import ssl
import threading
from base64 import b64encode
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any
from xml.etree.ElementTree import Element, XMLPullParser

import pytest
import slixmpp

from tests.interop.conftest import UNLIMITED, complaints
from tests.interop.peers import Library, RefserverProcess, wait_until
from tests.interop.peers.library import PASSWORD
from tests.interop.peers.people import Librarian, Patron

CLIENT = "{jabber:client}"
SM = "{urn:xmpp:sm:3}"
STREAM = "{http://etherx.jabber.org/streams}"
STANZAS = frozenset(CLIENT + kind for kind in ("message", "presence", "iq"))
MESSAGES = 1_000
ANSWERS = 200
SECONDS = 20.0
SETTINGS = {**UNLIMITED, "c2s": {"require_tls": False, "plain_without_tls": True}}


class Phone:
    """A patron's client: a socket that reads as much as it likes, and may be cut off at any moment.

    `seen` counts the ids of the messages that it has read, `unsure` are those of which the server cannot know
    that it has read them.
    """

    def __init__(self, server: RefserverProcess, jid: str, *, managed: bool) -> None:
        self._address = (server.host, server.port)
        self._name, _, self._domain = jid.partition("@")
        self._managed = managed
        self._socket: socket.socket | None = None
        self._parser: Any = None
        self._depth = 0
        self._root: Element | None = None
        self._open: list[str] = []
        self.resume_id = ""
        self.handled = 0
        self.seen: Counter[str] = Counter()
        self.words: dict[str, str] = {}
        self.unsure: set[str] = set()
        self.resumed = 0
        self.hung_up = False
        self.acknowledged = 0
        """How many of its stanzas the server has handled."""

    # -- coming and going ----------------------------------------------------

    def come(self) -> None:
        """Resume the last session, or log in and be available."""
        self._authenticate()
        if self._managed and self.resume_id:
            self._send(f"<resume xmlns='urn:xmpp:sm:3' previd='{self.resume_id}' h='{self.handled}'/>")
            answer = self._next(SM + "resumed", SM + "failed")
            if answer.tag == SM + "resumed":
                self.resumed += 1
                self._open.clear()
                return
            self.resume_id = ""
        self.unsure.update(self._open)
        self._open.clear()
        bind = "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>phone</resource></bind>"
        self._send(f"<iq type='set' id='bind'>{bind}</iq>")
        self._next(CLIENT + "iq")
        if self._managed:
            self._send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
            self.resume_id = self._next(SM + "enabled").attrib["id"]
            self.handled = 0
        self._send("<presence/>")

    def is_cut(self) -> None:
        """The connection is gone, with all that was under way on it."""
        assert self._socket is not None
        self._socket.close()
        self._socket = None

    def is_killed(self) -> None:
        """The same, and the client forgets how far it had come."""
        self.is_cut()
        self.resume_id = ""

    def read(self, most: int, patience: float = 0.3) -> int:
        """Read about so many stanzas, fewer if there is nothing for a while; how many."""
        assert self._socket is not None
        count = 0
        while count < most and select.select([self._socket], [], [], patience)[0]:
            data = b""
            with contextlib.suppress(ConnectionError):
                data = self._socket.recv(4096)
            if not data:
                self.hung_up = True
                break
            for element in self._parse(data):
                count += 1
                self._take(element)
        return count

    def acknowledge(self) -> None:
        """Tell the server how far it has come."""
        if self._managed:
            self._send(f"<a xmlns='urn:xmpp:sm:3' h='{self.handled}'/>")
            self._open.clear()

    def write(self, to: str, words: str) -> None:
        """Send a message, its words as its id."""
        self._send(f"<message to='{to}' type='chat' id='{words}'><body>{words}</body></message>")

    def ask(self) -> None:
        """Ask the server what it has handled."""
        self._send("<r xmlns='urn:xmpp:sm:3'/>")

    # -- the protocol --------------------------------------------------------

    def _take(self, element: Element) -> None:
        assert element.tag != STREAM + "error", [child.tag for child in element]
        if element.tag == SM + "r":
            self.acknowledge()
            return
        if element.tag == SM + "a":
            self.acknowledged = int(element.attrib["h"])
        if element.tag not in STANZAS:
            return
        self.handled += 1
        if element.find("{urn:xmpp:ping}ping") is not None:
            self._send(f"<iq type='result' to='{element.get('from')}' id='{element.get('id')}'/>")
            if not self._managed:
                self._open.clear()
        words = element.findtext(CLIENT + "body")
        if element.tag == CLIENT + "message" and words:
            id = f"{element.get('from', '').partition('/')[0]} {element.get('id')}"
            assert self.words.setdefault(id, words) == words
            self.seen[id] += 1
            self._open.append(id)

    def _authenticate(self) -> None:
        self._socket = socket.create_connection(self._address, SECONDS)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what was sent has left
        self._begin()
        credentials = b64encode(f"\0{self._name}\0{PASSWORD}".encode()).decode()
        self._send(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{credentials}</auth>")
        self._next("{urn:ietf:params:xml:ns:xmpp-sasl}success")
        self._begin()

    def _begin(self) -> None:
        self._parser, self._depth, self._root = XMLPullParser(["start", "end"]), 0, None
        self._send(
            f"<stream:stream to='{self._domain}' version='1.0' xmlns='jabber:client'"
            " xmlns:stream='http://etherx.jabber.org/streams'>"
        )
        self._next(STREAM + "features")

    def _send(self, xml: str) -> None:
        assert self._socket is not None
        with contextlib.suppress(ConnectionError):
            self._socket.sendall(xml.encode())

    def _next(self, *tags: str) -> Element:
        """The next element with one of those tags; what comes with it is taken."""
        assert self._socket is not None
        found: Element | None = None
        while found is None:
            data = self._socket.recv(1)  # byte by byte: what follows is not read with it
            assert data, "the server hung up"
            for element in self._parse(data):
                if element.tag in tags:
                    found = element
                else:
                    self._take(element)
        return found

    def _parse(self, data: bytes) -> list[Element]:
        self._parser.feed(data)
        flush = getattr(self._parser, "flush", None)  # expat 2.6 waits for more where it need not
        if flush is not None:
            flush()
        found = []
        for event, element in self._parser.read_events():
            self._depth += 1 if event == "start" else -1
            if self._depth == 1 and event == "start":
                self._root = element
            elif self._depth == 1 and self._root is not None:
                self._root.remove(element)
                found.append(element)
        return found


@pytest.fixture
def plain_library(start_refserver: Callable[..., RefserverProcess]) -> Library:
    server = start_refserver(settings=SETTINGS)
    return Library(server, "library.example").set_up(("mia",), ("pat", "eve"))


@pytest.mark.slow
@pytest.mark.parametrize("managed", [True, False], ids=["with 0198", "without"])
def test_a_patron_who_comes_and_goes_gets_everything(
    plain_library: Library, managed: bool, request: pytest.FixtureRequest
) -> None:
    library, chance = plain_library, Random(f"{managed}")
    rounds: int = request.config.getoption("rounds") or 12
    with library:
        mia, chat = asked(library)
        phone = Phone(library.server, library.jid("pat"), managed=managed)
        write_much(library)
        for number in range(rounds):
            phone.come()
            for answer in range(number * ANSWERS // rounds, (number + 1) * ANSWERS // rounds):
                mia.write_to(chat, f"answer {answer}")
            if chance.random() < 0.7:
                phone.read(chance.randrange(1, 400), patience=0.1)
            if chance.random() < 0.5:
                phone.acknowledge()
            (phone.is_cut if chance.random() < 0.7 else phone.is_killed)()
        phone.come()
        expected = {f"old {number}" for number in range(MESSAGES)} | {
            f"answer {number}" for number in range(ANSWERS)
        }

        def everything() -> bool:
            if not phone.read(5_000, patience=2.0):  # her store was full: it tries again when she comes
                phone.is_cut()
                phone.come()
            phone.acknowledge()
            assert not phone.hung_up
            return expected <= set(phone.words.values())

        wait_until(
            everything, "all messages", 60, lambda: f"missing: {sorted(expected - set(phone.words.values()))}"
        )
        phone.read(5_000, patience=1.0)
        twice = {id for id, times in phone.seen.items() if times > 1}
        print(f"{rounds} rounds, {phone.resumed} resumed, {len(twice)} twice")
        assert twice <= phone.unsure
        assert len(expected) == len([words for words in phone.words.values() if words in expected])
        phone.is_cut()
        assert [] == complaints(library.server.log)


def asked(library: Library) -> tuple[Librarian, str]:
    """A librarian who has pat's question, and the address of their chat; pat is away."""
    mia = library.librarian("mia")
    pat = library.patron("pat")
    pat.ask("Where is the atlas?")
    number = mia.announced("Where is the atlas?")
    mia.take(number)
    pat.catch_up()
    pat.close()
    return mia, mia.chat(number)


def write_much(library: Library) -> None:
    """Eve writes to pat, who is away; return once all of it is kept."""
    eve = Patron(
        library.jid("eve"), PASSWORD, library.server.authority.ca, library.server.port, library.queue
    )
    with eve:
        for number in range(MESSAGES):
            eve.write_to(library.jid("pat"), f"old {number}")
        eve.catch_up()


# -- slixmpp -------------------------------------------------------------------------------------------


class Tunnel:
    """A TCP proxy in slixmpp's own loop, whose connections can be cut."""

    def __init__(self, to: tuple[str, int]) -> None:
        self._to = to
        self._writers: set[asyncio.StreamWriter] = set()
        self.server: asyncio.Server | None = None

    async def open(self) -> tuple[str, int]:
        self.server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        host, port = self.server.sockets[0].getsockname()
        return host, port

    def cut(self) -> None:
        """Reset all connections, with what is under way in them."""
        for writer in self._writers:
            sock = writer.get_extra_info("socket")
            if sock is not None:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            writer.transport.abort()
        self._writers.clear()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            far_reader, far_writer = await asyncio.open_connection(*self._to)
            self._writers |= {writer, far_writer}
            await asyncio.gather(_pass_on(reader, far_writer), _pass_on(far_reader, writer))


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(4096):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.mark.slow
def test_slixmpp_resumes_over_a_connection_that_is_cut(
    plain_library: Library, request: pytest.FixtureRequest
) -> None:
    library, rounds = plain_library, request.config.getoption("rounds") or 8
    chance = Random(7)

    async def chat() -> tuple[Counter[str], int, int]:
        tunnel = Tunnel((library.server.host, library.server.port))
        address = await tunnel.open()
        heard: Counter[str] = Counter()
        resumed, sent = 0, 0
        news = asyncio.Event()
        eve = slixmpp.ClientXMPP(f"{library.jid('eve')}/desk", PASSWORD)
        pat = slixmpp.ClientXMPP(f"{library.jid('pat')}/phone", PASSWORD)
        for client in (eve, pat):
            client.register_plugin("xep_0198")
            client.ssl_context = ssl.create_default_context(cafile=str(library.server.authority.ca))
            client.enable_direct_tls, client.enable_starttls = False, True

        def took(message: Any) -> None:
            heard[message["body"]] += 1
            news.set()

        pat.add_event_handler("message", took)
        for client, where in ((eve, (library.server.host, library.server.port)), (pat, address)):
            started = asyncio.Event()
            client.add_event_handler("sm_enabled", lambda _, started=started: started.set())
            client.connect(*where)
            await asyncio.wait_for(started.wait(), SECONDS)
            client.send_presence()

        back = asyncio.Event()

        def again(_: Any) -> None:
            nonlocal resumed
            resumed += 1
            back.set()

        pat.add_event_handler("session_resumed", again)

        def reconnect(_: Any) -> None:
            pat.connect(*address)

        pat.add_event_handler("disconnected", reconnect)
        for _ in range(rounds):
            back.clear()
            for _ in range(chance.randrange(1, 40)):
                eve.send_message(slixmpp.JID(pat.boundjid.bare), f"m{sent}", mtype="chat")
                sent += 1
            await asyncio.sleep(0)
            news.clear()
            if chance.random() < 0.5:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(news.wait(), 1)
            tunnel.cut()
            await asyncio.wait_for(back.wait(), SECONDS)
        deadline = asyncio.get_running_loop().time() + SECONDS
        while len(heard) < sent and asyncio.get_running_loop().time() < deadline:
            news.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(news.wait(), 1)
        pat.del_event_handler("disconnected", reconnect)
        for client in (pat, eve):
            client.abort()
        return heard, sent, resumed

    with library:
        heard, sent, resumed = asyncio.run(chat())
    assert rounds == resumed
    assert Counter(f"m{number}" for number in range(sent)) == heard
    assert [] == complaints(library.server.log)


# -- kill -9 -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_was_acknowledged_survives_kill_9(
    plain_library: Library, request: pytest.FixtureRequest
) -> None:
    """Eve writes to pat, who is away or may come back, as fast as the server takes it, until it is killed."""
    library, chance = plain_library, Random(9)
    server, acknowledged = library.server, 0
    for number in range(request.config.getoption("rounds") or 3):
        eve = Phone(server, library.jid("eve"), managed=True)
        eve.come()
        sent: list[str] = []
        killed = threading.Timer(chance.uniform(0.05, 0.6), server.kill)
        killed.start()
        while not eve.hung_up and len(sent) < 900:
            for _ in range(chance.randrange(1, 20)):
                sent.append(f"{number}-{len(sent)}")
                eve.write(library.jid("pat"), sent[-1])
            eve.ask()
            eve.read(5, patience=0.01)
        killed.join()
        while not eve.hung_up:
            eve.read(5)
        server.start()
        pat = Phone(server, library.jid("pat"), managed=True)
        pat.come()
        while pat.read(5_000):
            pat.acknowledge()
        pat.read(10)
        kept = set(pat.words.values())
        safe = sent[: max(0, eve.acknowledged - 1)]  # the first was her presence
        assert [] == [text for text in safe if text not in kept]
        acknowledged += len(safe)
        pat.is_cut()
    print(f"{acknowledged} acknowledged")
    assert acknowledged
