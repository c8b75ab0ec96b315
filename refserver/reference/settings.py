"""The opening hours and settings of a queue.

Hours are written `Mon-Fri 09:00-17:00; Sat 10:00-13:00`, in the queue's time zone. They are a promise to
patrons in words; who is on duty decides who answers.

Owns the names, types and defaults, and refuses what makes no sense. Kept as JSON with the
queue (refserver/storage/queues.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, time, timedelta
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import cattrs
from attrs import asdict, fields_dict, frozen

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


OFFER_SECONDS: Final = 30.0
"""A question is offered to one librarian so long, and then to all on duty."""


class Policy(StrEnum):
    """The order in which librarians are offered questions."""

    LEAST_BUSY = "least-busy"
    ROUND_ROBIN = "round-robin"
    EVERYONE = "everyone"


class SettingsError(ValueError):
    """A setting is unknown or impossible; names it and says what is allowed."""


@frozen
class Settings:
    """A queue's settings."""

    time_zone: str = "UTC"
    """IANA name; hours and reports are in it."""
    dispatch: Policy = Policy.LEAST_BUSY
    """The rule for who is offered a question first."""
    offer_seconds: float = OFFER_SECONDS
    """The time one librarian has before the question is offered to all on duty."""
    undo_hours: float = 24
    """The time after a close in which it can be reopened, and the link to the patron is kept."""
    retention_days: float = 0
    """The time for which what was said is kept after the close; never shorter than `undo_hours`."""
    return_minutes: float = 10
    """The time a question waits for an owner who has gone before it waits for everyone; 0: for ever."""
    practice: bool = False
    """A practice queue stays out of the statistics."""
    privacy_url: str = ""
    """Named in the acknowledgement of a question."""
    web_page: str = ""
    """Named on the queue's business card."""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Settings:
        """Check stored or given values. Raises `SettingsError`."""
        unknown = set(values) - set(fields_dict(cls))
        if unknown:
            known = ", ".join(fields_dict(cls))
            raise SettingsError(f"no setting {', '.join(sorted(unknown))}; there are: {known}")
        try:
            settings = _converter.structure(dict(values), cls)
        except cattrs.BaseValidationError as error:
            raise SettingsError("; ".join(cattrs.transform_error(error, path="setting"))) from error
        zone(settings.time_zone)
        for name, most in _MOST.items():
            if not 0 <= getattr(settings, name) <= most:  # NaN is neither
                raise SettingsError(f"{name} is a number from 0 to {most}")
        for name in ("privacy_url", "web_page"):
            if not _is_web_address(getattr(settings, name)):
                raise SettingsError(f"{name} is a web address, like https://library.example/{name}")
        return settings

    def to_json(self) -> dict[str, Any]:
        """Return the settings that differ from the defaults, ready for JSON."""
        defaults = asdict(Settings())
        return {name: value for name, value in asdict(self).items() if value != defaults[name]}

    @property
    def undo_seconds(self) -> float:
        """`undo_hours` in seconds."""
        return self.undo_hours * 3600

    @property
    def retention_seconds(self) -> float:
        """The seconds for which words are kept after the close."""
        return max(self.undo_seconds, self.retention_days * 86400)


def _is_web_address(text: str) -> bool:
    """Return True for an http or https URL, and for "": none."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    is_plain = text.isprintable() and " " not in text
    return not text or (is_plain and parts.scheme in ("http", "https") and bool(parts.hostname))


_MOST: Final = {
    "offer_seconds": 86_400,  # a day
    "return_minutes": 1_440,  # a day
    "undo_hours": 8_760,  # a year
    "retention_days": 36_500,  # a century
}
_converter = cattrs.Converter(detailed_validation=True)
