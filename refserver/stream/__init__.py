"""XML streams without I/O (RFC 6120): bytes in, events and bytes out.

Owns negotiation and the rules of the stream. Does not own sockets, TLS, time, or what becomes
of a stanza.
"""

from refserver.stream.client import ClientStream
from refserver.stream.events import (
    Authenticated,
    AuthenticationFailed,
    BindRequested,
    Confirmed,
    CountWanted,
    CredentialsWanted,
    Established,
    Event,
    KeyToVerify,
    Malformed,
    Managed,
    PasswordCheckWanted,
    Refused,
    RegistrationRequest,
    StanzaRefused,
    StartTLS,
    StreamClosed,
    StreamFailed,
    Verdict,
    VerifyAnswered,
)
from refserver.stream.inbound import InboundStream
from refserver.stream.policy import ServerPolicy, StreamPolicy, TLSInfo
from refserver.stream.server_inbound import ServerInbound
from refserver.stream.server_outbound import ServerOutbound

__all__ = [
    "Authenticated",
    "AuthenticationFailed",
    "BindRequested",
    "ClientStream",
    "Confirmed",
    "CountWanted",
    "CredentialsWanted",
    "Established",
    "Event",
    "InboundStream",
    "KeyToVerify",
    "Malformed",
    "Managed",
    "PasswordCheckWanted",
    "Refused",
    "RegistrationRequest",
    "ServerInbound",
    "ServerOutbound",
    "ServerPolicy",
    "StanzaRefused",
    "StartTLS",
    "StreamClosed",
    "StreamFailed",
    "StreamPolicy",
    "TLSInfo",
    "Verdict",
    "VerifyAnswered",
]
