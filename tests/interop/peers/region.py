"""A library and other servers around it, each on a loopback address of its own and told of the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define

from refserver.app.commands.librarians import AddLibrarian
from refserver.app.commands.s2s import ShowRemote
from refserver.app.commands.status import ShowStatus
from tests.interop.peers.library import Library
from tests.interop.peers.people import Librarian, Patron
from tests.interop.peers.ports import free_port
from tests.interop.peers.refserver_process import RefserverProcess
from tests.interop.peers.server import PeerServer
from tests.interop.peers.waiting import wait_until

LIBRARY = "library.example"
PROSODY = "prosody.example"
EJABBERD = "ejabberd.example"
PASSWORD = "a peer's word"

Places = dict[str, tuple[str, int]]


def new_places() -> Places:
    """The address at which each domain takes connections of other servers."""
    hosts = {LIBRARY: "127.0.0.1", PROSODY: "127.0.0.2", EJABBERD: "127.0.0.3"}
    found = {domain: (host, free_port(host)) for domain, host in hosts.items()}
    return found | {f"rooms.{LIBRARY}": found[LIBRARY]}


@define
class Region:
    """A library of a running server, and where it and the others are."""

    server: RefserverProcess
    library: Library
    places: Places

    def start(self, start: Callable[..., PeerServer], domain: str, **more: Any) -> PeerServer:
        """Start a peer for `domain` at its place, strict about certificates; `more` is for the peer."""
        host, port = self.places[domain]
        return start(domain, host=host, s2s_port=port, routes=self.places, **more)

    def patron(self, peer: PeerServer, name: str = "pat") -> Patron:
        """Somebody with a new account at `peer`, not logged in yet."""
        return self.returning(peer, peer.add_account(name, PASSWORD))

    def returning(self, peer: PeerServer, jid: str) -> Patron:
        """A patron who has an account at `peer` already, not logged in yet."""
        return Patron(jid, PASSWORD, peer.authority.ca, peer.port, self.library.queue, peer.host)

    def librarian(self, peer: PeerServer, name: str = "eve") -> Librarian:
        """Somebody with a new account at `peer` who is made a librarian of the queue, not logged in yet."""
        jid = peer.add_account(name, PASSWORD)
        queue, desk = self.library.queue, self.library.desk
        self.library.call(AddLibrarian(queue, jid))
        return Librarian(jid, PASSWORD, peer.authority.ca, peer.port, queue, desk, peer.host)

    def has_confirmed_all(self, peer: PeerServer) -> bool:
        """True if the library has nothing left to send to the peer, and the peer has said so."""
        known = self.library.call(ShowRemote(peer.domain))
        owed = self.library.call(ShowStatus())["owed"]
        return bool(known["waiting"] == known["unacknowledged"] == owed == 0)

    def wait_until_confirmed(self, peer: PeerServer, timeout: float = 20) -> None:
        """Return when everything has arrived at the peer that was said until now."""
        what = f"{peer.name} to have everything"
        wait_until(lambda: self.has_confirmed_all(peer), what, timeout, lambda: self.server.log[-3000:])
