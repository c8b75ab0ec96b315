"""Parses what people type: librarians' lines that begin with `!`, and patrons' plain words.

Pure parsing, no XMPP and no storage. Whatever a librarian types behind a leading `!` is a
command or is held and explained: it never reaches the patron by a slip. `!!` sends one
literal `!`. The vocabulary is the one of the desk (`!417` take, `!close 3 answered loans`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from enum import Enum
from typing import Final

from attrs import frozen

from refserver.reference.states import Outcome

READ_LEVELS: Final = range(1, 7)
_UNRATED: Final = frozenset({Outcome.ABANDONED, Outcome.MISSED, Outcome.SPAM, Outcome.PRACTICE})
_BANGS: Final = "!！﹗"  # the others: what East Asian keyboards write
_UNSEEN: Final = re.compile(
    r"[\s\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]*"
)
_WORD: Final = re.compile(r"(\w[\w-]*)(?:\s+(.*))?\Z", re.DOTALL)
_OUTCOME_SPELLINGS: Final = {"followup": Outcome.FOLLOW_UP, "follow_up": Outcome.FOLLOW_UP} | {
    outcome.value: outcome for outcome in Outcome
}


class Command:
    """A line of a librarian, parsed."""

    __slots__ = ()


@frozen
class Say(Command):
    """Text for the patron, as it is to be sent."""

    text: str


@frozen
class Take(Command):
    """`!417`: claim a question, or accept it when it is being handed over."""

    number: int


@frozen
class Note(Command):
    """`!note text`: for the staff only, kept with the question."""

    text: str


@frozen
class Canned(Command):
    """`!c name` sends a canned reply; without a name lists them."""

    name: str = ""


@frozen
class Who(Command):
    """`!who`: who is on duty, with how many questions."""


@frozen
class HandOver(Command):
    """`!to mia why`: offer the question to another librarian; she may decline."""

    nick: str
    reason: str = ""


@frozen
class Release(Command):
    """`!release`, `!to`, `!to queue`: back to the queue."""

    reason: str = ""


@frozen
class Decline(Command):
    """`!decline why`: the answer to a hand-over one does not want."""

    reason: str = ""


@frozen
class Close(Command):
    """`!close 3 answered loans`: READ level (None where none applies), outcome, tags."""

    level: int | None
    outcome: Outcome = Outcome.ANSWERED
    tags: tuple[str, ...] = ()


@frozen
class Park(Command):
    """`!park why`: keep the question open for follow-up, owned by nobody."""

    reason: str = ""


@frozen
class Reopen(Command):
    """`!reopen`: undo a close."""


@frozen
class Spam(Command):
    """`!spam`, `!spam 417`: close as spam and block who asked; None: the chat's own question."""

    number: int | None = None


@frozen
class Unspam(Command):
    """`!unspam`, `!unspam 417`: who asked is no longer blocked."""

    number: int | None = None


@frozen
class Help(Command):
    """`!help`, `!help close`."""

    word: str = ""


@frozen
class Desk(Command):
    """`!desk text`: to the colleagues in the desk room."""

    text: str


@frozen
class Unknown(Command):
    """No command of that name; `nearest` is the one that may have been meant, "" for none."""

    word: str
    nearest: str = ""


class Fault(Enum):
    """The fault of a known command."""

    TEXT = "text"
    LEVEL = "level"
    LEVEL_RANGE = "level range"
    NUMBER = "number"


@frozen
class Faulty(Command):
    """A known command that cannot be done as it stands."""

    word: str
    fault: Fault


def parse(line: str) -> Command:
    """Return the command in a librarian's message."""
    text = line[_start(line) :]
    if not text.startswith(tuple(_BANGS)):
        return Say(line)
    rest = text[1:]
    if rest.startswith(tuple(_BANGS)):
        return Say(rest)
    found = _WORD.match(rest)
    if found is None:
        return Unknown(rest.strip())
    word, argument = found[1].lower(), (found[2] or "").strip()
    if word.isdecimal():
        return Take(int(word)) if len(word) < 10 else Unknown(word)
    if word in COMMANDS:
        return COMMANDS[word](argument)
    return Unknown(word, _nearest(word))


def _start(line: str) -> int:
    """The place of the first character that can be seen: a byte order mark before a `!` is not."""
    found = _UNSEEN.match(line)
    return 0 if found is None else found.end()


def _nearest(word: str) -> str:
    return next(iter(get_close_matches(word, COMMANDS, 1, 0.6)), "")


def _with_text(word: str, make: Callable[[str], Command]) -> Callable[[str], Command]:
    def command(argument: str) -> Command:
        return make(argument) if argument else Faulty(word, Fault.TEXT)

    return command


def _numbered(word: str, make: Callable[[int | None], Command]) -> Callable[[str], Command]:
    def command(argument: str) -> Command:
        number = argument.removeprefix("#")
        if argument and not (number.isdecimal() and len(number) < 10):
            return Faulty(word, Fault.NUMBER)
        return make(int(number) if argument else None)

    return command


def _to(argument: str) -> Command:
    name, _, reason = argument.partition(" ")
    if not name or name.lower() == "queue":
        return Release(reason.strip())
    return HandOver(name, reason.strip())


def _close(argument: str) -> Command:
    """Level, outcome and tags in any order: a number is the level, an outcome's name the outcome."""
    level: int | None = None
    outcome: Outcome | None = None
    tags: list[str] = []
    for word in argument.lower().replace(",", " ").split():
        word = word.lstrip("#")
        if level is None and word.isdecimal():
            if len(word) > 1 or int(word) not in READ_LEVELS:
                return Faulty("close", Fault.LEVEL_RANGE)
            level = int(word)
        elif outcome is None and word in _OUTCOME_SPELLINGS:
            outcome = _OUTCOME_SPELLINGS[word]
        elif word and word not in tags:
            tags.append(word)
    outcome = outcome or Outcome.ANSWERED
    if level is None and outcome not in _UNRATED:
        return Faulty("close", Fault.LEVEL)
    return Close(level, outcome, tuple(tags))


COMMANDS: Final[Mapping[str, Callable[[str], Command]]] = {
    "note": _with_text("note", Note),
    "c": Canned,
    "who": lambda _: Who(),
    "to": _to,
    "release": Release,
    "decline": Decline,
    "close": _close,
    "park": Park,
    "reopen": lambda _: Reopen(),
    "spam": _numbered("spam", Spam),
    "unspam": _numbered("unspam", Unspam),
    "help": lambda argument: Help(argument.lower().lstrip(_BANGS)),
    "desk": _with_text("desk", Desk),
}


class Word(Enum):
    """The patron's plain words."""

    HELP = "help"
    POSITION = "position"
    BYE = "bye"


def plain_word(text: str, synonyms: Mapping[Word, frozenset[str]]) -> Word | None:
    """The plain word that a whole message is, if it is one; case and closing dots do not count."""
    said = " ".join(text[_start(text) :].casefold().split()).rstrip(f". {_BANGS}")
    return next((word for word, names in synonyms.items() if said in names), None)
