"""What a proved domain may do, and how much of it."""

from __future__ import annotations

from typing import Any

import pytest

from refserver.core.hooks import Hooks
from refserver.core.hosts import Host, Hosts
from refserver.core.router import Router
from refserver.errors import Condition, StreamCondition, StreamError
from refserver.jid import JID
from refserver.s2s.intake import Intake, IntakeLimits
from refserver.s2s.remotes import Remote
from refserver.stanza import Stanza

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
        generous = dict.fromkeys(IntakeLimits.__annotations__, 0) | limits
        self.intake = Intake(self.router, hosts, IntakeLimits(**generous), lambda: self.now)
        self.remote = Remote("there.example", lambda: 0.0)

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
