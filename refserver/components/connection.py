"""One component's connection: bytes into the stream machine, its stanzas to the router.

Owns no rule of the protocol (stream/component.py), nor which component may attach (service.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

from refserver.components.component import Component
from refserver.errors import Condition, StanzaError, StreamCondition, StreamError
from refserver.net.connection import Connection
from refserver.stanza import Stanza
from refserver.stream.component import ComponentStream
from refserver.stream.events import Authenticated, Event, StreamClosed, StreamFailed

if TYPE_CHECKING:
    from refserver.components.service import ComponentService

__all__ = ["ComponentConnection"]

log = Logger()


class ComponentConnection:
    """Implements `Receiver` for the socket and `Attached` for the component."""

    __slots__ = ("_connection", "_service", "_stream", "component", "send", "source")

    def __init__(self, service: ComponentService, connection: Connection, source: str) -> None:
        self._service = service
        self._connection = connection
        policy = service.policy
        self._stream = ComponentStream(service.secret_of, policy.limits_before, policy.limits_after)
        self.send = connection.send
        self.source = source
        self.component: Component | None = None

    # -- Receiver -------------------------------------------------------------

    def received(self, data: bytes) -> None:
        """Bytes from the component."""
        for event in self._stream.receive(data):
            self._happened(event)
        self._flush()

    def secured(self) -> None:
        """Never called: there is no TLS here."""

    def lost(self, reason: str) -> None:
        """The connection is gone."""
        self._service.gone(self, self.source)

    def expired(self) -> None:
        """The component has not shaken hands in time."""
        self.close(StreamError(StreamCondition.CONNECTION_TIMEOUT))

    # -- Attached -------------------------------------------------------------

    def close(self, error: StreamError | None = None) -> None:
        """End the stream; from now on the component is away."""
        if error is None:
            self._stream.close()
        else:
            self._stream.fail(error)
        self._leave()

    # -- events ---------------------------------------------------------------

    def _happened(self, event: Event) -> None:
        if isinstance(event, Stanza):
            self._route(event)
            return
        self._flush()
        if isinstance(event, Authenticated):
            self._service.attach(self, event.account.domainpart)
        elif isinstance(event, StreamClosed):
            self._leave()
        elif isinstance(event, StreamFailed):
            wanted = self._stream.wanted
            self._service.refused(self, wanted.domainpart if wanted is not None else "", event.error)
            self._leave()

    def _route(self, stanza: Stanza) -> None:
        """Route a stanza; an unexpected exception costs this one stanza."""
        component = self.component
        if component is None or not self._service.holds(component):
            # A library took the domain over: its addresses are no longer the component's to use.
            self.close(StreamError(StreamCondition.HOST_GONE))
            return
        try:
            component.router.route(stanza)
        except Exception:
            log.failure("a component's {kind} could not be delivered", kind=stanza.kind)
            component.router.bounce(stanza, StanzaError(Condition.INTERNAL_SERVER_ERROR))

    def _leave(self) -> None:
        self._flush()
        self._connection.close()
        self._service.detach(self)

    def _flush(self) -> None:
        output = self._stream.take_output()
        if output:
            self._connection.send(output)
