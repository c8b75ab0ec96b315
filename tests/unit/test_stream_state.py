"""The transition table as such."""

from __future__ import annotations

import pytest

from refserver.stream.inbound import HALTED, SHELLS_TURN, TRANSITIONS, InboundState, Move, after


def test_every_state_has_its_row():
    assert set(InboundState) == set(TRANSITIONS)


def test_every_state_can_be_reached_and_every_move_is_used():
    reached, todo = set(), [InboundState.HEADER]
    while todo:
        state = todo.pop()
        if state not in reached:
            reached.add(state)
            todo += TRANSITIONS[state].values()
    assert set(InboundState) == reached
    assert set(Move) == {move for row in TRANSITIONS.values() for move in row}


@pytest.mark.parametrize("state", InboundState)
def test_every_stream_can_end(state):
    assert after(state, Move.END) is InboundState.CLOSED
    assert after(state, Move.CLOSE) is InboundState.CLOSING


@pytest.mark.parametrize("state", sorted(SHELLS_TURN, key=str))
def test_where_the_shell_is_asked_nothing_is_read(state):
    assert state in HALTED


def test_authentication_cannot_be_reached_without_success():
    to_restarted = {
        (state, move)
        for state, row in TRANSITIONS.items()
        for move in row
        if row[move] is InboundState.RESTARTED
    }
    assert {move for _, move in to_restarted} == {Move.SUCCEED}
    assert {state for state, _ in to_restarted} == {
        InboundState.NEGOTIATING,
        InboundState.CHALLENGED,
        InboundState.CREDENTIALS,
        InboundState.PASSWORD,
    }


def test_what_the_table_does_not_have_is_a_fault_of_ours():
    with pytest.raises(RuntimeError, match="BIND is not possible in HEADER"):
        after(InboundState.HEADER, Move.BIND)
