"""Who is offered a question, and what the patron is told about the wait."""

from __future__ import annotations

from refserver.jid import JID
from refserver.reference.duty import Duty, expected_wait, free_places, next_librarian
from refserver.reference.settings import Policy


def duty(nick: str, load: int = 0, max_chats: int = 3, idle_since: float = 0.0) -> Duty:
    return Duty(JID.parse(f"{nick}@library.example"), nick, load, max_chats, idle_since)


def chosen(*duties: Duty, policy: Policy = Policy.LEAST_BUSY, passed: tuple[Duty, ...] = ()) -> str | None:
    found = next_librarian(duties, policy, [one.jid for one in passed])
    return None if found is None else found.nick


def test_the_least_busy_librarian_comes_first() -> None:
    assert chosen(duty("mia", load=1), duty("noa", load=0, idle_since=99.0)) == "noa"


def test_of_equally_busy_ones_the_longest_idle() -> None:
    assert chosen(duty("mia", idle_since=20.0), duty("noa", idle_since=10.0)) == "noa"


def test_round_robin_does_not_look_at_the_load() -> None:
    duties = (duty("mia", load=2, idle_since=10.0), duty("noa", load=0, idle_since=20.0))
    assert chosen(*duties, policy=Policy.ROUND_ROBIN) == "mia"


def test_nobody_beyond_her_capacity() -> None:
    assert chosen(duty("mia", load=3), duty("noa", load=5)) is None
    assert chosen(duty("mia", load=3), duty("noa", load=1, max_chats=2)) == "noa"


def test_not_again_to_whom_let_it_pass() -> None:
    mia, noa = duty("mia"), duty("noa", load=2)
    assert chosen(mia, noa, passed=(mia,)) == "noa"
    assert chosen(mia, passed=(mia,)) is None


def test_everyone_at_once_means_nobody_in_particular() -> None:
    assert chosen(duty("mia"), policy=Policy.EVERYONE) is None


def test_no_wait_while_there_is_room() -> None:
    duties = [duty("mia", load=1), duty("noa", load=3)]
    assert free_places(duties) == 2
    assert expected_wait(2, duties, []) == 0.0


def test_the_wait_grows_with_the_position_and_shrinks_with_the_staff() -> None:
    one, two = [duty("mia", load=3)], [duty("mia", load=3), duty("noa", load=3)]
    assert expected_wait(3, one, [600.0]) == 600.0
    assert expected_wait(3, two, [600.0]) == 300.0
    assert expected_wait(6, one, [600.0]) == 1200.0


def test_the_wait_learns_from_the_median_duration() -> None:
    assert expected_wait(1, [duty("mia", load=3)], [60.0, 90.0, 6000.0]) == 30.0


def test_nobody_on_duty_means_no_estimate() -> None:
    assert expected_wait(1, [], []) is None


def test_a_librarian_without_any_capacity_gives_an_estimate_all_the_same() -> None:
    assert expected_wait(1, [duty("mia", max_chats=0)], [60.0]) == 60.0
