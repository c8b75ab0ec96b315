"""Names that lead where no server is: to nobody, to everybody, to ourselves, to too many places."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from refserver.s2s.resolver import MOST_ADDRESSES, MOST_TARGETS, NoSuchServer, Resolver, Target, dialable
from tests.server.live import STANZAS
from tests.server.strangers import ITSELF, LIBRARY, Town, dialback, message
from tests.unit.test_s2s_resolver import Zone, a, aaaa, srv

EVIL = "evil.example"

NEVER = [
    *("0.0.0.0", "0.1.2.3", "::", "::ffff:0.0.0.0"),
    *("224.0.0.1", "239.255.255.250", "ff02::1", "ff05::2", "::ffff:224.0.0.1"),
    *("255.255.255.255", "240.0.0.1", "::ffff:255.255.255.255"),
    *("169.254.169.254", "fe80::1", "::ffff:169.254.169.254"),
]
INTRANET = ["127.0.0.1", "::1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "fd00::1", "64:ff9b::c000:201"]


@pytest.mark.parametrize("address", NEVER)
def test_at_some_addresses_there_is_no_server(address: str) -> None:
    assert not dialable(address)


@pytest.mark.parametrize("address", INTRANET)
def test_intranets_have_servers(address: str) -> None:
    assert dialable(address)


def found(zone: Zone, host: str) -> Any:
    """The addresses of `host`, or the error's type."""
    results: list[Any] = []
    Deferred.fromCoroutine(Resolver(zone, Clock()).addresses(host)).addBoth(results.append)
    (result,) = results
    return result.type if isinstance(result, Failure) else result


@pytest.mark.parametrize("address", NEVER)
def test_what_dns_says_of_them_is_not_tried(address: str) -> None:
    zone = Zone()
    record = aaaa(address) if ":" in address else a(address)
    zone.a = zone.aaaa = {EVIL: [record]}
    assert NoSuchServer is found(zone, EVIL)
    zone.a = {EVIL: [record, a("192.0.2.1")] if ":" not in address else [a("192.0.2.1")]}
    assert ["192.0.2.1"] == found(zone, EVIL)
    assert NoSuchServer is found(zone, address), "nor is a domain that is the address"


def test_one_stanza_does_not_lead_to_thousands_of_places() -> None:
    """64 records of services, each with 64 addresses: whoever writes them has our connections to spend."""
    zone = Zone()
    for name in ("_xmpps-server", "_xmpp-server"):
        zone.srv[f"{name}._tcp.{EVIL}"] = [srv(f"{name}{number}.victim.example") for number in range(64)]
    zone.a = {"victim.example": [a(f"192.0.2.{number}") for number in range(64)]}
    results: list[list[Target]] = []
    Deferred.fromCoroutine(Resolver(zone, Clock()).targets(EVIL)).addCallback(results.append)
    assert MOST_TARGETS == len(results[0])
    assert MOST_ADDRESSES == len(found(zone, "victim.example"))


# -- ourselves ---------------------------------------------------------------------------------


@pytest.mark.parametrize("among", ["town", "believing_town"])
def test_a_domain_that_leads_to_ourselves_is_not_found(request: pytest.FixtureRequest, among: str) -> None:
    """We refuse ourselves as the domain is none of ours, once."""
    town: Town = request.getfixturevalue(among)
    with town.unharmed():
        town.mia.send(f"<message to='pat@{ITSELF}' id='{ITSELF}'><body>hello</body></message>")
        error = town.mia.stanza("message", ITSELF).find("{jabber:client}error")
        assert error is not None
        assert f"{STANZAS}remote-server-not-found" == error[0].tag
    told = [line for line in town.server.process.log.splitlines() if ITSELF in line]
    assert 1 == len(told)
    assert told[0].endswith(f"no stream to {ITSELF}: the server does not serve this domain")


def test_a_key_of_a_domain_that_leads_to_ourselves_is_not_verified(believing_town: Town) -> None:
    with believing_town.unharmed():
        stream = believing_town.stranger().secured()
        stream.send(dialback("result", ITSELF, LIBRARY, "key"))
        assert b"remote-server-not-found" in stream.expect(b"</db:result>")
        stream.send(message(f"pat@{ITSELF}"))
        stream.failed("not-authorized")
