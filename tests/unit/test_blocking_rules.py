"""What a library thinks of a sender: the most specific rule decides."""

from __future__ import annotations

import pytest
from attrs import evolve

from refserver.core.hosts import Host, Verdict
from refserver.features.library_access import LibraryGate, Rules
from refserver.jid import JID
from refserver.storage.access_rules import Rule, fingerprint

HERE, SPAM = "library.example", "spam.example"
EVE = JID.parse(f"eve@{SPAM}/bot")
ADAM = JID.parse(f"adam@{SPAM}")
KEY = b"key"

BLOCKED, ALLOWED = Rule(SPAM), Rule(SPAM, allowed=True)
EVE_BLOCKED, EVE_ALLOWED = Rule(SPAM, "eve"), Rule(SPAM, "eve", allowed=True)
EVE_MARKED = Rule(SPAM, "", fingerprint(KEY, EVE))


def gate(
    own: list[Rule], everywhere: list[Rule] | None = None, *, allow_only: bool = False, staff: str = ""
) -> LibraryGate:
    host = Host(HERE, staff=lambda: {JID.parse(staff)} if staff else set())
    services = {f"rooms.{HERE}", "rooms.other.example"}
    return LibraryGate(
        host,
        Rules.of(own, KEY, allow_only),
        Rules.of(everywhere or []),
        lambda: 100.0,
        services.__contains__,
    )


@pytest.mark.parametrize(
    ("own", "everywhere", "eve", "adam"),
    [
        ([], [], Verdict.OPEN, Verdict.OPEN),
        ([EVE_BLOCKED], [], Verdict.STOPPED, Verdict.OPEN),
        ([EVE_MARKED], [], Verdict.STOPPED, Verdict.OPEN),
        ([BLOCKED], [], Verdict.STOPPED, Verdict.STOPPED),
        ([], [BLOCKED], Verdict.STOPPED, Verdict.STOPPED),
        ([BLOCKED, EVE_ALLOWED], [], Verdict.ALLOWED, Verdict.STOPPED),
        ([ALLOWED, EVE_BLOCKED], [], Verdict.STOPPED, Verdict.ALLOWED),
        ([ALLOWED, EVE_MARKED], [], Verdict.STOPPED, Verdict.ALLOWED),
        ([EVE_MARKED, EVE_ALLOWED], [], Verdict.ALLOWED, Verdict.OPEN),
        ([ALLOWED], [BLOCKED], Verdict.ALLOWED, Verdict.ALLOWED),
        ([BLOCKED], [ALLOWED], Verdict.STOPPED, Verdict.STOPPED),
        ([BLOCKED], [EVE_ALLOWED], Verdict.ALLOWED, Verdict.STOPPED),
        ([EVE_ALLOWED], [BLOCKED, EVE_BLOCKED], Verdict.ALLOWED, Verdict.STOPPED),
    ],
)
def test_an_address_beats_its_domain_and_the_library_beats_everywhere(own, everywhere, eve, adam):
    judged = gate(own, everywhere)
    assert (eve, adam) == (judged.judge(EVE), judged.judge(ADAM))


def test_a_domain_is_that_very_domain():
    judged = gate([BLOCKED])
    for other in (f"eve@chat.{SPAM}", "eve@notspam.example", "eve@example"):
        assert Verdict.OPEN is judged.judge(JID.parse(other))
    assert Verdict.STOPPED is judged.judge(JID.parse(SPAM))


def test_a_rule_holds_until_its_time():
    for until, verdict in ((99.0, Verdict.OPEN), (100.0, Verdict.OPEN), (101.0, Verdict.STOPPED)):
        assert verdict is gate([evolve(EVE_MARKED, expires_at=until)]).judge(EVE)


def test_a_fingerprint_is_of_one_library_s_key():
    rules = Rules.of([EVE_MARKED], b"another key")
    assert rules.address(EVE, 0.0) is None


@pytest.mark.parametrize(
    ("sender", "verdict"),
    [
        ("pat@elsewhere.example", Verdict.STOPPED),
        ("elsewhere.example", Verdict.STOPPED),
        (f"eve@{SPAM}", Verdict.ALLOWED),
        (f"pat@{HERE}", Verdict.OPEN),
        (f"ask@rooms.{HERE}/mia", Verdict.OPEN),
        (f"pat@not{HERE}", Verdict.STOPPED),
        (f"pat@chat.{HERE}", Verdict.STOPPED),
        ("a@rooms.other.example/mia", Verdict.STOPPED),
        ("pat@example", Verdict.STOPPED),
        ("noa@partner.example/desk", Verdict.OPEN),
    ],
)
def test_allow_only_lets_in_whom_the_library_allows_its_own_and_its_staff(sender, verdict):
    judged = gate([EVE_ALLOWED], allow_only=True, staff="noa@partner.example")
    assert verdict is judged.judge(JID.parse(sender))


def test_staff_come_in_from_a_blocked_domain_unless_they_are_blocked_themselves():
    assert Verdict.OPEN is gate([BLOCKED], staff=ADAM.text).judge(ADAM)
    assert Verdict.OPEN is gate([], [BLOCKED], staff=ADAM.text).judge(ADAM)
    assert Verdict.STOPPED is gate([EVE_BLOCKED], staff=EVE.bare.text).judge(EVE)


@pytest.mark.parametrize(
    ("own", "everywhere", "staff", "welcome"),
    [
        ([], [BLOCKED], "", False),
        ([BLOCKED], [], "", True),
        ([EVE_BLOCKED], [BLOCKED], "", False),
        ([EVE_ALLOWED], [BLOCKED], "", True),
        ([ALLOWED], [BLOCKED], "", True),
        ([], [BLOCKED, EVE_ALLOWED], "", True),
        ([], [BLOCKED], ADAM.text, True),
        ([], [BLOCKED], "noa@partner.example", False),
    ],
)
def test_a_domain_blocked_everywhere_is_not_welcome_if_nobody_there_is(own, everywhere, staff, welcome):
    assert welcome is gate(own, everywhere, staff=staff).welcomes(SPAM)


def test_a_rule_that_is_dropped_or_replaced_leaves_nothing_behind():
    rules = Rules()
    for _ in range(2):
        for rule in (BLOCKED, EVE_ALLOWED, EVE_BLOCKED, EVE_MARKED):
            rules.put(rule)
    assert 3 == len(rules)
    assert not rules.allows_at(SPAM)
    for rule in (BLOCKED, EVE_ALLOWED, EVE_MARKED, EVE_MARKED):
        rules.drop(rule)
    assert 0 == len(rules)
    assert rules.address(EVE, 0.0) is None
    assert gate([]).is_open
    assert not gate([BLOCKED]).is_open
    assert not gate([], [BLOCKED]).is_open
    assert not gate([], allow_only=True).is_open


def test_a_hundred_thousand_rules_are_sane():
    """Look-ups do not depend on how many there are; what is kept is little."""
    import tracemalloc

    tracemalloc.start()
    rules = Rules.of(Rule(f"s{number % 1000}.example", f"p{number}") for number in range(100_000))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 100_000 == len(rules)
    assert rules.address(JID.parse("p99999@s999.example"), 0.0) is False
    assert rules.address(JID.parse("p99999@s998.example"), 0.0) is None
    assert kept < 25_000_000
