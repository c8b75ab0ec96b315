"""The fast transport: sockets and TLS of client and server streams, behind one reader of the reactor.

Why it stands beside Twisted's own transports: docs/decisions/0003-multiplexer.md.
"""

from .connection import Accept, Connection, Peer
from .listener import Listener
from .mux import Mux
from .receiver import Receiver

__all__ = ["Accept", "Connection", "Listener", "Mux", "Peer", "Receiver"]
