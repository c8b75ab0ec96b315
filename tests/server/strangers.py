"""Other servers that are only sockets: they come to us, or wait for us where `[s2s] hosts` sends us.

    with Town(folder, authority, "dialback") as town:
        stream = town.stranger().proved()      # a server that came to us and proved its domain
        stranger = town.stranger()
        with stranger.at_home() as door:       # and one to which we go, because somebody here writes to it
            town.write_to(stranger)
            visit = door.answer()
            visit.serve()

Every stranger has a domain and a loopback address of its own; one certificate is good for all of them.
"""

from __future__ import annotations

import itertools
import shutil
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from refserver.app.certificates import Authority, Certificate
from tests.interop.peers.authority import TestAuthority
from tests.interop.peers.ports import free_port
from tests.server.live import SECONDS, LiveServer, Raw, fresh_address
from tests.server.server_streams import Stream, Visit
from tests.server.server_words import (
    BIDI,
    LIBRARY,
    OFFER_DIALBACK,
    OFFER_EXTERNAL,
    OFFER_TLS,
    PING,
    SERVER,
    SUCCESS,
    TOWN,
    dialback,
    external,
    features,
    header,
    message,
)

__all__ = [
    "BIDI",
    "HOLES",
    "ITSELF",
    "LIBRARY",
    "OFFER_DIALBACK",
    "OFFER_EXTERNAL",
    "OFFER_TLS",
    "PING",
    "SERVER",
    "STRANGERS",
    "SUCCESS",
    "TOWN",
    "Door",
    "Stranger",
    "Stream",
    "Town",
    "Visit",
    "dialback",
    "external",
    "features",
    "header",
    "hole",
    "message",
    "place",
]

STRANGERS = 1_000
HOLES = 2_500
ITSELF = f"me.{TOWN}"  # a domain that leads to our own server


class Door:
    """The port at which a stranger waits for us."""

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
        """Close the connections that wait to be taken, and return their number."""
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
        self.number = number
        self.domain = f"n{number}.{TOWN}"
        self._address = place(number)

    def connect(self, source: str = "", port: int = 0) -> Stream:
        """A connection to our server, no byte sent."""
        where = (self.town.server.process.host, port or self.town.server.process.s2s_port)
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

    @cached_property
    def pat(self) -> Raw:
        """Pat, who is logged in."""
        return self.server.login(f"pat@{LIBRARY}/phone")

    def writer(self, stranger: Stranger) -> Raw:
        """Mia or pat, in turn: one sender may begin only so many attempts to reach servers."""
        return self.pat if stranger.number % 2 else self.mia

    def write_to(self, stranger: Stranger, body: str = "hello") -> None:
        """Let its `writer` write to somebody there, so that we connect."""
        self.writer(stranger).send(
            f"<message to='pat@{stranger.domain}' id='{stranger.domain}'><body>{body}</body></message>"
        )

    def returned(self, stranger: Stranger) -> str:
        """The condition of the error that comes back for what was written there."""
        error = self.writer(stranger).stanza("message", stranger.domain).find("{jabber:client}error")
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


def hole(number: int) -> str:
    """One of the domains whose server is that of stranger 0, who answers to no name."""
    return f"h{number}.{TOWN}"


def place(number: int) -> str:
    """The address of a stranger."""
    return f"127.77.{number // 250}.{1 + number % 250}"
