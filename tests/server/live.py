"""The real server in a process of its own, and a client that is only a socket.

    with LiveServer(folder, authority, libraries={"library.example": ["mia", "pat"]}) as server:
        raw = server.connect()
        raw.send(HEADER + b"<message>")
        raw.failed("not-authorized")

The server is `twistd -n refserver` with all its parts, on free ports of the loopback, its
accounts written into the store beforehand. The client knows no protocol but what the tests
tell it: bytes go out as they are, and what comes in is looked at as bytes or as elements.
Every connection has a loopback address of its own, because limits and delays go by address.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import socket
import ssl
import time
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from xml.etree.ElementTree import Element, XMLPullParser

from refserver.jid import JID
from refserver.sasl.verifier import LEAST_ITERATIONS, Hashing, make_verifiers
from refserver.storage import Database, accounts, libraries
from tests.interop.peers.authority import TestAuthority
from tests.interop.peers.refserver_process import RefserverProcess
from tests.unit.scram_client import ScramClient

SECONDS = 10.0  # how long anything may take before the test fails
PASSWORD = "a shared secret"
STREAM = "http://etherx.jabber.org/streams"
CLIENT = "{jabber:client}"
STREAMS = "{urn:ietf:params:xml:ns:xmpp-streams}"
STANZAS = "{urn:ietf:params:xml:ns:xmpp-stanzas}"
COUNTED = frozenset(CLIENT + kind for kind in ("message", "presence", "iq"))
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
TLS = "urn:ietf:params:xml:ns:xmpp-tls"
STARTTLS = f"<starttls xmlns='{TLS}'/>".encode()

_addresses = itertools.count(2)


def fresh_address() -> str:
    """A loopback address that no connection has come from yet."""
    number = next(_addresses)
    return f"127.{1 + number // 62_500}.{number // 250 % 250}.{1 + number % 250}"


def header(to: str = "library.example", version: str = "1.0", content: str = "jabber:client") -> bytes:
    """A stream header."""
    return (
        f"<?xml version='1.0'?><stream:stream to='{to}' version='{version}'"
        f" xmlns='{content}' xmlns:stream='{STREAM}'>"
    ).encode()


def auth(mechanism: str, data: bytes) -> bytes:
    """`<auth/>` with an initial response."""
    return f"<auth xmlns='{SASL}' mechanism='{mechanism}'>{b64encode(data).decode() or '='}</auth>".encode()


def plain(username: str, password: str = PASSWORD, authzid: str = "") -> bytes:
    """`<auth/>` for PLAIN."""
    return auth("PLAIN", f"{authzid}\0{username}\0{password}".encode())


def bind(resource: str) -> bytes:
    """A request to bind a resource."""
    space = "urn:ietf:params:xml:ns:xmpp-bind"
    return (
        f"<iq type='set' id='bind'><bind xmlns='{space}'><resource>{resource}</resource></bind></iq>".encode()
    )


def condition(stanza: Element) -> tuple[str, str]:
    """Type and condition of a stanza error."""
    assert stanza.get("type") == "error", stanza.attrib
    error = stanza.find(f"{CLIENT}error")
    assert error is not None
    found = [child.tag for child in error if child.tag.startswith(STANZAS)]
    return error.get("type", ""), found[0].removeprefix(STANZAS)


class LiveServer:
    """A server with these libraries and accounts, all of whose passwords are PASSWORD.

    `settings` are tables of the configuration, over the tests' defaults: no rate limit. As a
    context manager it runs inside, and fails if the log holds anything unexpected.
    """

    def __init__(
        self,
        folder: Path,
        authority: TestAuthority,
        libraries: Mapping[str, Iterable[str]],
        settings: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.authority = authority
        self.process = RefserverProcess(folder, authority, settings)
        self._connections: list[Raw] = []
        authority.certify(*libraries)
        _seed(folder / "data", libraries)

    def __enter__(self) -> Self:
        self.process.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for raw in self._connections:
            raw.hang_up()
        self.process.stop()
        assert self.complaints() == [], self.process.log[-3000:]

    @property
    def pid(self) -> int:
        """The server's process."""
        return self.process.process.pid

    def ask_to_end(self) -> None:
        """Send the server SIGTERM."""
        os.kill(self.pid, signal.SIGTERM)

    def complaints(self) -> list[str]:
        """The lines of the log that tell of something unexpected."""
        wrong = re.compile(r"Traceback|Unhandled|[Cc]ritical|Error:|failed")
        return [line for line in self.process.log.splitlines() if wrong.search(line)]

    def memory(self) -> int:
        """Bytes of the server's process that are in memory."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+) kB", text)[0]) * 1024

    def connect(self, domain: str = "library.example", source: str = "", port: int = 0) -> Raw:
        """A new connection, from an address of its own unless `source` names one."""
        where = (self.process.host, port or self.process.port)
        sock = socket.create_connection(where, SECONDS, (source or fresh_address(), 0))
        raw = Raw(sock, self.authority.ca, domain)
        self._connections.append(raw)
        return raw

    def open(self, domain: str = "library.example", source: str = "") -> Raw:
        """A connection whose stream has been opened."""
        raw = self.connect(domain, source)
        raw.open()
        return raw

    def login(self, jid: str, tls: bool = False) -> Raw:
        """An authenticated and bound session, no presence sent; `jid` is a full one."""
        address = JID.parse(jid)
        raw = self.open(address.domainpart)
        if tls:
            raw.starttls()
        raw.authenticate(address.localpart)
        raw.bind(address.resourcepart)
        return raw

    def online(self, jid: str, tls: bool = False) -> Raw:
        """The same with available presence; what it is told at that is dropped."""
        raw = self.login(jid, tls)
        raw.send(b"<presence/>")
        raw.stanza("presence")
        raw.stanzas()
        return raw

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Nothing unexpected may be logged inside; who connects there hangs up at the end."""
        complaints, connections = len(self.complaints()), len(self._connections)
        yield
        for raw in self._connections[connections:]:
            raw.hang_up()
        del self._connections[connections:]
        assert self.complaints()[complaints:] == []


def _seed(data: Path, contents: Mapping[str, Iterable[str]]) -> None:
    data.mkdir(parents=True)
    database = Database.open(data / "refserver.sqlite")
    verifiers = make_verifiers(PASSWORD, Hashing(iterations=LEAST_ITERATIONS))
    for domain, names in contents.items():
        database.write_now(libraries.add, domain, f"The {domain}")
        for name in names:
            database.write_now(accounts.add, JID.of(name, domain), verifiers, time.time())
    database.close_now()


class Raw:
    """A socket. What it waits for and does not get within SECONDS fails the test."""

    def __init__(self, sock: socket.socket, ca: Path, domain: str) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(SECONDS)
        self.domain = domain
        self.jid = ""
        self._socket = sock
        self._ca = ca
        self._unread = b""
        self._parser: XMLPullParser[Any] = XMLPullParser(("start", "end"))
        self._depth = 0
        self._root = Element("none")
        self._elements: deque[Element] = deque()
        self.handled = 0
        """Stanzas that came since stream management was turned on (XEP-0198)."""

    # -- bytes ------------------------------------------------------------------

    def send(self, data: bytes | str) -> None:
        """Send bytes as they are."""
        self._socket.sendall(data.encode() if isinstance(data, str) else data)

    def try_send(self, data: bytes) -> bool:
        """Send bytes to a server that may have hung up; False if it has."""
        try:
            self.send(data)
        except (ConnectionError, ssl.SSLError):
            return False
        return True

    def expect(self, pattern: bytes) -> bytes:
        """Read until `pattern` (a regular expression) is there; all up to its end counts as read."""
        wanted = re.compile(pattern, re.DOTALL)
        while (found := wanted.search(self._unread)) is None:
            assert self._read(), f"the server hung up; {pattern!r} was expected, there is {self._unread!r}"
        read, self._unread = self._unread[: found.end()], self._unread[found.end() :]
        return read

    def closed(self) -> bytes:
        """Read until the server has hung up; everything that came."""
        while self._read():
            pass
        self._socket.close()
        data, self._unread = self._unread, b""
        return data

    def received(self) -> bytes:
        """The stanzas that have come and were not read yet, without waiting for more."""
        self._socket.settimeout(0)
        try:
            self._take(self._socket.recv(65536))
        except (BlockingIOError, ssl.SSLWantReadError):
            pass
        except ConnectionError:
            return self._unread
        finally:
            self._socket.settimeout(SECONDS)
        return self._unread

    def end(self) -> None:
        """Send no more; the server's words are still read."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def hang_up(self) -> None:
        """Close the socket without a word."""
        self._socket.close()

    def _read(self) -> bool:
        try:
            data = self._socket.recv(65536)
        except TimeoutError:
            raise AssertionError(f"nothing came in {SECONDS:g} s; there is {self._unread!r}") from None
        except (ConnectionResetError, ssl.SSLEOFError):
            return False
        self._take(data)
        return bool(data)

    def _take(self, data: bytes) -> None:
        self._unread += data
        for piece in re.split(rb"(?=<\?xml )", data):
            if piece.startswith(b"<?xml "):  # a stream begins anew
                self._parser = XMLPullParser(("start", "end"))
                self._depth = 0
            self._parse(piece)

    def _parse(self, data: bytes) -> None:
        self._parser.feed(data)
        flush = getattr(self._parser, "flush", None)  # expat 2.6 waits for more where it need not
        if flush is not None:
            flush()
        events: Any = self._parser.read_events()
        for event, element in events:
            self._depth += 1 if event == "start" else -1
            if self._depth == 1 and event == "end":
                self._elements.append(element)
                if element.tag in COUNTED:
                    self.handled += 1
                elif element.tag == "{urn:xmpp:sm:3}enabled":
                    self.handled = 0
                self._root.remove(element)
            elif self._depth == 1:
                self._root = element

    # -- elements ---------------------------------------------------------------

    def element(self) -> Element:
        """The next element of the stream."""
        while not self._elements:
            assert self._read(), f"the server hung up; an element was expected, there is {self._unread!r}"
        self._unread = b""
        return self._elements.popleft()

    def left(self) -> list[Element]:
        """The bytes that have come and were not looked at."""
        left = list(self._elements)
        self._elements.clear()
        return left

    def stanza(self, kind: str, id: str = "") -> Element:
        """The next stanza of that kind, with that id if given; what comes before it is dropped."""
        while True:
            element = self.element()
            assert element.tag != f"{{{STREAM}}}error", [child.tag for child in element]
            if element.tag == CLIENT + kind and (not id or element.get("id") == id):
                return element

    def ask(self, type: str, payload: str, to: str = "") -> Element:
        """Send an iq; its answer."""
        address = f" to='{to}'" if to else ""
        id = f"ask{time.monotonic_ns()}"
        self.send(f"<iq type='{type}' id='{id}'{address}>{payload}</iq>")
        return self.stanza("iq", id)

    def stanzas(self) -> list[Element]:
        """All that was sent to this session until now: the server answers a ping behind it."""
        self.send("<iq type='get' id='until-now'><ping xmlns='urn:xmpp:ping'/></iq>")
        got: list[Element] = []
        while (element := self.element()).get("id") != "until-now":
            got.append(element)
        return got

    def failed(self, condition: str) -> Element:
        """The stream must end in order with that stream error: header, error, closing tag, closed socket."""
        data = self.closed()
        assert data.endswith(b"</stream:stream>"), data[-300:]
        self._parser.close()  # raises if the document is not complete
        assert self._elements, data
        error = self._elements[-1]
        assert error.tag == f"{{{STREAM}}}error", error.tag
        assert error[0].tag == STREAMS + condition, error[0].tag
        assert self._root.get("id")
        return error

    # -- logging in -------------------------------------------------------------

    def open(self, **attributes: str) -> bytes:
        """Begin the stream, or begin it anew; the features."""
        self.send(header(self.domain, **attributes))
        return self.expect(b"</stream:features>")

    def secure(self, server_name: str = "") -> None:
        """Speak TLS, the server's certificate being verified for the domain."""
        context = ssl.create_default_context(cafile=str(self._ca))
        secured = context.wrap_socket(self._socket, server_hostname=server_name or self.domain)
        self.certificate: Any = secured.getpeercert()
        self._socket = secured

    def starttls(self) -> bytes:
        """STARTTLS, and the stream begun anew; the features."""
        self.send(STARTTLS)
        self.expect(b"<proceed [^>]*/>")
        self.secure()
        return self.open()

    def authenticate(self, username: str, password: str = PASSWORD) -> None:
        """Log in by PLAIN, and begin the stream anew."""
        self.send(plain(username, password))
        self.expect(b"<success [^>]*/>")
        self.jid = f"{username}@{self.domain}"
        self.open()

    def bind(self, resource: str) -> None:
        """Bind a resource."""
        self.send(bind(resource))
        assert self.stanza("iq", "bind").get("type") == "result"
        self.jid = f"{self.jid}/{resource}"

    def scram(self, username: str, password: str = PASSWORD, **options: Any) -> tuple[bytes, ScramClient]:
        """Take part in a SCRAM-SHA-256 exchange to its end; what the server said last."""
        client = ScramClient(username, password, **options)
        self.send(auth("SCRAM-SHA-256", client.first()))
        challenge = self.expect(rb"<challenge [^>]*>([^<]*)</challenge>")
        text = re.findall(rb">([^<]+)</challenge>", challenge)[-1]
        answer = b64encode(client.final(b64decode(text))).decode()
        self.send(f"<response xmlns='{SASL}'>{answer}</response>")
        return self.expect(rb"</failure>|</success>"), client


class Bystanders:
    """Two clients who were logged in before, and chat."""

    def __init__(self, server: LiveServer, one: str, other: str, tls: bool = False) -> None:
        self.one = server.online(one, tls)
        self.other = server.online(other, tls)
        self._numbers = itertools.count(1)

    def chat(self) -> None:
        """A message each way, which must arrive as it was sent."""
        for sender, recipient in ((self.one, self.other), (self.other, self.one)):
            text = f"still here {next(self._numbers)}"
            sender.send(f"<message to='{recipient.jid}' type='chat'><body>{text}</body></message>")
            message = recipient.stanza("message")
            assert (sender.jid, text) == (message.get("from"), message.findtext(f"{CLIENT}body"))
