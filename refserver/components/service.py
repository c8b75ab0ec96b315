"""Listening for components: which may attach, under which secret, and who wins where two do (XEP-0114)."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define, field, frozen
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger

from refserver.components.component import Component
from refserver.components.connection import ComponentConnection
from refserver.core.core import Core
from refserver.core.hooks import RemoteReachable
from refserver.errors import StreamCondition, StreamError
from refserver.net.acceptor import Acceptor, PeerLimits
from refserver.net.connection import Connection
from refserver.net.mux import Mux
from refserver.xml import Limits

__all__ = ["ComponentPolicy", "ComponentService", "DomainTaken"]

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
        """See `Acceptor`."""
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
        """See `Acceptor`."""
        self.detach(peer)
        super().gone(peer, ip)
