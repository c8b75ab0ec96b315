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
from refserver.stream.federation import (
    Confirmed,
    CountWanted,
    Established,
    KeyToVerify,
    Managed,
    Refused,
    ServerPolicy,
    StanzaRefused,
    Verdict,
    VerifyAnswered,
)
from refserver.stream.inbound import InboundStream
from refserver.stream.initiating import InitiatingStream
from refserver.stream.policy import StreamPolicy, TLSInfo
from refserver.stream.receiving import ReceivingStream
from refserver.stream.serving import ServingStream

__all__ = [
    "Authenticated",
    "AuthenticationFailed",
    "BindRequested",
    "Confirmed",
    "CountWanted",
    "CredentialsWanted",
    "Established",
    "Event",
    "InboundStream",
    "InitiatingStream",
    "KeyToVerify",
    "Malformed",
    "Managed",
    "PasswordCheckWanted",
    "ReceivingStream",
    "Refused",
    "RegistrationRequest",
    "ServerPolicy",
    "ServingStream",
    "StanzaRefused",
    "StartTLS",
    "StreamClosed",
    "StreamFailed",
    "StreamPolicy",
    "TLSInfo",
    "Verdict",
    "VerifyAnswered",
]
