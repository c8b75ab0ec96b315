"""Other servers that are only sockets: they come to us, or wait for us where `[s2s] hosts` sends us.

    with Town(folder, authority, "dialback") as town:
        stream = town.stranger().proved()      # a server that came to us and proved its domain
        stranger = town.stranger()
        with stranger.at_home() as door:       # and one to which we go, because mia writes to it
            town.write_to(stranger)
            visit = door.answer()
            visit.serve()

Every stranger has a domain and a loopback address of its own; one certificate is good for all of them.
"""

from __future__ import annotations

import itertools
import re
import shutil
import socket
import ssl
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Self
from xml.etree.ElementTree import Element

from refserver.app.certificates import Authority, Certificate
from refserver.stream.dialback import make_key
from tests.interop.peers.authority import TestAuthority
from tests.interop.peers.ports import free_port
from tests.server.live import SASL, SECONDS, STARTTLS, STREAM, STREAMS, TLS, LiveServer, Raw, fresh_address

LIBRARY = "library.example"
TOWN = "town.example"
STRANGERS = 1_000
HOLES = 2_500
ITSELF = f"me.{TOWN}"  # a domain that leads to our own server
SERVER = "{jabber:server}"
BIDI = b"<bidi xmlns='urn:xmpp:bidi'/>"
OFFER_TLS = f"<starttls xmlns='{TLS}'/>"
OFFER_EXTERNAL = f"<mechanisms xmlns='{SASL}'><mechanism>EXTERNAL</mechanism></mechanisms>"
OFFER_DIALBACK = "<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>"
SUCCESS = f"<success xmlns='{SASL}'/>".encode()
PING = "<iq type='get' id='ping' from='{}' to='{}'><ping xmlns='urn:xmpp:ping'/></iq>"


def header(from_: str = f"n1.{TOWN}", to: str = LIBRARY, more: str = "version='1.0'") -> bytes:
    """A server's stream header."""
    addresses = "".join(f" {name}='{value}'" for name, value in (("from", from_), ("to", to)) if value)
    return (
        f"<?xml version='1.0'?><stream:stream{addresses} {more} xmlns='jabber:server'"
        f" xmlns:db='jabber:server:dialback' xmlns:stream='{STREAM}'>"
    ).encode()


def features(*offers: str) -> bytes:
    """The features of a receiving server."""
    return f"<stream:features>{''.join(offers)}</stream:features>".encode()


def external(authzid: str = "") -> bytes:
    """`<auth/>` for EXTERNAL."""
    text = b64encode(authzid.encode()).decode() or "="
    return f"<auth xmlns='{SASL}' mechanism='EXTERNAL'>{text}</auth>".encode()


def dialback(name: str, from_: str, to: str, key: str = "", **attributes: str) -> bytes:
    """`<db:result/>` or `<db:verify/>`."""
    more = "".join(f" {each}='{value}'" for each, value in attributes.items())
    return f"<db:{name} from='{from_}' to='{to}'{more}>{key}</db:{name}>".encode()


def message(from_: str, to: str = f"mia@{LIBRARY}", body: str = "hello") -> bytes:
    """A message."""
    return f"<message from='{from_}' to='{to}'><body>{body}</body></message>".encode()


class Stream(Raw):
    """A connection that a stranger opened to us, and says it is `name` on."""

    def __init__(self, sock: socket.socket, town: Town, name: str) -> None:
        super().__init__(sock, town.authority.ca, LIBRARY)
        self.town = town
        self.name = name

    def open(self, **attributes: str) -> bytes:
        """Begin the stream, or begin it anew; the features."""
        self.send(header(self.name, **attributes))
        offered = self.expect(b"</stream:features>")
        self._elements.clear()
        return offered

    @property
    def id(self) -> str:
        """The id that our server gave the stream."""
        return str(self._root.get("id"))

    def secure(self, server_name: str = "", certificate: Path | None = None) -> None:
        """Speak TLS; with a certificate, show it."""
        context = self.town.clients(certificate)
        self._socket = context.wrap_socket(self._socket, server_hostname=server_name or LIBRARY)

    def starttls(self, certificate: Path | None = None) -> bytes:
        """STARTTLS, and the stream begun anew; the features."""
        self.send(STARTTLS)
        self.expect(b"<proceed [^>]*/>")
        self.secure(certificate=certificate)
        return self.open()

    def external(self) -> bytes:
        """Be authenticated by the certificate, and begin the stream anew; the features."""
        self.send(external(self.name))
        self.expect(b"<success [^>]*/>")
        return self.open()

    def failed(self, condition: str) -> Element:
        """The stream must end in order with that stream error, the header before it having an id."""
        error = _failed(self, condition)
        assert self.id
        return error

    def ask(self, type: str = "get", payload: str = "", to: str = LIBRARY) -> Element:
        """Ping us and take the answer on this stream; only with bidi."""
        self.send(PING.format(f"pat@{self.name}", to))
        while (element := self.element()).get("id") != "ping":
            assert element.tag != f"{{{STREAM}}}error", element[0].tag
        return element


class Visit(Raw):
    """A connection that we opened to a stranger: the other side of the table."""

    def __init__(self, sock: socket.socket, town: Town, name: str) -> None:
        super().__init__(sock, town.authority.ca, LIBRARY)
        self.town = town
        self.name = name

    def greeted(self) -> bytes:
        """Read our header."""
        return self.expect(rb"<stream:stream [^>]*>")

    def answer(self, *offers: str, id: str = "s1", **attributes: str) -> None:
        """Send the header and the features."""
        more = f"id='{id}' version='1.0'"
        self.send(header(self.name, LIBRARY, more, **attributes) + features(*offers))

    def secure(self, server_name: str = "", certificate: Path | None = None) -> None:
        """Speak TLS as the server."""
        self._socket = self.town.servers(certificate).wrap_socket(self._socket, server_side=True)

    def shake_hands(self, certificate: Path | None = None) -> None:
        """Read the header, offer TLS and speak it."""
        self.greeted()
        self.answer(OFFER_TLS)
        self.expect(rb"<starttls [^>]*/>")
        self.send(f"<proceed xmlns='{TLS}'/>")
        self.secure(certificate=certificate)

    def serve(self, certificate: Path | None = None, *offers: str) -> None:
        """Take our stream by our certificate, as a server does that knows no better."""
        self.shake_hands(certificate)
        self.greeted()
        self.answer(OFFER_EXTERNAL, OFFER_DIALBACK, *offers)
        self.expect(rb"<auth [^>]*>[^<]*</auth>")
        self.send(SUCCESS)
        self.greeted()
        self.answer(OFFER_DIALBACK)

    def key(self, id: str = "s1", certificate: Path | None = None) -> str:
        """Be a server that knows only dialback; the key that we send for the stream `id`."""
        self.shake_hands(certificate)
        self.greeted()
        self.answer(OFFER_DIALBACK, id=id)
        sent = self.expect(rb"<db:result [^>]*>([^<]*)</db:result>")
        return re.findall(rb">([^<]*)</db:result>", sent)[-1].decode()

    def question(self, certificate: Path | None = None) -> tuple[str, str]:
        """Be asked whether a key is right; the stream's id and the key."""
        self.shake_hands(certificate)
        self.greeted()
        self.answer(OFFER_DIALBACK)
        asked = self.expect(rb"<db:verify [^>]*>[^<]*</db:verify>").decode()
        ((id, key),) = re.findall(r"<db:verify [^>]*id='([^']*)'[^>]*>([^<]*)<", asked)
        return id, key

    def verdict(self, type: str, certificate: Path | None = None) -> None:
        """Be asked, and say it."""
        id, _ = self.question(certificate)
        self.send(dialback("verify", self.name, LIBRARY, id=id, type=type))

    def failed(self, condition: str) -> Element:
        """The stream must end in order with that stream error of ours."""
        return _failed(self, condition)


def _failed(raw: Stream | Visit, condition: str) -> Element:
    raw.closed()
    raw._parser.close()  # raises if the document is not complete
    assert raw._elements, "there was no stream error"
    error = raw._elements[-1]
    assert error.tag == f"{{{STREAM}}}error", error.tag
    assert error[0].tag == STREAMS + condition, error[0].tag
    return error


class Door:
    """Where a stranger waits for us."""

    def __init__(self, listening: socket.socket, stranger: Stranger) -> None:
        self._listening = listening
        self._stranger = stranger

    def answer(self) -> Visit:
        """Our next connection."""
        sock, _ = self._listening.accept()
        visit = Visit(sock, self._stranger.town, self._stranger.domain)
        self._stranger.town.connections.append(visit)
        return visit

    def visitors(self) -> int:
        """How many connections wait to be taken; they are closed."""
        self._listening.settimeout(0)
        count = 0
        try:
            while True:
                self._listening.accept()[0].close()
                count += 1
        except BlockingIOError:
            return count
        finally:
            self._listening.settimeout(SECONDS)


class Stranger:
    """Another server: a domain, and where it is."""

    def __init__(self, town: Town, number: int) -> None:
        self.town = town
        self.domain = f"n{number}.{TOWN}"
        self._address = place(number)

    def connect(self, source: str = "") -> Stream:
        """A connection to our server, no byte sent."""
        where = (self.town.server.process.host, self.town.server.process.s2s_port)
        sock = socket.create_connection(where, SECONDS, (source or fresh_address(), 0))
        stream = Stream(sock, self.town, self.domain)
        self.town.connections.append(stream)
        return stream

    def opened(self) -> Stream:
        """The stream is open, in plain."""
        stream = self.connect()
        stream.open()
        return stream

    def secured(self, certificate: Path | None = None) -> Stream:
        """The stream is open, under TLS; nothing is proved."""
        stream = self.opened()
        stream.starttls(certificate)
        return stream

    def proved(self, *, bidi: bool = False) -> Stream:
        """The domain is proved by the certificate."""
        stream = self.secured(self.town.good)
        if bidi:
            stream.send(BIDI)
        stream.external()
        return stream

    @contextmanager
    def at_home(self) -> Iterator[Door]:
        """Listen where we look for it."""
        with socket.create_server((self._address, self.town.port), backlog=1000) as listening:
            listening.settimeout(SECONDS)
            yield Door(listening, self)


class Town:
    """Our server with the library, mia, and strangers around it."""

    def __init__(self, folder: Path, authority: TestAuthority, policy: str, **settings: Any) -> None:
        self.authority = authority
        self.connections: list[Raw] = []
        self.port = free_port(place(0))
        self._numbers = itertools.count(1)
        self._contexts: dict[tuple[bool, Path | None], ssl.SSLContext] = {}
        self.folder = folder / "strangers"
        self.folder.mkdir(parents=True)
        authority.certify(LIBRARY)
        for name in ("ca.pem", "ca.key"):
            shutil.copy(authority.folder / name, self.folder / name)
        hosts = {f"n{number}.{TOWN}": f"{place(number)}:{self.port}" for number in range(STRANGERS)}
        hosts.update({hole(number): f"{place(0)}:{self.port}" for number in range(HOLES)})
        tables: dict[str, dict[str, Any]] = {
            "s2s": {"authentication": policy, "hosts": hosts, "trusted_ca": str(authority.ca)},
            "c2s": {"require_tls": False, "plain_without_tls": True},
            "limits": {"c2s_bytes_per_second": 0, "s2s_bytes_per_second": 0},
            **settings,
        }
        self.server = LiveServer(folder / "server", authority, {LIBRARY: ["mia", "pat"]}, tables)
        hosts[ITSELF] = str(self.server.process.address)
        self.server.process.write_configuration()

    def __enter__(self) -> Self:
        self.server.__enter__()
        return self

    def __exit__(self, *reason: Any) -> None:
        self._hang_up()
        self.server.__exit__(*reason)

    def _hang_up(self) -> None:
        for raw in self.connections:
            raw.hang_up()
        self.connections.clear()

    @cached_property
    def good(self) -> Path:
        """The file of a certificate that is good for every stranger."""
        return self.certificate(Certificate(TOWN))

    def certificate(self, wanted: Certificate) -> Path:
        """Have the authority sign a certificate that need not be good."""
        file = self.folder / f"certificate{len(list(self.folder.iterdir()))}.pem"
        file.write_bytes(Authority.kept_in(self.folder).issue(wanted))
        return file

    def stranger(self) -> Stranger:
        """One that nobody has heard of yet."""
        number = next(self._numbers)
        assert number < STRANGERS, "there are no more addresses; the server would ask DNS"
        return Stranger(self, number)

    @cached_property
    def mia(self) -> Raw:
        """Mia, who is logged in."""
        return self.server.login(f"mia@{LIBRARY}/desk")

    def write_to(self, stranger: Stranger, body: str = "hello") -> None:
        """Let mia write to somebody there, so that we connect."""
        self.mia.send(
            f"<message to='pat@{stranger.domain}' id='{stranger.domain}'><body>{body}</body></message>"
        )

    def returned(self, stranger: Stranger) -> str:
        """The condition of the error that comes to mia for what she wrote there."""
        error = self.mia.stanza("message", stranger.domain).find("{jabber:client}error")
        assert error is not None
        return error[0].tag.partition("}")[2]

    @contextmanager
    def unharmed(self) -> Iterator[None]:
        """Whatever happens inside, the next server is served, and nothing unexpected is logged."""
        complaints = len(self.server.complaints())
        yield
        self._hang_up()
        assert Stranger(self, 0).proved(bidi=True).ask().get("type") == "result"
        assert self.server.complaints()[complaints:] == []

    def clients(self, certificate: Path | None) -> ssl.SSLContext:
        """The context of strangers who come to us."""
        key = False, certificate
        if key not in self._contexts:
            context = self._contexts[key] = ssl.create_default_context(cafile=str(self.authority.ca))
            if certificate is not None:
                context.load_cert_chain(certificate)
        return self._contexts[key]

    def servers(self, certificate: Path | None) -> ssl.SSLContext:
        """The context of strangers to whom we come."""
        key = True, certificate
        if key not in self._contexts:
            context = self._contexts[key] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate or self.good)
            context.verify_mode = ssl.CERT_OPTIONAL
            context.load_verify_locations(self.authority.ca)
        return self._contexts[key]


def their_key(stranger: Stranger, stream: Stream, secret: bytes = b"theirs") -> str:
    """A key such as a real server makes for its stream to us."""
    return make_key(secret, LIBRARY, stranger.domain, stream.id)


def hole(number: int) -> str:
    """One of the domains whose server is that of stranger 0, who answers to no name."""
    return f"h{number}.{TOWN}"


def place(number: int) -> str:
    """The address of a stranger."""
    return f"127.77.{number // 250}.{1 + number % 250}"
