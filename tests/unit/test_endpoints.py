"""Endpoint descriptions: ours and Twisted's reading agree, and what is refused is explained."""

from __future__ import annotations

from pathlib import Path

import pytest
from twisted.internet.endpoints import serverFromString
from twisted.internet.testing import MemoryReactor

from refserver.app.settings import EndpointError, check_endpoint, resolve_endpoint

GOOD = [
    "tcp:5222",
    "tcp:0",
    "tcp:port=5222:interface=127.0.0.1",
    "tcp:5222:192.0.2.7:100",
    "tcp:5222:backlog=100",
    "tcp6:5222",
    r"tcp6:5222:interface=\:\:1",
    "unix:/run/refserver/web.sock",
    "unix:address=web.sock:mode=660:backlog=5:lockfile=0",
    r"unix:/run/a\:b\=c\\d.sock",
]

BAD = [
    ("", "begins with one of tcp:, tcp6:, unix:, systemd:"),
    ("5222", "begins with one of"),
    ("ssl:443:privateKey=x.pem", "begins with one of"),
    ("tcp:5222\\", "begins with one of"),
    ("tcp", "tcp:port with port a port from 0 to 65535"),
    ("tcp:", "port of tcp: is a port from 0 to 65535"),
    ("tcp:xmpp", "port of tcp: is a port"),
    ("tcp:65536", "port of tcp: is a port"),
    ("tcp:-1", "port of tcp: is a port"),
    ("tcp:٥٢", "port of tcp: is a port"),
    ("tcp:5222:interface=localhost", "interface of tcp: is an IPv4 address"),
    ("tcp:5222:port=5223", "tcp: takes port, interface, backlog, each once"),
    ("tcp:5222:certKey=x", "tcp: takes port, interface, backlog, each once"),
    ("tcp:1:127.0.0.1:5:6", "tcp: takes port, interface, backlog, each once"),
    ("tcp:5222:backlog=0", "backlog of tcp: is a number from 1"),
    ("tcp6:5222:interface=::1", "tcp6: takes port, backlog, interface"),
    ("tcp6:5222:interface=127.0.0.1", "interface of tcp6: is an IPv6 address"),
    ("unix:", "address of unix: is some text"),
    ("unix:a:mode=999", "mode of unix: is an octal file mode"),
    ("unix:a:lockfile=yes", "lockfile of unix: is 0 or 1"),
    ("systemd:INET", "systemd: takes exactly one of index and name"),
    ("systemd:INET:index=0:name=c2s", "systemd: takes exactly one of index and name"),
    ("systemd:IPX:index=0", "domain of systemd: is INET, INET6 or UNIX"),
    ("systemd:index=0", "systemd:domain with domain INET, INET6 or UNIX"),
]


@pytest.mark.parametrize("description", GOOD)
def test_what_is_accepted_twisted_accepts(description: str) -> None:
    check_endpoint(description)
    serverFromString(MemoryReactor(), description)


@pytest.mark.parametrize("description", ["systemd:domain=INET6:name=c2s", "systemd:INET:index=0"])
def test_a_systemd_socket_is_accepted_where_systemd_did_not_start_us(description: str) -> None:
    check_endpoint(description)


@pytest.mark.parametrize(("description", "allowed"), BAD)
def test_a_refusal_says_what_is_allowed(description: str, allowed: str) -> None:
    with pytest.raises(EndpointError) as caught:
        check_endpoint(description)
    assert allowed in str(caught.value)


def test_a_relative_unix_socket_is_resolved_and_still_means_the_same() -> None:
    resolved = resolve_endpoint(r"unix:run/a\:b\=c.sock:mode=660", Path("/srv/ref:server"))
    assert r"unix:address=/srv/ref\:server/run/a\:b\=c.sock:mode=660" == resolved
    reactor = MemoryReactor()
    serverFromString(reactor, resolved).listen(object())
    (listening,) = reactor.unixServers
    assert "/srv/ref:server/run/a:b=c.sock" == listening[0]
    assert 0o660 == listening[3]


@pytest.mark.parametrize("description", ["tcp:5222", "unix:/run/web.sock:mode=660", "systemd:UNIX:index=0"])
def test_anything_else_stays_as_it_was_written(description: str) -> None:
    assert description == resolve_endpoint(description, Path("/srv"))
