"""Stanzas that were sent and are not confirmed."""

from __future__ import annotations

from refserver.core.outbox import OVERHEAD, Budget, Held, Window
from refserver.jid import JID
from refserver.stanza import Stanza, Tracked

PAT, MIA = JID.parse("pat@there.example"), JID.parse("mia@library.example/desk")


def window(budget: int = 1 << 20, **limits: int) -> Window:
    return Window(Budget(budget), **{"reserve": 0, **limits})


def filled(count: int, kept: Window | None = None) -> Window:
    kept = window() if kept is None else kept
    for number in range(1, count + 1):
        kept.add(Held(message(str(number)), b"x" * 100, number))
    return kept


def message(id: str) -> Stanza:
    return Stanza.message(PAT, MIA, id=id)


def presence(id: str, to: JID = PAT, from_: JID = MIA, type: str = "") -> Stanza:
    return Stanza.presence(to, from_, type, id)


def ids(kept: Window) -> list[str]:
    return [held.envelope.id for held in kept.take_back()]


def test_what_is_confirmed_is_forgotten_and_the_rest_stays_in_order():
    kept = filled(5)
    assert kept.confirm(2)
    assert not kept.confirm(2)
    assert not kept.confirm(0)
    assert ["3", "4", "5"] == ids(kept)
    assert 0 == len(kept)


def test_all_can_be_confirmed_at_once():
    kept = filled(3)
    assert kept.confirm_all()
    assert not kept.confirm_all()
    assert 0 == len(kept)


def test_who_tracks_a_stanza_is_told_when_it_is_confirmed_and_not_before():
    told: list[object] = []
    kept = window()
    kept.add(Held(Tracked(message("1"), told.append), b"x", 1))
    kept.confirm(0)
    assert [] == told
    kept.confirm(1)
    assert [None] == told


def test_who_cannot_be_told_does_not_keep_others_from_it():
    told: list[object] = []
    kept = window()
    kept.add(Held(Tracked(message("1"), lambda error: told.remove("nothing")), b"x", 1))
    kept.add(Held(Tracked(message("2"), told.append), b"x", 2))
    kept.confirm(2)
    assert [None] == told


def test_counts_and_bytes_bound_it():
    assert [False, True] == [filled(count, window(most_stanzas=3)).full for count in (2, 3)]
    assert [False, True] == [filled(count, window(most_bytes=3 * (OVERHEAD + 100))).full for count in (2, 3)]
    assert [False, True] == [filled(count, window(most_stanzas=6)).half_full for count in (2, 3)]
    assert filled(2, window(most_bytes=4 * (OVERHEAD + 100))).half_full


def test_the_budget_comes_back():
    budget = Budget(100_000)
    kept = filled(10, Window(budget, reserve=0))
    assert 100_000 - 10 * (OVERHEAD + 100) == budget.left
    kept.confirm(4)
    assert 100_000 - 6 * (OVERHEAD + 100) == budget.left
    kept.take_back()
    assert 100_000 == budget.left


def test_without_budget_a_stanza_can_be_returned_but_not_sent_again():
    budget = Budget(10_000)
    kept = Window(budget, reserve=8_500)
    filled(2, kept)
    assert [b"x" * 100, b""] == [held.data for held in kept.take_back()]
    assert 10_000 == budget.left


def test_presence_that_a_newer_one_follows_is_not_worth_sending_again():
    kept = window()
    other = JID.parse("eve@library.example/desk")
    sent = [
        presence("old"),
        message("words"),
        presence("other", from_=other),
        presence("gone", type="unavailable"),
        presence("new"),
    ]
    for number, stanza in enumerate(sent, 1):
        kept.add(Held(stanza, b"x", number))
    assert ["words", "other", "new"] == ids(kept)


def test_presence_that_enters_rooms_and_what_asks_for_something_counts_each_time():
    kept = window()
    room = JID.parse("room@rooms.there.example/mia")
    sent = [
        presence("enter", to=room),
        presence("ask", type="subscribe"),
        presence("probe", type="probe"),
        presence("leave", to=room),
        presence("again", type="subscribe"),
    ]
    for number, stanza in enumerate(sent, 1):
        kept.add(Held(stanza, b"x", number))
    assert ["enter", "ask", "probe", "leave", "again"] == ids(kept)
