"""What a proved domain may do, and how much of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refserver.core.hooks import Hooks
from refserver.core.hosts import Host, Hosts, Verdict
from refserver.core.router import Router
from refserver.errors import Condition, StanzaError, StreamCondition, StreamError
from refserver.jid import JID
from refserver.s2s.inbound_limits import InboundLimits, InboundRouter, weight
from refserver.s2s.known_servers import KnownServer
from refserver.stanza import Stanza
from refserver.xml.element import Element

PAT = JID.parse("pat@there.example/phone")
ASK = JID.parse("ask@library.example")


class Keeper:
    def __init__(self) -> None:
        self.got: list[Stanza] = []

    def deliver(self, stanza: Stanza) -> None:
        self.got.append(stanza)

    def conditions(self) -> list[str]:
        return [stanza.element[0][0].tag.partition("}")[2] for stanza in self.got]


class Bench:
    """An intake between a router's two sides."""

    def __init__(self, **limits: int) -> None:
        self.now = 0.0
        hosts = Hosts()
        self.router = Router(hosts, Hooks())
        self.here, self.there = Keeper(), Keeper()
        self.router.accounts, self.router.remote = self.here, self.there
        hosts.add(Host("library.example"))
        hosts.add_service("rooms.library.example", self.here)
        generous = dict.fromkeys(InboundLimits.__annotations__, 0) | limits
        self.intake = InboundRouter(self.router, hosts, InboundLimits(**generous), lambda: self.now)
        self.remote = KnownServer("there.example")

    def take(self, stanza: Stanza) -> None:
        self.intake.take(stanza, self.remote)


def message(sender: JID = PAT, to: JID = ASK, type: str = "chat") -> Stanza:
    return Stanza.message(to, sender, type=type, body="hello")


def test_a_stanza_goes_to_whom_it_is_for():
    bench = Bench()
    stanza = message()
    bench.take(stanza)
    assert [stanza] == bench.here.got
    assert (1, 0) == (bench.remote.received, bench.remote.refused)


@pytest.mark.parametrize(
    "sender", ["mia@library.example", "library.example", "ask@rooms.library.example/mia"]
)
def test_nobody_outside_speaks_for_a_domain_of_ours(sender):
    bench = Bench()
    with pytest.raises(StreamError) as caught:
        bench.take(message(JID.parse(sender)))
    assert StreamCondition.INVALID_FROM is caught.value.condition
    assert [] == bench.here.got


def test_nothing_is_relayed():
    bench = Bench()
    with pytest.raises(StreamError) as caught:
        bench.take(message(to=JID.parse("eve@elsewhere.example")))
    assert StreamCondition.HOST_UNKNOWN is caught.value.condition
    assert [] == bench.there.got


def test_a_flood_is_answered_with_an_error_and_others_go_on():
    bench = Bench(stanzas_per_minute=3)
    for _ in range(5):
        bench.take(message())
    bench.take(message(JID.parse("other@there.example")))
    assert 4 == len(bench.here.got)
    assert ["resource-constraint"] * 2 == bench.there.conditions()
    assert 2 == bench.remote.refused
    bench.now += 60
    bench.take(message())
    assert 5 == len(bench.here.got)


def test_a_domain_has_a_credit_for_all_its_people():
    bench = Bench(domain_stanzas_per_minute=3)
    for number in range(5):
        bench.take(message(JID.parse(f"p{number}@there.example")))
    bench.take(message(JID.parse("pat@elsewhere.example")))
    assert 4 == len(bench.here.got)


def test_errors_beyond_the_limit_are_dropped_without_an_answer():
    bench = Bench(stanzas_per_minute=1)
    bench.take(message(type="error"))
    bench.take(message(type="error"))
    assert 1 == len(bench.here.got)
    assert [] == bench.there.got


def test_subscription_requests_have_a_limit_of_their_own():
    bench = Bench(subscriptions_per_hour=2)
    for number in range(3):
        bench.take(Stanza.presence(JID.parse(f"a{number}@library.example"), PAT.bare, "subscribe"))
    bench.take(Stanza.presence(ASK, PAT))
    assert 3 == len(bench.here.got)
    assert ["resource-constraint"] == bench.there.conditions()


def test_going_on_talking_is_no_new_conversation():
    bench = Bench(conversations_per_hour=1)
    for _ in range(10):
        bench.take(message())
    assert 10 == len(bench.here.got)
    bench.take(message(to=JID.parse("mia@library.example")))
    assert 10 == len(bench.here.got)
    assert ["resource-constraint"] == bench.there.conditions()


def test_a_fault_of_ours_costs_one_stanza(monkeypatch):
    bench = Bench()

    def fail(stanza: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(bench.here, "deliver", fail)
    bench.take(message())
    assert [Condition.INTERNAL_SERVER_ERROR.value] == bench.there.conditions()


# -- bytes ---------------------------------------------------------------------------------


def heavy(sender: JID = PAT, characters: int = 1000, raw: bytes = b"") -> Stanza:
    made = Stanza.message(ASK, sender, body="x" * characters)
    return Stanza(made.kind, made.element, made.to, made.from_, raw) if raw else made


def test_bytes_of_one_address_and_of_a_domain_have_limits():
    bench = Bench(bytes_per_minute=2500, domain_bytes_per_minute=4500)
    for sender in [PAT] * 3 + [JID.parse(f"p{number}@there.example") for number in range(3)]:
        bench.take(heavy(sender))
    bench.take(heavy(JID.parse("pat@elsewhere.example")))
    assert 2 + 2 + 1 == len(bench.here.got)
    assert ["resource-constraint"] * 2 == bench.there.conditions()
    bench.now += 60
    bench.take(heavy())
    assert 6 == len(bench.here.got)


def test_a_stanza_weighs_the_bytes_it_came_in():
    assert 5000 == weight(heavy(raw=b"x" * 5000))
    bench = Bench(domain_bytes_per_minute=4999)
    bench.take(heavy(raw=b"x" * 5000))
    assert ["resource-constraint"] == bench.there.conditions()


@given(st.text(max_size=50), st.text(max_size=50), st.integers(0, 5))
def test_where_these_are_not_known_it_weighs_no_less_than_what_it_says(body, value, children):
    stanza = Stanza.message(ASK, PAT, body=body)
    for _ in range(children):
        stanza.element.append(Element("{x}y", {"a": value}))
    assert weight(stanza) >= len(body) + children * len(value)


def test_limits_follow_what_a_stream_may_bring():
    limits = InboundLimits.of_streams(1000, 10_000)
    assert (15_000, 60_000) == (limits.bytes_per_minute, limits.domain_bytes_per_minute)
    assert InboundLimits().stanzas_per_minute == limits.stanzas_per_minute
    assert InboundLimits.none() == InboundLimits.of_streams(0, 10_000)


def test_the_largest_stanza_is_never_too_large_for_the_minute():
    limits = InboundLimits.of_streams(1000, 262_144)
    assert (262_144, 262_144) == (limits.bytes_per_minute, limits.domain_bytes_per_minute)


def test_the_defaults_are_those_of_the_default_configuration():
    assert InboundLimits() == InboundLimits.of_streams(65_536, 262_144)


# -- whom libraries let in -----------------------------------------------------------------


class Doorman:
    """A gate that thinks the same of everybody."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict

    def judge(self, sender: JID) -> Verdict:
        return self.verdict

    def blocks(self, sender: JID) -> bool:
        return self.verdict is Verdict.STOPPED

    def welcomes(self, domain: str) -> bool:
        return True


@pytest.mark.parametrize("to", ["ask@library.example", "ask@rooms.library.example"])
def test_limits_do_not_count_for_whom_the_library_allows(to):
    bench = Bench(stanzas_per_minute=1, domain_bytes_per_minute=1, conversations_per_hour=1)
    bench.router.hosts.gates["library.example"] = Doorman(Verdict.ALLOWED)
    for number in range(5):
        bench.take(message(JID.parse(f"p{number}@there.example"), JID.parse(to)))
    assert 5 == len(bench.here.got)
    assert 0 == bench.remote.refused


def test_whom_the_library_does_not_let_in_is_refused_and_its_flood_limited():
    bench = Bench(stanzas_per_minute=2)
    bench.router.hosts.gates["library.example"] = Doorman(Verdict.STOPPED)
    for _ in range(3):
        bench.take(message())
    bench.take(message(type="error"))
    assert [] == bench.here.got
    assert ["service-unavailable", "service-unavailable", "resource-constraint"] == bench.there.conditions()
    assert 4 == bench.remote.refused


def test_what_is_no_stanza_counts_like_one():
    bench = Bench(stanzas_per_minute=2)
    assert [True, True, False] == [bench.intake.may_answer(PAT) for _ in range(3)]
    bench.take(message())
    assert ["resource-constraint"] == bench.there.conditions()


# -- errors are never answered ---------------------------------------------------------------


@pytest.mark.parametrize("limits", [{}, {"stanzas_per_minute": 1}, {"domain_bytes_per_minute": 1}])
@pytest.mark.parametrize(
    "stanza",
    [
        lambda: message(type="error"),
        lambda: Stanza.iq("error", ASK, PAT, "1"),
        lambda: Stanza.iq("result", ASK, PAT, "1"),
        lambda: Stanza.presence(ASK, PAT, "error"),
        lambda: Stanza.presence(ASK, PAT, "unavailable"),
    ],
    ids=["message", "iq", "result", "presence", "unavailable"],
)
@pytest.mark.parametrize("verdict", [Verdict.OPEN, Verdict.STOPPED])
def test_an_error_or_a_result_is_never_answered_whatever_goes_wrong(limits, stanza, verdict, monkeypatch):
    bench = Bench(**limits)
    bench.router.hosts.gates["library.example"] = Doorman(verdict)

    def fail(stanza: Any) -> None:
        bench.router.bounce(stanza, StanzaError(Condition.ITEM_NOT_FOUND))
        raise RuntimeError

    monkeypatch.setattr(bench.here, "deliver", fail)
    for _ in range(3):
        bench.take(stanza())
    assert [] == bench.there.got
