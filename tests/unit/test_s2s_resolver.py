"""Finding other servers: what is asked, remembered and concluded."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from twisted.internet.defer import Deferred, TimeoutError, fail, succeed
from twisted.internet.task import Clock
from twisted.names import dns
from twisted.names.error import DNSNameError, DNSServerError, DomainError
from twisted.python.failure import Failure

from refserver.s2s import resolver as module
from refserver.s2s.resolver import NoAnswer, NoSuchServer, Resolver, Target

PLAIN, DIRECT = "_xmpp-server._tcp.there.example", "_xmpps-server._tcp.there.example"


class Zone:
    """A name server in memory: records or an exception for a name, NXDOMAIN else."""

    def __init__(self, **_: Any) -> None:
        self.srv: dict[str, Any] = {}
        self.a: dict[str, Any] = {}
        self.aaaa: dict[str, Any] = {}
        self.asked: Counter[str] = Counter()

    def _find(self, zone: dict[str, Any], name: str) -> Deferred[Any]:
        self.asked[name] += 1
        found = zone.get(name, DNSNameError())
        if isinstance(found, Deferred):
            return found
        return fail(found) if isinstance(found, Exception) else succeed((found, [], []))

    def lookupService(self, name, timeout):
        return self._find(self.srv, name)

    def lookupAddress(self, name, timeout):
        return self._find(self.a, name)

    def lookupIPV6Address(self, name, timeout):
        return self._find(self.aaaa, name)


def srv(target: str, port: int = 5269, priority: int = 0, ttl: int = 300) -> dns.RRHeader:
    payload = dns.Record_SRV(priority, 0, port, target or "x")
    payload.target.name = target.encode()
    return dns.RRHeader(type=dns.SRV, ttl=ttl, payload=payload)


def a(address: str, ttl: int = 300) -> dns.RRHeader:
    return dns.RRHeader(type=dns.A, ttl=ttl, payload=dns.Record_A(address))


def aaaa(address: str) -> dns.RRHeader:
    return dns.RRHeader(type=dns.AAAA, ttl=300, payload=dns.Record_AAAA(address))


@pytest.fixture
def zone() -> Zone:
    return Zone()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def resolver(zone: Zone, clock: Clock) -> Resolver:
    return Resolver(zone, clock, {"fixed.example": ("127.0.0.9", 4269)}, lambda: 0.0)


def done(coroutine: Any) -> Any:
    """The result of what needs no waiting."""
    results: list[Any] = []
    Deferred.fromCoroutine(coroutine).addBoth(results.append)
    (result,) = results
    if isinstance(result, Failure):
        result.raiseException()
    return result


def test_both_kinds_of_records_are_used_in_the_order_of_priority(zone, resolver):
    zone.srv = {PLAIN: [srv("a.example", priority=2)], DIRECT: [srv("b.example", 443, priority=1)]}
    expected = [Target("b.example", 443, True), Target("a.example", 5269, False)]
    assert expected == done(resolver.targets("there.example"))


def test_without_records_the_domain_itself_is_tried(zone, resolver):
    assert [Target("there.example", 5269)] == done(resolver.targets("there.example"))


def test_a_dot_is_no_service_and_no_fallback(zone, resolver):
    zone.srv = {PLAIN: [srv("")]}
    with pytest.raises(NoSuchServer):
        done(resolver.targets("there.example"))


def test_a_dot_for_direct_tls_leaves_the_other(zone, resolver):
    zone.srv = {DIRECT: [srv("")], PLAIN: [srv("a.example")]}
    assert [Target("a.example", 5269)] == done(resolver.targets("there.example"))


@pytest.mark.parametrize("trouble", [DNSServerError(), TimeoutError(), OSError()])
def test_trouble_of_the_name_servers_is_not_taken_for_an_answer(zone, resolver, trouble):
    zone.srv = {PLAIN: trouble}
    with pytest.raises(NoAnswer):
        done(resolver.targets("there.example"))


def test_trouble_with_one_kind_does_not_hide_the_other(zone, resolver):
    zone.srv = {DIRECT: DNSServerError(), PLAIN: [srv("a.example")]}
    assert [Target("a.example", 5269)] == done(resolver.targets("there.example"))


def test_overrides_and_addresses_ask_nobody(zone, resolver):
    assert [Target("127.0.0.9", 4269)] == done(resolver.targets("fixed.example"))
    assert [Target("127.0.0.1", 5269)] == done(resolver.targets("127.0.0.1"))
    assert [Target("::1", 5269)] == done(resolver.targets("[::1]"))
    assert ["::1"] == done(resolver.addresses("::1"))
    assert not zone.asked


def test_international_domains_are_asked_for_in_a_labels(zone, resolver):
    done(resolver.targets("bücherei.example"))
    assert 1 == zone.asked["_xmpp-server._tcp.xn--bcherei-n2a.example"]


def test_addresses_of_both_families_take_turns(zone, resolver):
    zone.a = {"a.example": [a("192.0.2.1"), a("192.0.2.2")]}
    zone.aaaa = {"a.example": [aaaa("2001:db8::1")]}
    assert ["2001:db8::1", "192.0.2.1", "192.0.2.2"] == done(resolver.addresses("a.example"))


def test_no_address_is_no_server(zone, resolver):
    with pytest.raises(NoSuchServer):
        done(resolver.addresses("a.example"))


def test_a_name_missing_in_the_hosts_file_is_an_answer(zone, resolver):
    zone.a = zone.aaaa = {"a.example": DomainError("a.example")}
    with pytest.raises(NoSuchServer):
        done(resolver.addresses("a.example"))


def test_the_slower_family_is_waited_for_only_a_moment(zone, resolver, clock):
    zone.aaaa = {"a.example": Deferred()}
    zone.a = {"a.example": [a("192.0.2.1")]}
    results: list[Any] = []
    Deferred.fromCoroutine(resolver.addresses("a.example")).addCallback(results.append)
    assert [] == results
    clock.advance(0.06)
    assert [["192.0.2.1"]] == results


def test_a_late_family_is_remembered_for_next_time(zone, resolver, clock):
    late: Deferred[Any] = Deferred()
    zone.aaaa = {"a.example": late}
    zone.a = {"a.example": [a("192.0.2.1")]}
    Deferred.fromCoroutine(resolver.addresses("a.example"))
    clock.advance(1)
    late.callback(([aaaa("2001:db8::1")], [], []))
    assert ["2001:db8::1", "192.0.2.1"] == done(resolver.addresses("a.example"))


def test_answers_hold_as_long_as_they_say(zone, resolver, clock):
    zone.a = {"a.example": [a("192.0.2.1", ttl=100)]}
    done(resolver.addresses("a.example"))
    clock.advance(99)
    done(resolver.addresses("a.example"))
    assert 1 + 2 == zone.asked["a.example"], "the missing family is asked for after a minute"
    clock.advance(2)
    done(resolver.addresses("a.example"))
    assert 1 + 3 == zone.asked["a.example"]


def test_that_there_is_nothing_is_remembered_for_a_minute(zone, resolver, clock):
    done(resolver.targets("there.example"))
    clock.advance(59)
    done(resolver.targets("there.example"))
    assert 1 == zone.asked[PLAIN]
    clock.advance(2)
    zone.srv = {PLAIN: [srv("a.example")]}
    assert [Target("a.example", 5269)] == done(resolver.targets("there.example"))


def test_who_asks_for_the_same_shares_one_query(zone, resolver):
    pending: Deferred[Any] = Deferred()
    zone.a = {"a.example": pending}
    both = [Deferred.fromCoroutine(resolver.addresses("a.example")) for _ in range(2)]
    assert 1 + 1 == zone.asked["a.example"]
    pending.callback(([a("192.0.2.1")], [], []))
    results: list[Any] = []
    for each in both:
        each.addCallback(results.append)
    assert [["192.0.2.1"], ["192.0.2.1"]] == results


def test_what_is_remembered_is_bounded(zone, clock, monkeypatch):
    monkeypatch.setattr(module, "MOST_NAMES", 10)
    resolver = Resolver(zone, clock)
    for number in range(50):
        done(resolver.targets(f"d{number}.example"))
    assert 10 == len(resolver._known)


def test_what_cannot_be_a_name_is_no_server(zone, resolver, monkeypatch):
    def refuse(name, timeout):
        raise UnicodeError("label too long")

    monkeypatch.setattr(zone, "lookupAddress", refuse)
    monkeypatch.setattr(zone, "lookupIPV6Address", refuse)
    with pytest.raises(NoSuchServer):
        done(resolver.addresses("x" * 80))
