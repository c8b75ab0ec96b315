"""Our stream to another server: RFC 6120, XEP-0220 (originating and receiving roles), XEP-0288."""

from __future__ import annotations

from collections.abc import Iterator

from refserver import ns
from refserver.errors import StreamError
from refserver.stanza import Stanza
from refserver.stream.events import Event
from refserver.stream.federation import KeyToVerify, ServerPolicy
from refserver.stream.policy import TLSInfo

__all__ = ["InitiatingStream"]


class InitiatingStream:
    """Our stream from our domain `local` to `remote`.

    Events: `StartTLS` (send the output, handshake as the client with SNI `host`, then
    `tls_started`), `Established`, `Refused`, `VerifyAnswered`, `Stanza` and `StanzaRefused` (only with
    bidi), `StreamClosed`, `StreamFailed`. Every pair and every key gets its answer: when the stream
    ends, `Refused` and `VerifyAnswered` come for all that is open, before the last event.
    With `verify_only` nothing is authenticated: the stream only serves `verify`. `secret` makes our
    dialback keys. As with inbound streams, walk each iterator to its end and call `take_output`
    after each event.
    """

    def __init__(
        self,
        local: str,
        remote: str,
        policy: ServerPolicy,
        secret: bytes,
        tls: TLSInfo | None = None,
        *,
        verify_only: bool = False,
    ) -> None:
        self.local = local
        self.remote = remote
        self.id = ""
        """The stream id that the peer gave."""
        self.bidi = False
        """Whether the peer may send stanzas on this stream (XEP-0288)."""
        self.max_bytes = 0
        """The largest stanza that the peer takes, as far as it said so (XEP-0478); 0: unknown."""
        self.tls = tls

    def start(self) -> Iterator[Event]:
        """The connection stands (with `tls` given: its handshake too): begin."""
        return iter(())

    def receive(self, data: bytes) -> Iterator[Event]:
        """Take what the peer sent."""
        return iter(())

    def take_output(self) -> bytes:
        """What is to be sent now; b"" for nothing."""
        return b""

    def tls_started(self, info: TLSInfo) -> Iterator[Event]:
        """Answer `StartTLS`: the handshake is finished, the stream begins anew."""
        return iter(())

    def verify(self, asked: KeyToVerify) -> Iterator[Event]:
        """Ask the peer, which is `asked.from_`, about a key; `VerifyAnswered` comes for it. May be
        called at any time: it waits until the stream is ready for it.
        """
        return iter(())

    def can_prove(self, local: str, remote: str) -> bool:
        """Whether this established stream may be tried for another pair of domains."""
        return False

    def prove(self, local: str, remote: str) -> None:
        """Ask for another pair, where `can_prove`; `Established` or `Refused` comes for it."""

    def carries(self, from_: str, to: str) -> bool:
        """Whether stanzas from our domain `from_` to the peer's `to` may be sent now."""
        return False

    def encode(self, stanza: Stanza) -> bytes:
        """The bytes to send; only where `carries`."""
        return stanza.encode(ns.SERVER)

    @property
    def closed(self) -> bool:
        """Whether nothing more will be read or written."""
        return False

    def close(self) -> Iterator[Event]:
        """End the stream without an error; `StreamClosed` comes when the peer has answered."""
        return iter(())

    def fail(self, error: StreamError) -> Iterator[Event]:
        """End the stream with an error of ours: a shutdown, a deadline passed."""
        return iter(())

    def lost(self, reason: str) -> Iterator[Event]:
        """The connection is gone, or could not be had; to be called whenever it goes."""
        return iter(())
