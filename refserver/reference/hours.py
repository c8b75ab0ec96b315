"""A queue's opening hours: `Mon-Fri 09:00-17:00; Sat 10:00-13:00`, in the queue's time zone.

Owns the notation and two questions: open now, and when next. Closures and overrides are
not here. Hours are a promise to patrons in words; who is on duty decides who answers.
"""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from attrs import frozen

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTES_A_DAY: Final = 24 * 60
_RULE: Final = re.compile(
    r"([a-z]{3})(?:-([a-z]{3}))?\s+(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})\Z", re.IGNORECASE
)


class HoursError(ValueError):
    """The text is not a list of opening hours, or the zone is unknown; says which part."""


@frozen
class Opening:
    """Open on `weekday` (Monday is 0) from minute `start` to minute `end` of the day."""

    weekday: int
    start: int
    end: int


def zone(name: str) -> ZoneInfo:
    """The time zone of that IANA name. Raises `HoursError`."""
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise HoursError(f"unknown time zone {name!r}") from error


@frozen
class Hours:
    """The weekly openings of a queue. Without any it has no fixed hours."""

    openings: tuple[Opening, ...]
    zone: ZoneInfo

    @classmethod
    def parse(cls, text: str, zone_name: str = "UTC") -> Hours:
        """Read rules separated by `;` or `,`. Raises `HoursError`."""
        openings: list[Opening] = []
        for rule in filter(None, (part.strip() for part in re.split("[;,]", text))):
            openings += _openings(rule)
        return cls(tuple(sorted(openings, key=lambda o: (o.weekday, o.start))), zone(zone_name))

    def is_open(self, now: float) -> bool:
        """Return True if `now` (Unix seconds) falls into the hours, or there are none."""
        if not self.openings:
            return True
        local = datetime.fromtimestamp(now, self.zone)
        minute = local.hour * 60 + local.minute
        return any(o.weekday == local.weekday() and o.start <= minute < o.end for o in self.openings)

    def next_opening(self, now: float) -> datetime | None:
        """Return the start of the next opening in local time, None if there are no hours."""
        local = datetime.fromtimestamp(now, self.zone)
        return min((self._start(opening, local) for opening in self.openings), default=None)

    def _start(self, opening: Opening, local: datetime) -> datetime:
        days = (opening.weekday - local.weekday()) % 7
        clock = time(opening.start // 60, opening.start % 60)
        start = datetime.combine(local.date() + timedelta(days), clock, self.zone)
        if start <= local:
            start = datetime.combine(local.date() + timedelta(days + 7), clock, self.zone)
        return start


def _openings(rule: str) -> list[Opening]:
    found = _RULE.match(rule)
    if found is None:
        raise HoursError(f"not opening hours: {rule!r}; write for example Mon-Fri 09:00-17:00")
    first = _weekday(found[1], rule)
    last = _weekday(found[2] or found[1], rule)
    start, end = _minute(found[3], found[4], rule), _minute(found[5], found[6], rule)
    if start >= end:
        raise HoursError(f"ends before it begins: {rule!r}")
    return [Opening((first + step) % 7, start, end) for step in range((last - first) % 7 + 1)]


def _weekday(name: str, rule: str) -> int:
    try:
        return DAYS.index(name.lower())
    except ValueError:
        raise HoursError(f"no such day in {rule!r}; days are Mon Tue Wed Thu Fri Sat Sun") from None


def _minute(hour: str, minute: str, rule: str) -> int:
    value = int(hour) * 60 + int(minute)
    if int(minute) > 59 or value > MINUTES_A_DAY:
        raise HoursError(f"no such time in {rule!r}")
    return value
