"""A component as the router sees it: the destination of all addresses at one domain (XEP-0114)."""

from __future__ import annotations

from typing import Protocol

from attrs import define, field

from refserver import ns
from refserver.core.router import Router
from refserver.errors import Condition, StanzaError, StreamError
from refserver.stanza import Stanza

__all__ = ["Attached", "Component"]


class Attached(Protocol):
    """The stream of a component that has proved to know the secret."""

    def send(self, data: bytes) -> None:
        """Queue bytes for the component."""

    def close(self, error: StreamError | None = None) -> None:
        """End the stream, with a stream error if given."""


@define(eq=False)
class Component:
    """Implements `Destination` for `domain`, whether the component is attached or away.

    Who writes to it while it is away is told remote-server-timeout, which is of type wait: the
    address is right, and is reached later (RFC 6120 8.3.3.17).
    """

    domain: str
    router: Router
    stream: Attached | None = field(default=None, init=False)

    def deliver(self, stanza: Stanza) -> None:
        """See `Destination`."""
        if self.stream is not None:
            self.stream.send(stanza.encode(ns.COMPONENT))
            stanza.settle(None)  # XEP-0114 has no way to know more
        else:
            away = StanzaError(Condition.REMOTE_SERVER_TIMEOUT, "the gateway is not connected")
            self.router.bounce(stanza, away)
