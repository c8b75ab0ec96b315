"""What the core asks of others, as Protocols: implemented above and below, never imported from there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall

from refserver.errors import StreamError
from refserver.stanza import Stanza

__all__ = ["Clock", "Destination", "Outlet"]


class Destination(Protocol):
    """Where the stanzas for an address go: accounts, a queue, rooms, a component, a remote server."""

    def deliver(self, stanza: Stanza) -> None:
        """Take a stanza whose `to` and `from_` are set. Answers errors itself and never raises."""


class Outlet(Protocol):
    """The stream of a session, as the core sees it."""

    def send(self, data: bytes) -> None:
        """Queue bytes for the client; they leave at the end of the reactor's turn."""

    def close(self, error: StreamError | None = None) -> None:
        """End the stream in an orderly way, with a stream error if given."""


class Clock(Protocol):
    """The part of a reactor that knows the time (twisted.internet.interfaces.IReactorTime)."""

    def seconds(self) -> float:
        """Seconds of the reactor's clock."""

    def callLater(
        self, delay: float, callable: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> IDelayedCall:
        """Call later, once."""
