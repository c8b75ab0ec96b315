"""The discussion history of a room (XEP-0045 7.2.12-13): what is kept, and what a newcomer is sent."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final

from attrs import frozen

from refserver.stanza import Stanza
from refserver.xml.element import Element

MOST_BYTES: Final = 1024 * 1024
MOST_DIGITS: Final = 9  # more are a number larger than any limit of ours
UNLIMITED: Final = 10**MOST_DIGITS


def stamp(at: float) -> str:
    """Return a time (Unix seconds) in the format of XEP-0082."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@frozen
class HistoryRequest:
    """The history that a newcomer asks for, at most; `since` in Unix seconds."""

    messages: int = UNLIMITED
    characters: int = UNLIMITED
    since: float = 0.0

    @classmethod
    def parse(cls, wanted: Element | None, now: float) -> HistoryRequest:
        """Read a `<history/>`. Attributes that are not a number or a time are ignored."""
        if wanted is None:
            return cls()
        seconds = _number(wanted.get("seconds"))
        since = max(_time(wanted.get("since")), now - seconds)
        return cls(_number(wanted.get("maxstanzas")), _number(wanted.get("maxchars")), since)


def _number(text: str | None) -> int:
    if text is None or not text.isascii() or not text.isdigit():
        return UNLIMITED
    digits = text.lstrip("0")
    return int(digits or "0") if len(digits) <= MOST_DIGITS else UNLIMITED


def _time(text: str | None) -> float:
    try:
        since = datetime.fromisoformat(text or "")
        return (since if since.tzinfo else since.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return 0.0


class History:
    """The newest messages of a room with their times: at most `limit` of them, and `MOST_BYTES` in all."""

    def __init__(self, limit: int, messages: Iterable[tuple[float, Stanza]] = ()) -> None:
        self._messages: deque[tuple[float, Stanza]] = deque()
        self._bytes = 0
        self.limit = limit
        for at, message in messages:
            self.append(at, message)

    def append(self, at: float, message: Stanza) -> None:
        """Add the newest message."""
        self._messages.append((at, message))
        self._bytes += len(message.wire())
        self._trim()

    def set_limit(self, limit: int) -> None:
        """Keep at most `limit` messages from now on."""
        self.limit = limit
        self._trim()

    def _trim(self) -> None:
        while len(self._messages) > self.limit or self._bytes > MOST_BYTES:
            _, oldest = self._messages.popleft()
            self._bytes -= len(oldest.wire())

    def select(self, request: HistoryRequest) -> list[tuple[float, Stanza]]:
        """Return the newest messages within all limits of `request`, oldest first."""
        selected: list[tuple[float, Stanza]] = []
        characters = request.characters
        for at, message in reversed(self._messages):
            if len(selected) >= request.messages or at < request.since:
                break
            characters -= len(message.wire().decode())  # 7.2.13: characters of the complete stanza
            if characters < 0:
                break
            selected.append((at, message))
        return selected[::-1]

    def __iter__(self) -> Iterator[tuple[float, Stanza]]:
        return iter(self._messages)

    def __len__(self) -> int:
        return len(self._messages)
