"""What a verb is: one thing an operator can ask for, as one database transaction.

A verb is an attrs class: its attributes are the arguments (they travel as JSON), `run` the transaction. The
same class runs in a server, when one is running, and in refserverctl, when none is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from attrs import frozen

if TYPE_CHECKING:  # SQLAlchemy takes long to import, and refserverctl mostly does without it
    from sqlalchemy import Connection

    from refserver.app.verbs.changes import Change
    from refserver.s2s.known_servers import ServerStatus

__all__ = ["Done", "LiveVerb", "Refused", "Running", "Verb", "day_of", "moment"]


class Refused(Exception):
    """The wish cannot be fulfilled, and nothing was changed; the text is one line that says what to do."""


@frozen
class Done:
    """What came of a verb: data for the operator (as JSON has them), and what was changed.

    Data is a list of objects for a list; for a change an object whose `done` says what was done in a word.
    """

    data: Any
    changes: tuple[Change, ...] = ()


@frozen
class Verb(ABC):
    """Base class. `verb`: the words of the command, `writes`: whether the transaction may change anything."""

    verb: ClassVar[str]
    writes: ClassVar[bool] = True

    @abstractmethod
    def run(self, connection: Connection, now: float) -> Done:
        """Do it at `now` (Unix seconds), within the transaction of `connection`. Raises `Refused`."""


class Running(Protocol):
    """What a running server knows besides its store."""

    def remotes(self) -> Sequence[ServerStatus]:
        """The other servers that had to do with us lately, by domain. Raises `Refused`: we talk to none."""


@frozen
class LiveVerb(Verb):
    """Base class of verbs on what only a running server knows: `answer` takes the transaction's place."""

    writes: ClassVar[bool] = False

    def run(self, connection: Connection, now: float) -> Done:
        """There is nothing of this in the store. Raises `Refused`."""
        raise Refused(f"{self.verb} needs a running server: start it, and ask again")

    @abstractmethod
    def answer(self, running: Running) -> Any:
        """The data for the operator. Raises `Refused`."""


def day_of(text: str) -> date:
    """A day as operators write it, like 2026-01-31: days written so sort as they follow. Raises `Refused`."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    if day is None or day.isoformat() != text:
        raise Refused(f"{text!r} is no day: write it like 2026-01-31")
    return day


def moment(seconds: float | None) -> str | None:
    """A time as data has it: ISO 8601, UTC, to the second."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(int(seconds), UTC).isoformat().replace("+00:00", "Z")
