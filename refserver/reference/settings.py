"""The settings of a queue beyond its address, title, language and hours.

Owns the names, types and defaults, and refuses what makes no sense. Kept as JSON with the
queue (refserver/storage/queues.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlsplit

import cattrs
from attrs import asdict, fields_dict, frozen

from refserver.reference.hours import zone

OFFER_SECONDS: Final = 30.0
"""How long a question is offered to one librarian before it is offered to all on duty."""


class Policy(StrEnum):
    """How a queue hands its questions out."""

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
    """Who is offered a question first."""
    offer_seconds: float = OFFER_SECONDS
    """How long one librarian has before the question is offered to all on duty."""
    undo_hours: float = 24
    """How long after a close it can be reopened, and the link to the patron is kept."""
    retention_days: float = 0
    """How long what was said is kept after the close; never shorter than `undo_hours`."""
    return_minutes: float = 10
    """How long a question waits for an owner who has gone before it waits for everyone again; 0: for ever."""
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
