"""Components (XEP-0114): each attaches under a secret, and is the destination of all addresses at its domain.

The newer of two that attach for one domain wins.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define, field, frozen
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger

from refserver import ns
from refserver.core.core import Core
from refserver.core.hooks import RemoteReachable
from refserver.core.router import Router
from refserver.errors import Condition, StanzaError, StreamCondition, StreamError
from refserver.net.acceptor import Acceptor, PeerLimits
from refserver.net.connection import Connection
from refserver.net.mux import Mux
from refserver.stanza import Stanza
from refserver.stream.component import ComponentStream
from refserver.stream.events import Authenticated, Event, StreamClosed, StreamFailed
from refserver.xml import Limits

log = Logger()


class DomainTaken(ValueError):
    """A component was configured for a domain that is a library's, or one of its services'."""

    def __init__(self, domain: str) -> None:
        super().__init__(domain)
        self.domain = domain


@frozen
class ComponentPolicy:
    """The operator's settings for components. Time in seconds; a limit of 0 is none.

    There is no limit on the bytes a second: a component is the operator's own, and carries all
    patrons of a network.
    """

    limits_before: Limits
    limits_after: Limits
    handshake_timeout: float = 30.0
    connections_per_ip: int = 64


@define(eq=False)
class Component:
    """Implements `Destination` for `domain`, whether the component is attached or away.

    Who writes to it while it is away is told remote-server-timeout, which is of type wait: the
    address is right, and is reached later (RFC 6120 8.3.3.17).
    """

    domain: str
    router: Router
    stream: ComponentConnection | None = field(default=None, init=False)

    def deliver(self, stanza: Stanza) -> None:
        if self.stream is not None:
            self.stream.send(stanza.encode(ns.COMPONENT))
            stanza.settle(None)  # XEP-0114 has no way to know more
        else:
            away = StanzaError(Condition.REMOTE_SERVER_TIMEOUT, "the gateway is not connected")
            self.router.bounce(stanza, away)


class ComponentConnection:
    """One component's connection: bytes go into the stream machine, its stanzas to the router."""

    __slots__ = ("_connection", "_service", "_stream", "component", "send", "source")

    def __init__(self, service: ComponentService, connection: Connection, source: str) -> None:
        self._service = service
        self._connection = connection
        policy = service.policy
        self._stream = ComponentStream.begin(service.secret_of, policy.limits_before, policy.limits_after)
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

    # -- for the component ----------------------------------------------------

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
            wanted = self._stream.host
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


@define(eq=False)
class ComponentService(Acceptor[ComponentConnection]):
    """The components of this server, attached or away. `accept` takes new connections."""

    core: Core
    mux: Mux
    policy: ComponentPolicy
    components: dict[str, Component] = field(factory=dict, init=False)
    _secrets: Mapping[str, str] = field(factory=dict, init=False, repr=False)

    def take_up(self, secrets: Mapping[str, str]) -> None:
        """Answer from now on for these (prepared) domains and no others; each has its shared secret.

        A stream goes on under the secret that it began with. Raises `DomainTaken`, and then
        everything is as it was.
        """
        for domain in secrets:
            if not self._is_free(domain):
                raise DomainTaken(domain)
        for domain in set(self.components) - set(secrets):
            self._let_go(self.components.pop(domain))
        for domain in set(secrets) - set(self.components):
            component = self.components[domain] = Component(domain, self.core.router)
            self.core.hosts.add_service(domain, component)
        self._secrets = dict(secrets)

    def _is_free(self, domain: str) -> bool:
        hosts = self.core.hosts
        return hosts.get(domain) is None and hosts.service(domain) in (None, self.components.get(domain))

    def _let_go(self, component: Component) -> None:
        if component.stream is not None:
            component.stream.close(StreamError(StreamCondition.HOST_GONE))
        if self.core.hosts.service(component.domain) is component:
            self.core.hosts.remove_service(component.domain)

    def stop(self) -> None:
        """End all streams (RFC 6120 4.9.3.19). Their domains stay ours: they are away."""
        for connection in list(self.connections):
            connection.close(StreamError(StreamCondition.SYSTEM_SHUTDOWN))

    def listen(self, port: IListeningPort) -> None:
        """Take the connections that come to `port`."""
        self.mux.listen(port, self.accept)

    def accept(self, connection: Connection) -> ComponentConnection | None:
        """A new connection; None turns it away."""
        return self._admit(connection)

    @property
    def peer_limits(self) -> PeerLimits:
        return PeerLimits(self.policy.connections_per_ip, self.policy.handshake_timeout)

    def _new_peer(self, connection: Connection, ip: str, *, direct_tls: bool) -> ComponentConnection:
        return ComponentConnection(self, connection, ip)

    # -- for connections ---------------------------------------------------------

    def secret_of(self, domain: str) -> str | None:
        """The shared secret of a domain, None if no component is to have it."""
        component = self.components.get(domain)
        return self._secrets.get(domain) if component is not None and self.holds(component) else None

    def holds(self, component: Component) -> bool:
        """True unless the component's domain is now a library's, or that of a library's rooms.

        Libraries come and go while the server runs; a domain that is free again is taken up again.
        """
        if not self._is_free(component.domain):
            return False
        self.core.hosts.add_service(component.domain, component)
        return True

    def attach(self, connection: ComponentConnection, domain: str) -> None:
        """The component has proved to be the one for `domain`.

        The newer of two wins. Both know the secret, and most often the older is what a crash or
        a lost network has left: a gateway must not wait for TCP to find that out.
        """
        self.mux.unexpire(connection)
        component = self.components[domain]
        older, component.stream = component.stream, connection
        connection.component = component
        if older is not None:
            log.warn(
                "the component {domain} attached twice: the newer stream replaces the older", domain=domain
            )
            older.close(StreamError(StreamCondition.CONFLICT, "replaced by a new connection"))
        else:
            log.info("the component {domain} is attached", domain=domain)
        self.core.hooks.tell(RemoteReachable(domain))

    def refused(self, connection: ComponentConnection, wanted: str, error: StreamError) -> None:
        """A stream has failed because of what the component sent; `wanted` is the domain asked for."""
        name = wanted or f"at {connection.source}"
        log.warn("the component {name} was refused: {condition}", name=name, condition=error.condition.value)

    def detach(self, connection: ComponentConnection) -> None:
        """The stream has ended: its component is away, unless another stream has replaced this one."""
        component, connection.component = connection.component, None
        if component is not None and component.stream is connection:
            component.stream = None
            log.info("the component {domain} is away", domain=component.domain)

    def gone(self, peer: ComponentConnection, ip: str) -> None:
        self.detach(peer)
        super().gone(peer, ip)
