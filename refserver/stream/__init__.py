"""XML streams without I/O (RFC 6120): bytes in, events and bytes out.

Owns negotiation and the rules of the stream. Does not own sockets, TLS, time, or what becomes
of a stanza.
"""

from refserver.stream.events import (
    Authenticated,
    AuthenticationFailed,
    BindRequested,
    CredentialsWanted,
    Event,
    Malformed,
    PasswordCheckWanted,
    RegistrationRequest,
    StartTLS,
    StreamClosed,
    StreamFailed,
)
from refserver.stream.inbound import InboundStream
from refserver.stream.policy import StreamPolicy, TLSInfo
from refserver.stream.receiving import ReceivingStream

__all__ = [
    "Authenticated",
    "AuthenticationFailed",
    "BindRequested",
    "CredentialsWanted",
    "Event",
    "InboundStream",
    "Malformed",
    "PasswordCheckWanted",
    "ReceivingStream",
    "RegistrationRequest",
    "StartTLS",
    "StreamClosed",
    "StreamFailed",
    "StreamPolicy",
    "TLSInfo",
]
