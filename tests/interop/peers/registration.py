"""In-band registration (XEP-0077) over a bare socket: how tests make accounts on a running peer."""

from __future__ import annotations

import socket
import time
from xml.sax.saxutils import escape, quoteattr

_STREAM = (
    "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' "
    "to={domain} version='1.0'>"
)
_REGISTER = (
    "<iq type='set' id='register'><query xmlns='jabber:iq:register'>"
    "<username>{user}</username><password>{password}</password></query></iq>"
)


def register(address: tuple[str, int], domain: str, user: str, password: str, timeout: float = 20) -> None:
    """Make the account `user@domain`; AssertionError if the server refuses or does not answer."""
    with socket.create_connection(address, timeout) as connection:
        deadline = time.monotonic() + timeout
        connection.sendall(_STREAM.format(domain=quoteattr(domain)).encode())
        _read_until(connection, b"features>", deadline)
        connection.sendall(_REGISTER.format(user=escape(user), password=escape(password)).encode())
        answer = _read_until(connection, b"register", deadline)
        while b"</iq>" not in answer and b"/>" not in answer:
            answer += _read_until(connection, b">", deadline)
        connection.sendall(b"</stream:stream>")
    accepted = b"'result'" in answer or b'"result"' in answer
    assert accepted, f"{user}@{domain} was not registered: {answer.decode(errors='replace')}"


def _read_until(connection: socket.socket, mark: bytes, deadline: float) -> bytes:
    received = b""
    while mark not in received:
        connection.settimeout(max(0.1, deadline - time.monotonic()))
        data = connection.recv(4096)
        assert data, f"closed by the server after {received.decode(errors='replace')}"
        received += data
    return received
