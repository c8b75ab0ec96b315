"""The receiving side of a server's stream: RFC 6120, XEP-0220 (receiving and authoritative), XEP-0288."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar

from refserver import ns
from refserver.sasl import FakeVerifiers
from refserver.stanza import Stanza
from refserver.stream.events import Event
from refserver.stream.federation import KeyToVerify, ServerPolicy, Verdict
from refserver.stream.inbound import InboundStream
from refserver.stream.policy import TLSInfo

__all__ = ["ServingStream"]


class ServingStream(InboundStream):
    """Another server's stream to us.

    Events: `StartTLS` (handshake as the server, the peer asked for a certificate, then `tls_started`),
    `Authenticated`, `AuthenticationFailed`, `KeyToVerify`, `Established`, `Stanza`, `StanzaRefused`,
    `StreamClosed`, `StreamFailed`. `secret` makes and checks our dialback keys. Keys that other
    servers want verified are answered without the shell.
    """

    content: ClassVar[str] = ns.SERVER

    __slots__ = ("bidi", "peer")

    def __init__(
        self,
        serves: Callable[[str], bool],
        policy: ServerPolicy,
        secret: bytes,
        tls: TLSInfo | None = None,
    ) -> None:
        super().__init__(serves, policy, FakeVerifiers(secret), tls)
        self.peer = ""
        """The domain that the peer's header names; nothing is proved by that."""
        self.bidi = False
        """Whether the peer wants stanzas on this stream too (XEP-0288)."""

    def key_verified(self, asked: KeyToVerify, verdict: Verdict) -> Iterator[Event]:
        """Answer `KeyToVerify`. Nothing happens on a closed stream."""
        return iter(())

    def carries(self, from_: str, to: str) -> bool:
        """Whether stanzas from our domain `from_` to the peer's `to` may go this way: only with bidi."""
        return False

    def encode(self, stanza: Stanza) -> bytes:
        """The bytes to send; only where `carries`."""
        return stanza.encode(ns.SERVER)
