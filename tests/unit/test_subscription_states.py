"""The subscription states against the tables of RFC 6121 appendix A, as they are printed there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refserver.features.roster.states import (
    INBOUND,
    OUTBOUND,
    SUBSCRIPTION_TYPES,
    SubscriptionState,
    state_of,
)

OUT = {
    "subscribe": """
|  "None"                  |  MUST [1] |  "None + Pending Out"     |
|  "None + Pending Out"    |  MUST     |  no state change          |
|  "None + Pending In"     |  MUST [1] |  "None + Pending Out+In"  |
|  "None + Pending Out+In" |  MUST     |  no state change          |
|  "To"                    |  MUST     |  no state change          |
|  "To + Pending In"       |  MUST     |  no state change          |
|  "From"                  |  MUST [1] |  "From + Pending Out"     |
|  "From + Pending Out"    |  MUST     |  no state change          |
|  "Both"                  |  MUST     |  no state change          |
""",
    "unsubscribe": """
|  "None"                  |  MUST    |  no state change          |
|  "None + Pending Out"    |  MUST    |  "None"                   |
|  "None + Pending In"     |  MUST    |  no state change          |
|  "None + Pending Out+In" |  MUST    |  "None + Pending In"      |
|  "To"                    |  MUST    |  "None"                   |
|  "To + Pending In"       |  MUST    |  "None + Pending In"      |
|  "From"                  |  MUST    |  no state change          |
|  "From + Pending Out"    |  MUST    |  "From"                   |
|  "Both"                  |  MUST    |  "From"                   |
""",
    "subscribed": """
|  "None"                  |  M.N.    |  pre-approval [1]         |
|  "None + Pending Out"    |  M.N.    |  pre-approval [1]         |
|  "None + Pending In"     |  MUST    |  "From"                   |
|  "None + Pending Out+In" |  MUST    |  "From + Pending Out"     |
|  "To"                    |  M.N.    |  pre-approval [1]         |
|  "To + Pending In"       |  MUST    |  "Both"                   |
|  "From"                  |  M.N.    |  no state change          |
|  "From + Pending Out"    |  M.N.    |  no state change          |
|  "Both"                  |  M.N.    |  no state change          |
""",
    "unsubscribed": """
|  "None"                  |  S.N.    |  no state change [1]      |
|  "None + Pending Out"    |  S.N.    |  no state change [1]      |
|  "None + Pending In"     |  MUST    |  "None"                   |
|  "None + Pending Out+In" |  MUST    |  "None + Pending Out"     |
|  "To"                    |  S.N.    |  no state change [1]      |
|  "To + Pending In"       |  MUST    |  "To"                     |
|  "From"                  |  MUST    |  "None"                   |
|  "From + Pending Out"    |  MUST    |  "None + Pending Out"     |
|  "Both"                  |  MUST    |  "To"                     |
""",
}
IN = {
    "subscribe": """
|  "None"                  |  MUST [1]  |  "None + Pending In"     |
|  "None + Pending Out"    |  MUST      |  "None + Pending Out+In" |
|  "None + Pending In"     |  S.N.      |  no state change         |
|  "None + Pending Out+In" |  S.N.      |  no state change         |
|  "To"                    |  MUST      |  "To + Pending In"       |
|  "To + Pending In"       |  S.N.      |  no state change         |
|  "From"                  |  S.N. [2]  |  no state change         |
|  "From + Pending Out"    |  S.N. [2]  |  no state change         |
|  "Both"                  |  S.N. [2]  |  no state change         |
""",
    "unsubscribe": """
|  "None"                  |  S.N.      |  no state change         |
|  "None + Pending Out"    |  S.N.      |  no state change         |
|  "None + Pending In"     |  MUST [1]  |  "None"                  |
|  "None + Pending Out+In" |  MUST [1]  |  "None + Pending Out"    |
|  "To"                    |  S.N.      |  no state change         |
|  "To + Pending In"       |  MUST [1]  |  "To"                    |
|  "From"                  |  MUST [1]  |  "None"                  |
|  "From + Pending Out"    |  MUST [1]  |  "None + Pending Out"    |
|  "Both"                  |  MUST [1]  |  "To"                    |
""",
    "subscribed": """
|  "None"                  |  S.N.      |  no state change         |
|  "None + Pending Out"    |  MUST      |  "To"                    |
|  "None + Pending In"     |  S.N.      |  no state change         |
|  "None + Pending Out+In" |  MUST      |  "To + Pending In"       |
|  "To"                    |  S.N.      |  no state change         |
|  "To + Pending In"       |  S.N.      |  no state change         |
|  "From"                  |  S.N.      |  no state change         |
|  "From + Pending Out"    |  MUST      |  "Both"                  |
|  "Both"                  |  S.N.      |  no state change         |
""",
    "unsubscribed": """
|  "None"                  |  S.N.      |  no state change         |
|  "None + Pending Out"    |  MUST      |  "None"                  |
|  "None + Pending In"     |  S.N.      |  no state change         |
|  "None + Pending Out+In" |  MUST      |  "None + Pending In"     |
|  "To"                    |  MUST      |  "None"                  |
|  "To + Pending In"       |  MUST      |  "None + Pending In"     |
|  "From"                  |  S.N.      |  no state change         |
|  "From + Pending Out"    |  MUST      |  "From"                  |
|  "Both"                  |  MUST      |  "From"                  |
""",
}


def named(name: str) -> SubscriptionState:
    """The state that the RFC calls so."""
    subscription, _, pending = name.strip('"').partition(" + Pending ")
    return state_of(subscription.lower(), "Out" in pending, "In" in pending)


def rows(tables: dict[str, str]) -> list[tuple[str, SubscriptionState, str, SubscriptionState, str]]:
    """(type, state, MUST or not, new state, how the RFC words it) of each line."""
    found = []
    for type, table in tables.items():
        for line in table.strip().splitlines():
            old, allowed, new = (cell.strip() for cell in line.strip("|").split("|"))
            state = named(old)
            after = named(new) if new.startswith('"') else state
            found.append((type, state, allowed, after, new))
    assert len(found) == 36
    return found


@pytest.mark.parametrize("type, state, route, after, words", rows(OUT))
def test_outbound_stanza_changes_state_as_in_appendix_a2(
    type: str, state: SubscriptionState, route: str, after: SubscriptionState, words: str
) -> None:
    step = OUTBOUND[state, type]
    assert step.state is after
    assert step.routed == route.startswith("MUST")
    assert step.preapproves == words.startswith("pre-approval")


@pytest.mark.parametrize("type, state, deliver, after, words", rows(IN))
def test_inbound_stanza_changes_state_as_in_appendix_a3(
    type: str, state: SubscriptionState, deliver: str, after: SubscriptionState, words: str
) -> None:
    step = INBOUND[state, type]
    assert step.state is after
    assert step.delivered == deliver.startswith("MUST")
    replies = {("subscribe", "S.N. [2]"): "subscribed", ("unsubscribe", "MUST [1]"): "unsubscribed"}
    assert step.reply == replies.get((type, deliver), "")


def test_every_state_has_every_stanza_in_both_directions() -> None:
    every = {(state, type) for state in SubscriptionState for type in SUBSCRIPTION_TYPES}
    assert set(OUTBOUND) == every
    assert set(INBOUND) == every
    assert len(SubscriptionState) == 9


def test_what_the_user_sends_never_lets_the_user_see_more() -> None:
    for (state, _), step in OUTBOUND.items():
        assert state.sees or not step.state.sees


def test_what_a_contact_sends_never_lets_the_contact_see_more() -> None:
    for (state, _), step in INBOUND.items():
        assert state.shows or not step.state.shows


def test_what_a_contact_sends_is_delivered_only_if_it_changes_something() -> None:
    for (state, _), step in INBOUND.items():
        assert step.delivered == (step.state is not state)


class Pair:
    """Two accounts whose stanzas arrive, and the servers that answer for them."""

    def __init__(self) -> None:
        self.states = [SubscriptionState.NONE, SubscriptionState.NONE]
        self.approved = [False, False]

    def send(self, side: int, type: str) -> None:
        step = OUTBOUND[self.states[side], type]
        self.states[side] = step.state
        if type == "unsubscribed":
            self.approved[side] = False
        self.approved[side] |= step.preapproves
        if step.routed:
            self.receive(1 - side, type)

    def receive(self, side: int, type: str) -> None:
        step = INBOUND[self.states[side], type]
        state, reply = step.state, step.reply
        if type == "subscribe" and self.approved[side] and state.pending_in:
            state, reply = OUTBOUND[state, "subscribed"].state, "subscribed"
        self.states[side] = state
        if reply:
            self.receive(1 - side, reply)


@given(st.lists(st.tuples(st.sampled_from([0, 1]), st.sampled_from(SUBSCRIPTION_TYPES)), max_size=30))
def test_both_sides_always_agree_on_who_sees_whom(stanzas: list[tuple[int, str]]) -> None:
    pair = Pair()
    for side, type in stanzas:
        pair.send(side, type)
        mine, theirs = pair.states
        assert mine.shows == theirs.sees
        assert mine.sees == theirs.shows
        assert mine.pending_out == theirs.pending_in
        assert mine.pending_in == theirs.pending_out
