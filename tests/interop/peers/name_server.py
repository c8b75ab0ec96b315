"""A name server of a few lines, for servers that find others by DNS only: it knows SRV records, nothing else.

Specifications: RFC 1035, 4 (messages), RFC 2782 (SRV), RFC 6120, 3.2.1 (`_xmpp-server._tcp`).
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Mapping

from tests.interop.peers.address import ServerAddress

_ANSWER, _NO_SUCH_NAME = 0x8580, 0x8583  # with authority and recursion, as asked; the second is NXDOMAIN
_SRV, _INTERNET = 33, 1
_NAME_OF_QUESTION = 0xC00C  # a pointer to the first name of the message
_SECONDS_TO_KEEP = 5


class NameServer:
    """Answers `_xmpp-server._tcp.<domain>` with the address of each route until it is closed."""

    def __init__(self, routes: Mapping[str, ServerAddress]) -> None:
        self._routes = routes
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.host, self.port = self._socket.getsockname()
        self._thread = threading.Thread(target=self._serve, name="name server", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", (self.host, self.port))
        self._thread.join(5)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            query, asker = self._socket.recvfrom(512)
            if not query:
                return
            self._socket.sendto(self._answer(query), asker)

    def _answer(self, query: bytes) -> bytes:
        name, question = _question(query)
        kind = struct.unpack("!H", question[-4:-2])[0]
        route = self._routes.get(name.removeprefix("_xmpp-server._tcp."))
        if kind != _SRV or route is None or not name.startswith("_xmpp-server._tcp."):
            return query[:2] + struct.pack("!5H", _NO_SUCH_NAME, 1, 0, 0, 0) + question
        target = struct.pack("!3H", 0, 0, route.port) + _labels(route.host)
        record = struct.pack("!3HIH", _NAME_OF_QUESTION, _SRV, _INTERNET, _SECONDS_TO_KEEP, len(target))
        return query[:2] + struct.pack("!5H", _ANSWER, 1, 1, 0, 0) + question + record + target


def _question(query: bytes) -> tuple[str, bytes]:
    """The name that is asked for, and the whole question section, which an answer repeats."""
    labels, at = [], 12
    while length := query[at]:
        labels.append(query[at + 1 : at + 1 + length].decode("ascii").lower())
        at += 1 + length
    return ".".join(labels), query[12 : at + 5]


def _labels(name: str) -> bytes:
    return b"".join(bytes([len(part)]) + part.encode("ascii") for part in name.split(".")) + b"\0"
