"""The Protocols of what the core asks of others: implemented above and below, never imported from there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall

from refserver.errors import StreamError
from refserver.stanza import Stanza


class Destination(Protocol):
    """The receiver of the stanzas for an address: accounts, a queue, rooms, a component, a remote server."""

    def deliver(self, stanza: Stanza) -> None:
        """Take a stanza whose `to` and `from_` are set. Answers errors itself and never raises."""


class Transport(Protocol):
    """The carrier of one session's stanzas to its client: a TCP connection, a WebSocket, a bus.

    It may be slow, die half way, or claim to have sent what never arrives: only an acknowledgement counts.
    """

    def send(self, data: bytes) -> None:
        """Queue one element, written for a client stream, and frame it as the medium wants (RFC 7395)."""

    @property
    def unsent(self) -> int:
        """Bytes that have not left this process."""

    def close(self, error: StreamError | None = None) -> None:
        """End the stream, with a stream error if given, and the session with it."""


class Clock(Protocol):
    """The part of a reactor that knows the time (twisted.internet.interfaces.IReactorTime)."""

    def seconds(self) -> float:
        """Seconds of the reactor's clock."""

    def callLater(
        self, delay: float, callable: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> IDelayedCall:
        """Call later, once."""
