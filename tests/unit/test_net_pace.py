"""When a crowded server looks at its sockets next."""

from __future__ import annotations

import pytest

from refserver.net.pace import BUSY, CROWD, FULL, GATHER_SECONDS, WINDOW_SECONDS, Pace


def pause_after(events_a_second: float, connections: int, in_one_turn: int = 1) -> float:
    """The pause after a second of that load."""
    pace, now, pause = Pace(), 0.0, 0.0
    while now < 1.0:
        pause = pace.pause(now, in_one_turn, connections)
        now += in_one_turn / events_a_second
    return pause


def test_on_a_crowded_busy_server_messages_share_a_wake_up() -> None:
    assert pause_after(2 * BUSY, CROWD) == GATHER_SECONDS


@pytest.mark.parametrize(
    "events_a_second, connections, in_one_turn",
    [(2 * BUSY, CROWD - 1, 1), (BUSY / 2, CROWD, 1), (1_000 * FULL, CROWD, FULL)],
    ids=["few connections", "few messages", "so many that they come together anyway"],
)
def test_elsewhere_nobody_waits(events_a_second: float, connections: int, in_one_turn: int) -> None:
    assert pause_after(events_a_second, connections, in_one_turn) == 0


def test_when_it_is_quiet_again_nobody_waits() -> None:
    pace = Pace()
    for turn in range(1_000):
        pace.pause(turn / 1_000, 1, CROWD)
    assert pace.pause(1.0, 1, CROWD) == GATHER_SECONDS
    assert pace.pause(1.0 + WINDOW_SECONDS, 1, CROWD) == 0
