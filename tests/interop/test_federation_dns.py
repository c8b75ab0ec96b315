"""Servers that find each other by DNS alone: a real name server, SRV records, no default port.

No `s2s.hosts` here and no routes: refserver, Prosody and ejabberd read resolv.conf and ask dnsmasq.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from attrs import frozen

from tests.interop.conftest import UNLIMITED, complaints
from tests.interop.peers import (
    EJABBERD,
    LIBRARY,
    PROSODY,
    Dnsmasq,
    Library,
    PeerServer,
    Region,
    Service,
    free_port,
)
from tests.interop.peers.people import Person

pytestmark = [pytest.mark.peers, pytest.mark.slow]

NOWHERE = "nowhere.example"
ROOMS = f"rooms.{LIBRARY}"
HOSTS = {"here.example": "127.0.0.1", "left.example": "127.0.0.2", "right.example": "127.0.0.3"}


@frozen
class Found:
    """Three servers that know nothing of each other but what dnsmasq tells."""

    region: Region
    prosody: PeerServer
    ejabberd: PeerServer
    dnsmasq: Dnsmasq


@pytest.fixture
def found(dnsmasq, start_refserver, start_prosody, start_ejabberd) -> Iterator[Found]:
    """All three run, with mia as librarian of the queue; the records are as `records` has them."""
    resolv_conf = dnsmasq.resolv_conf
    server = start_refserver(settings=UNLIMITED, resolv_conf=resolv_conf)
    prosody = start_prosody(PROSODY, host="127.0.0.2", resolv_conf=resolv_conf)
    ejabberd = start_ejabberd(EJABBERD, host="127.0.0.3", resolv_conf=resolv_conf)
    dnsmasq.publish(records(server, prosody, ejabberd), HOSTS)
    with Library(server, LIBRARY) as library:
        library.set_up(librarians=("mia",))
        yield Found(Region(server, library, {}), prosody, ejabberd, dnsmasq)
    assert complaints(server.log) == []


def records(server, prosody, ejabberd) -> list[Service]:
    """Each domain has a target that is tried first and is dead.

    Prosody is to be had by direct TLS only, ejabberd and the library's rooms not by direct TLS; for the
    library weights decide between two dead targets and two good ones of the same priority.
    """
    dead = free_port()
    return [
        Service(LIBRARY, "here.example", dead, priority=5),
        Service(LIBRARY, "here.example", server.s2s_port, priority=10, weight=30),
        Service(LIBRARY, "here.example", dead, priority=10, weight=0),
        Service(LIBRARY, "here.example", server.s2s_tls_port, priority=10, weight=70, direct_tls=True),
        Service(ROOMS, direct_tls=True),
        Service(ROOMS, "here.example", server.s2s_port),
        Service(PROSODY, "left.example", dead, priority=5),
        Service(PROSODY, "left.example", prosody.s2s_tls_port, priority=10, direct_tls=True),
        Service(EJABBERD, direct_tls=True),
        Service(EJABBERD, "right.example", dead, priority=5, weight=10),
        Service(EJABBERD, "right.example", ejabberd.s2s_port, priority=10),
        Service(NOWHERE, direct_tls=True),
        Service(NOWHERE),
    ]


def test_patrons_and_a_librarian_are_found_by_srv_records(found, started):
    """Questions from two servers, answered by a librarian of a third and one of the house."""
    region = found.region
    mia = region.library.librarian("mia")
    eve = started(region.librarian(found.prosody))
    eve.enter_desk()
    pat = started(region.patron(found.prosody, "pat"))
    sue = started(region.patron(found.ejabberd, "sue"))
    for patron, librarian in ((pat, mia), (sue, eve)):
        patron.ask(f"A question from {patron.jid}")
        number = librarian.announced(f"A question from {patron.jid}")
        librarian.take(number)
        librarian.write(number, f"An answer to {patron.jid}")
        patron.hears(f"An answer to {patron.jid}")
        librarian.write(number, "!close 1 answered")
        patron.hears("Thank you for asking.")
    for name in (PROSODY, EJABBERD, LIBRARY, ROOMS):
        assert f"query[SRV] _xmpp-server._tcp.{name} from" in found.dnsmasq.log
        assert f"query[SRV] _xmpps-server._tcp.{name} from" in found.dnsmasq.log


def test_a_domain_that_decidedly_has_no_server_is_said_so_at_once(found, started):
    """A record with the target `.`: nobody tries port 5269, and nobody waits."""
    mia = found.region.library.librarian("mia", at_desk=False)
    mia.message(f"pat@{NOWHERE}", "Are you there?")
    assert is_not_found(mia, f"pat@{NOWHERE}")
    assert f"query[A] {NOWHERE}" not in found.dnsmasq.log


def test_a_domain_that_dns_does_not_know_is_not_found(found, started):
    """No SRV record and no address."""
    mia = found.region.library.librarian("mia", at_desk=False)
    mia.message("pat@unheard-of.example", "Are you there?")
    assert is_not_found(mia, "pat@unheard-of.example")


def is_not_found(person: Person, sender: str) -> bool:
    """True if a message came back with remote-server-not-found."""
    stanza = person.wait_for(lambda e: e.get("type") == "error" and e.get("from") == sender)
    return any(child.tag.endswith("}remote-server-not-found") for child in stanza.iter())
