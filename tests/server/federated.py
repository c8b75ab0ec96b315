"""Two servers in one process, each only its federation: for tests of streams between them.

What stands behind the streams is a router whose local side keeps what comes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory

from refserver.core.hooks import Hooks, RemoteReachable
from refserver.core.hosts import Host, Hosts
from refserver.core.router import Router
from refserver.errors import StreamFault
from refserver.jid import JID
from refserver.net.certificates import Certificates
from refserver.net.mux import Mux
from refserver.net.trust import Trust
from refserver.s2s.known_servers import KnownServer
from refserver.s2s.outgoing import ServerContexts
from refserver.s2s.resolver import NoSuchServer, Target
from refserver.s2s.service import FederationPolicy, FederationService
from refserver.stanza import Stanza
from refserver.stream.policy import ServerPolicy
from refserver.xml import Limits
from tests.interop.peers.authority import TestAuthority
from tests.server.loopback import reactor, until

BEFORE, AFTER = Limits(10_000), Limits(262_144)


class Places:
    """A resolver that knows what the test tells it."""

    clock = reactor

    def __init__(self, places: Mapping[str, Target]) -> None:
        self.places = places

    async def targets(self, domain: str) -> list[Target]:
        if domain not in self.places:
            raise NoSuchServer(domain)
        return [self.places[domain]]

    async def addresses(self, host: str) -> list[str]:
        return [host]


class FederatedServer:
    """One server of `domains`; `places` is shared by all and says where they are."""

    def __init__(
        self, mux: Mux, folder: Path, places: dict[str, Target], domains: list[str], **policy: Any
    ) -> None:
        authority = policy.pop("authority", None) or TestAuthority(folder)
        trusted = policy.pop("trusted", authority)
        authority.certify(*policy.pop("certified", domains))
        self.domains = domains
        self.folder = folder
        self.places = places
        hosts = Hosts()
        for domain in domains:
            hosts.add(Host(domain))
        hooks = Hooks()
        self.reachable: list[str] = []
        hooks.freeze({RemoteReachable: (lambda event: self.reachable.append(event.domain),)})
        self.router = Router(hosts, hooks)
        self.got: list[Stanza] = []
        self.router.accounts = SimpleNamespace(deliver=self._deliver)
        core: Any = SimpleNamespace(
            hosts=hosts,
            hooks=hooks,
            router=self.router,
            now=time.time,
            clock=reactor,
            database=SimpleNamespace(written=lambda: self.written),
        )
        self.written: Deferred[None] | None = None  # what the database has under queue
        stream = {name: policy.pop(name) for name in ("dialback", "bidi", "management") if name in policy}
        certificates = Certificates(authority.folder, domains[0], trust=Trust(trusted.ca))
        resolver: Any = Places(places)
        self.service = FederationService(
            core,
            mux,
            FederationPolicy(ServerPolicy(BEFORE, AFTER, **stream), bytes_per_second=0, **policy),
            ServerContexts(lambda: certificates),
            resolver,
            f"secret of {domains[0]}".encode(),
        )
        self.service.start()

    def _deliver(self, stanza: Stanza) -> None:
        """Answer pings, as every server does; keep the rest."""
        if stanza.kind == "iq" and stanza.type == "get":
            self.router.route(stanza.result())
        else:
            self.got.append(stanza)

    async def until_confirmed(self) -> None:
        """Wait until the others have confirmed all that was sent."""
        await until(lambda: all(queue.idle for queue in self.service.pool))

    async def until_asked(self) -> None:
        """Wait until others want a confirmation that the database does not allow yet."""
        await until(lambda: self.service.commit_barrier.waits)

    async def listen(self, *, tls: bool = False) -> None:
        """Take connections from now on."""
        self.port = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(Factory())
        number = self.port.getHost().port
        self.service.listen(self.port, tls=tls)
        self.places.update(dict.fromkeys(self.domains, Target("127.0.0.1", number, tls)))

    def send(self, from_: str, to: str, body: str = "hello", type: str = "chat") -> None:
        """Send a message."""
        self.router.route(Stanza.message(JID.parse(to), JID.parse(from_), type=type, body=body))

    async def until_got(self, count: int) -> list[str]:
        """Wait for that many stanzas; what they say: their words, or the condition of an error."""
        await until(lambda: len(self.got) >= count)
        return [_says(stanza) for stanza in self.got]

    def status(self, domain: str) -> KnownServer:
        """What is known of another server."""
        (found,) = [each for each in self.service.status() if each.domain == domain]
        return found

    def fault(self, domain: str) -> StreamFault:
        """The last fault with another server."""
        found = self.status(domain).last_error
        assert found is not None
        return found


def _says(stanza: Stanza) -> str:
    if stanza.type == "error":
        return str(stanza.element[0][0].tag).partition("}")[2]
    return stanza.body


Make = Callable[..., FederatedServer]
