"""Stanzas that wait for a stream."""

from __future__ import annotations

from refserver.core.outbox import Budget
from refserver.jid import JID
from refserver.s2s.outbound_queue import Backlog
from refserver.stanza import Stanza

PAT, MIA = JID.parse("pat@there.example"), JID.parse("mia@library.example/desk")


def message(text: str, id: str = "m") -> Stanza:
    return Stanza.message(PAT, MIA, id=id, body=text)


def taken(backlog: Backlog) -> list[tuple[str, bytes]]:
    got: list[tuple[str, bytes]] = []
    backlog.empty(lambda held: got.append((held.envelope.id, held.data)))
    return got


def test_what_waited_comes_out_in_order_once():
    backlog = Backlog(Budget())
    assert all(backlog.add(message(f"number {n}", id=str(n))) for n in range(20))
    out = taken(backlog)
    assert [str(n) for n in range(20)] == [id for id, _ in out]
    assert b"number 7" in out[7][1]
    assert [] == taken(backlog)


def test_a_count_and_a_size_bound_it():
    assert [True, True, False] == [backlog.add(message("x")) for backlog in [Backlog(Budget(), 2)] * 3]
    small = Backlog(Budget(), most_bytes=5_000)
    assert small.add(message("x" * 3_000))
    assert not small.add(message("x" * 3_000))


def test_all_together_have_a_budget_which_comes_back():
    budget = Budget(3_000)
    one, other = Backlog(budget), Backlog(budget)
    assert one.add(message("x" * 1_000))
    assert not other.add(message("x" * 1_000))
    taken(one)
    assert 3_000 == budget.left
    assert other.add(message("x" * 1_000))


def test_an_envelope_can_be_answered_and_holds_no_words():
    backlog = Backlog(Budget())
    backlog.add(message("private", id="a1"))
    envelopes: list[Stanza] = []
    backlog.empty(lambda held: envelopes.append(held.envelope))
    (envelope,) = envelopes
    assert ("message", "a1", PAT, MIA, "chat") == (
        envelope.kind,
        envelope.id,
        envelope.to,
        envelope.from_,
        envelope.type,
    )
    assert 0 == len(envelope.element)
