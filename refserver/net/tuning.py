"""What the kernel is told of our TCP sockets.

A client that vanishes (a laptop closed, a lost network) says nothing. The kernel finds out for
us, at no cost a connection: it probes silent connections (RFC 9293 3.8.4) and gives up on what
nobody acknowledges (RFC 5482), so that nobody is seen online for minutes who is not.
"""

from __future__ import annotations

import socket
from typing import Final

__all__ = ["tune"]

SILENT_SECONDS: Final = 90  # before the first probe
PROBE_SECONDS: Final = 15  # between probes
PROBES: Final = 4  # unanswered, and the connection is over
UNACKNOWLEDGED_SECONDS: Final = 60  # how long sent data may stay without an answer


def tune(sock: socket.socket) -> None:
    """Set the options of a TCP socket; connections accepted from it inherit them."""
    if sock.family == socket.AF_UNIX:
        return
    # We write once a turn: there is nothing for Nagle's algorithm to join.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, SILENT_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, PROBE_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_SECONDS * 1000)
