"""The table of states says what may follow what."""

from __future__ import annotations

import pytest

from refserver.reference.states import (
    FINISHED,
    OPEN,
    TABLE,
    UNCLAIMED,
    Outcome,
    State,
    Verb,
    WrongState,
    after,
    closing_verb,
    sources,
)


def test_every_state_is_open_or_finished() -> None:
    assert OPEN | FINISHED == set(State)
    assert not OPEN & FINISHED
    assert UNCLAIMED < OPEN


def test_only_a_claim_an_accepted_hand_over_or_a_reopen_leads_to_an_owner() -> None:
    into = {verb for (before, verb), then in TABLE.items() if then is State.CLAIMED and before is not then}
    assert into == {Verb.CLAIM, Verb.REOPEN}


def test_what_is_finished_takes_nothing_but_a_reopen() -> None:
    assert {verb for (before, verb) in TABLE if before in FINISHED} == {Verb.REOPEN}


def test_every_state_can_be_reached_and_left() -> None:
    reached = {then for (before, _), then in TABLE.items() if before is not then}
    left = {before for (before, _), then in TABLE.items() if before is not then}
    assert reached == left == set(State)


@pytest.mark.parametrize(
    "before, verb, then",
    [
        ("waiting", Verb.OFFER, State.OFFERED),
        ("offered", Verb.CLAIM, State.CLAIMED),
        ("claimed", Verb.RELEASE, State.WAITING),
        ("claimed", Verb.CLOSE, State.CLOSED),
        ("claimed", Verb.REFER, State.REFERRED),
        ("claimed", Verb.PARK, State.PARKED),
        ("parked", Verb.ADD, State.WAITING),
        ("offered", Verb.ABANDON, State.ABANDONED),
        ("offered", Verb.WITHDRAW, State.WAITING),
        ("closed", Verb.REOPEN, State.CLAIMED),
    ],
)
def test_moves(before: str, verb: Verb, then: State) -> None:
    assert after(before, verb) is then
    assert State(before) in sources(verb)


OWNED = "add, release, take over, give back, hand over, accept, decline"


@pytest.mark.parametrize(
    "state, verbs",
    [
        (State.WAITING, "add, offer, claim, note, abandon, end"),
        (State.OFFERED, "add, offer, widen, withdraw, claim, note, abandon, end"),
        (State.CLAIMED, f"{OWNED}, note, answer, close, refer, park, end"),
        (State.PARKED, "add, claim, note, end"),
        (State.CLOSED, "reopen"),
        (State.REFERRED, "reopen"),
        (State.ABANDONED, "reopen"),
    ],
)
def test_a_state_allows_these_verbs_and_no_others(state: State, verbs: str) -> None:
    assert set(verbs.split(", ")) == {verb.value for (before, verb) in TABLE if before is state}


def test_a_move_that_is_not_in_the_table_is_refused() -> None:
    with pytest.raises(WrongState) as refused:
        after("closed", Verb.ANSWER)
    assert (refused.value.state, refused.value.verb) == ("closed", "answer")


def test_outcomes_choose_how_a_question_ends() -> None:
    verbs = {outcome: closing_verb(outcome) for outcome in Outcome}
    assert verbs.pop(Outcome.REFERRED) is Verb.REFER
    assert verbs.pop(Outcome.FOLLOW_UP) is Verb.PARK
    assert set(verbs.values()) == {Verb.CLOSE}
