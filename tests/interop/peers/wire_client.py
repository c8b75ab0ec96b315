"""A client that is a socket and a parser: for many at once, and for tests in which every byte counts.

No TLS, SASL PLAIN. What the server had sent when it was killed is still read and handed over, also where
sending already fails.
"""

from __future__ import annotations

import asyncio
import socket
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from xml.etree.ElementTree import Element, XMLPullParser

_CLIENT = "{jabber:client}"
_PING = "{urn:xmpp:ping}ping"
_STREAM = "{http://etherx.jabber.org/streams}"
_SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
_BIND = "urn:ietf:params:xml:ns:xmpp-bind"
_READ_SIZE = 65536


class WireClient:
    """One connection of an account. `taken` is called with each stanza after the log-in, in order."""

    def __init__(self, jid: str, taken: Callable[[Element], None]) -> None:
        self.jid = jid
        self.ended: asyncio.Task[None] | None = None
        self._taken = taken
        self._socket = socket.socket()
        self._parser: Any = XMLPullParser(["start", "end"])
        self._depth = 0
        self._root: Element | None = None
        self._logging_in: asyncio.Queue[Element | None] = asyncio.Queue()
        self._ready = False

    async def log_in(self, address: tuple[str, int], password: str, resource: str) -> None:
        """Connect, authenticate and bind. Raises ConnectionError if the server goes away meanwhile."""
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(self._socket, address)
        self.ended = asyncio.create_task(self._read())
        name = self.jid.partition("@")[0]
        credentials = b64encode(f"\0{name}\0{password}".encode()).decode()
        self._open()
        await self._answer("features")
        self.send(f"<auth xmlns='{_SASL}' mechanism='PLAIN'>{credentials}</auth>")
        await self._answer("success")
        self._open()
        await self._answer("features")
        bind = f"<bind xmlns='{_BIND}'><resource>{resource}</resource></bind>"
        self.send(f"<iq type='set' id='bind'>{bind}</iq>")
        await self._answer("iq")
        self._ready = True
        while not self._logging_in.empty():
            self._hand_over(self._logging_in.get_nowait())

    def send(self, xml: str) -> None:
        """Send; to a server that is gone nothing is sent, and `ended` says so."""
        with suppress(ConnectionError):
            sent = self._socket.send(data := xml.encode())
            assert sent == len(data), "the server does not read"

    def close(self) -> None:
        """Hang up."""
        if self.ended is not None:
            self.ended.cancel()
        self._socket.close()

    def _open(self) -> None:
        self._parser, self._depth, self._root = XMLPullParser(["start", "end"]), 0, None
        domain = self.jid.partition("@")[2]
        self.send(
            f"<stream:stream to='{domain}' version='1.0' xmlns='jabber:client'"
            " xmlns:stream='http://etherx.jabber.org/streams'>"
        )

    async def _answer(self, name: str) -> Element:
        element = await self._logging_in.get()
        if element is None:
            raise ConnectionResetError("the server went away")
        assert element.tag.endswith(f"}}{name}"), element.tag
        return element

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        with suppress(ConnectionError):
            while data := await loop.sock_recv(self._socket, _READ_SIZE):
                for element in self._parse(data):
                    self._hand_over(element)
        self._logging_in.put_nowait(None)

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

    def _hand_over(self, element: Element | None) -> None:
        if not self._ready or element is None:
            self._logging_in.put_nowait(element)
            return
        assert element.tag != f"{_STREAM}error", [child.tag for child in element]
        if element.find(_PING) is not None and element.get("type") == "get":
            self.send(f"<iq type='result' id='{element.get('id')}' to='{element.get('from')}'/>")
            return
        self._taken(element)
