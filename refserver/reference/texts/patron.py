"""The sentences for patrons: one short, kind line at a time."""

from __future__ import annotations

import math
from datetime import datetime
from functools import cache

from refserver.reference.commands import Word
from refserver.reference.texts.catalogue import catalogue


@cache
def patron_texts(language: str) -> PatronTexts:
    """The patron's sentences in a language; English where there is no translation."""
    return PatronTexts(language)


class PatronTexts:
    """The sentences, one method each. Waits are in seconds."""

    def __init__(self, language: str) -> None:
        translations = catalogue(language)
        self._ = translations.gettext
        self._n = translations.ngettext
        self._p = translations.pgettext

    # -- on the way to an answer -----------------------------------------------

    def acknowledged(self, position: int, wait: float | None, privacy_url: str = "") -> str:
        """The one line that answers a question: `wait` as of `dispatch.expected_wait`."""
        if wait is None:
            line = self._(
                "Thank you, your question is here. Nobody is at the desk right now; "
                "the answer will come in this chat, also while you are away."
            )
        elif wait <= 0:
            line = self._("Thank you, your question is here. A librarian will answer in a moment.")
        else:
            line = self._("Thank you, your question is here. {place}").format(
                place=self.place(position, wait)
            )
        return self._with_privacy(line, privacy_url)

    def acknowledged_closed(self, opening: datetime, privacy_url: str = "") -> str:
        """The same outside the opening hours."""
        line = self._(
            "Thank you, your question is here. The desk opens {when}; "
            "the answer will come in this chat, also while you are away."
        ).format(when=self.when(opening))
        return self._with_privacy(line, privacy_url)

    def _with_privacy(self, line: str, url: str) -> str:
        return self._("{line} What we keep: {url}").format(line=line, url=url) if url else line

    def place(self, position: int, wait: float | None) -> str:
        """The place in the line, and the expected wait."""
        if wait is None:
            return self._("You are number {position} in line.").format(position=position)
        return self._n(
            "You are number {position} in line, about {minutes} minute.",
            "You are number {position} in line, about {minutes} minutes.",
            _minutes(wait),
        ).format(position=position, minutes=_minutes(wait))

    def with_you(self, nick: str) -> str:
        """A librarian has taken the question."""
        return self._("{nick} is with you now.").format(nick=nick)

    def takes_over(self, nick: str) -> str:
        """Another librarian has taken the question over."""
        return self._("{nick} takes over from here.").format(nick=nick)

    def released(self) -> str:
        """The question waits again."""
        return self._("Another librarian will be with you as soon as possible.")

    def closed(self) -> str:
        """The librarian has closed the question."""
        return self._("Thank you for asking. If there is anything else, just write again.")

    def parked(self) -> str:
        """The question is kept for follow-up."""
        return self._("We will look into it. The answer will come in this chat, also while you are away.")

    # -- plain words ------------------------------------------------------------

    def words(self) -> dict[Word, frozenset[str]]:
        """What a patron may type instead of each plain word; the English word always works."""
        names = {
            Word.HELP: self._p("plain words, separated by |", "help"),
            Word.POSITION: self._p("plain words, separated by |", "position"),
            Word.BYE: self._p("plain words, separated by |", "bye|goodbye|good bye"),
        }
        return {word: frozenset({word.value, *text.casefold().split("|")}) for word, text in names.items()}

    def help(self) -> str:
        """The answer to `help`."""
        return self._(
            "Just write your question: a librarian will answer here. "
            "You can also write: position (your place in line), bye (you need no answer any more), "
            "help (this text)."
        )

    def nothing_waits(self) -> str:
        """The answer to `position` without a question."""
        return self._("You have no question waiting. Just write one.")

    def kept(self) -> str:
        """The answer to `position` if the question is kept for follow-up, or nobody is on duty."""
        return self._("Your question is kept. The answer will come in this chat, also while you are away.")

    def withdrawn(self) -> str:
        """The answer to `bye` while the question waits."""
        return self._("Goodbye! Your question was taken out of the line.")

    def goodbye(self) -> str:
        """The answer to `bye` otherwise."""
        return self._("Goodbye, and thank you for asking.")

    # -- what cannot be done ----------------------------------------------------

    def encrypted(self) -> str:
        """A message came that only the recipient's client could read."""
        return self._(
            "This desk cannot read encrypted messages (OMEMO, OpenPGP). "
            "Please switch the encryption off for this chat and write again."
        )

    def too_many(self) -> str:
        """The hourly limit."""
        return self._("You have asked a lot in the last hour. Please wait a little before the next question.")

    def failed(self) -> str:
        """Something broke on our side."""
        return self._("Something went wrong here, your message was not kept. Please send it again.")

    # -- presence ---------------------------------------------------------------

    def free(self, librarians: int) -> str:
        """Status: somebody can answer now."""
        return self._n("{n} librarian, no wait", "{n} librarians, no wait", librarians).format(n=librarians)

    def busy(self, wait: float) -> str:
        """Status: everybody is busy."""
        return self._("all busy, about {minutes} min").format(minutes=_minutes(wait))

    def unstaffed(self, opening: datetime | None) -> str:
        """Status: nobody is on duty; `opening` is when the desk opens again, None without hours."""
        if opening is None:
            return self._("Nobody at the desk, leave a message")
        return self._("Closed until {when}, leave a message").format(when=self.when(opening))

    def when(self, moment: datetime) -> str:
        """A moment of the coming week: `Mon 9:00`."""
        names = (
            self._("Mon"),
            self._("Tue"),
            self._("Wed"),
            self._("Thu"),
            self._("Fri"),
            self._("Sat"),
            self._("Sun"),
        )
        return f"{names[moment.weekday()]} {moment.hour}:{moment.minute:02}"


def _minutes(seconds: float) -> int:
    return max(1, math.ceil(seconds / 60))
