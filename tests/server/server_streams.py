"""Streams between servers of which only ours knows the protocol: a test leads the other end, a socket."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element

from tests.server.live import STARTTLS, STREAM, STREAMS, TLS, Raw
from tests.server.server_words import (
    LIBRARY,
    OFFER_DIALBACK,
    OFFER_EXTERNAL,
    OFFER_TLS,
    PING,
    SUCCESS,
    dialback,
    external,
    features,
    header,
)

if TYPE_CHECKING:
    from tests.server.strangers import Town


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
