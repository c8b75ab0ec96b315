"""Opening hours."""

from __future__ import annotations

from datetime import datetime

import pytest

from refserver.reference.settings import Hours, HoursError, zone

ROME = "Europe/Rome"
OFFICE = Hours.parse("Mon-Fri 09:00-17:00; Sat 10:00-13:00", ROME)


def at(text: str, name: str = ROME) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone(name)).timestamp()


@pytest.mark.parametrize(
    "moment, is_open",
    [
        ("2026-11-23T08:59", False),  # a Monday
        ("2026-11-23T09:00", True),
        ("2026-11-23T16:59", True),
        ("2026-11-23T17:00", False),
        ("2026-11-28T10:30", True),
        ("2026-11-29T10:30", False),
    ],
)
def test_open_from_the_first_minute_to_before_the_last(moment: str, is_open: bool) -> None:
    assert OFFICE.is_open(at(moment)) is is_open


@pytest.mark.parametrize(
    "moment, opens",
    [
        ("2026-11-22T12:00", "2026-11-23T09:00"),
        ("2026-11-23T09:00", "2026-11-24T09:00"),
        ("2026-11-27T18:00", "2026-11-28T10:00"),
        ("2026-11-28T13:00", "2026-11-30T09:00"),
    ],
)
def test_next_opening_is_in_local_time(moment: str, opens: str) -> None:
    opening = OFFICE.next_opening(at(moment))
    assert opening is not None
    assert opening.replace(tzinfo=None).isoformat("T", "minutes") == opens


def test_hours_follow_summer_time() -> None:
    summer, winter = at("2026-07-01T09:00"), at("2026-12-01T09:00")
    assert OFFICE.is_open(summer)
    assert OFFICE.is_open(winter)
    assert summer % 86400 == 7 * 3600
    assert winter % 86400 == 8 * 3600


def test_without_hours_a_queue_is_always_open_and_never_opens() -> None:
    assert Hours.parse("").is_open(0.0)
    assert Hours.parse("").next_opening(0.0) is None


def test_a_range_of_days_may_go_over_the_weekend() -> None:
    assert [opening.weekday for opening in Hours.parse("Sat-Mon 10:00-12:00").openings] == [0, 5, 6]


@pytest.mark.parametrize(
    "text", ["always", "Mon 9-17", "Mon 09:00-08:00", "Xyz 09:00-10:00", "Mon 09:60-10:00", "Mon 09:00-25:00"]
)
def test_what_is_no_hours_is_refused_with_the_part_that_is_wrong(text: str) -> None:
    with pytest.raises(HoursError, match=text.partition(" ")[0]):
        Hours.parse(text)


def test_an_unknown_zone_is_refused() -> None:
    with pytest.raises(HoursError, match="Mars/Base"):
        Hours.parse("", "Mars/Base")
