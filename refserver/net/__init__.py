"""The fast transport: sockets and TLS of client and server streams, behind one reader of the reactor.

Why it stands beside Twisted's own transports: docs/decisions/0003-multiplexer.md.
"""

from .certificates import (
    XMPP_CLIENT,
    XMPP_SERVER,
    Certificate,
    CertificateProblem,
    Certificates,
    UnknownDomain,
)
from .connection import Accept, Connection
from .identity import PeerIdentity
from .mux import Mux
from .receiver import PeerAddress, Receiver
from .sockets import Listener
from .tls import TLSState
from .trust import Trust, Verification

__all__ = [
    "XMPP_CLIENT",
    "XMPP_SERVER",
    "Accept",
    "Certificate",
    "CertificateProblem",
    "Certificates",
    "Connection",
    "Listener",
    "Mux",
    "PeerAddress",
    "PeerIdentity",
    "Receiver",
    "TLSState",
    "Trust",
    "UnknownDomain",
    "Verification",
]
