"""Every sentence that a patron or a librarian reads, in their language.

English is the source and needs no catalogue. The `.po` files that translators edit are read as they are, so
nothing has to be built and nothing can be out of date.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from gettext import GNUTranslations, NullTranslations
from importlib import resources
from io import BytesIO
from typing import Final

from attrs import asdict

from refserver.errors import Condition
from refserver.reference import states
from refserver.reference.commands import Fault, Faulty, Unknown, Word
from refserver.reference.states import Refusal, State

SOURCE: Final = "en"
WORDS_SHOWN: Final = 60
_FOLDER: Final = resources.files("refserver.reference") / "locale"


def languages() -> list[str]:
    """The languages there are texts in."""
    translated = (entry.name.removesuffix(".po") for entry in _FOLDER.iterdir() if entry.name.endswith(".po"))
    return sorted((SOURCE, *translated))


@cache
def _translations(primary: str) -> NullTranslations:
    if primary == SOURCE or primary not in languages():
        return NullTranslations()
    # Here, since a server whose queues are all English needs neither.
    from babel.messages.mofile import write_mo
    from babel.messages.pofile import read_po

    compiled = BytesIO()
    with (_FOLDER / f"{primary}.po").open("rb") as file:
        write_mo(compiled, read_po(file, locale=primary, abort_invalid=True))
    compiled.seek(0)
    return GNUTranslations(compiled)


@cache
def patron_texts(language: str) -> PatronTexts:
    """The patron's sentences in a language (`de-AT` finds `de`); English where there is no translation."""
    return PatronTexts(language)


@cache
def staff_texts(language: str) -> StaffTexts:
    """The librarians' sentences in a language; English where there is no translation."""
    return StaffTexts(language)


class _Texts:
    """Sentences in one language, with the values of their fields."""

    def __init__(self, language: str) -> None:
        self._in = _translations(language.replace("_", "-").partition("-")[0].lower())

    def _(self, text: str, /, **values: object) -> str:
        return self._in.gettext(text).format(**values)

    def _n(self, one: str, many: str, n: int, /, **values: object) -> str:
        return self._in.ngettext(one, many, n).format(n=n, **values)

    def _p(self, context: str, text: str) -> str:
        return self._in.pgettext(context, text)


class PatronTexts(_Texts):
    """The sentences for patrons: one short, kind line at a time. Waits are in seconds."""

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
            line = self._("Thank you, your question is here. {place}", place=self.place(position, wait))
        return self._with_privacy(line, privacy_url)

    def acknowledged_closed(self, opening: datetime, privacy_url: str = "") -> str:
        """The same outside the opening hours."""
        line = self._(
            "Thank you, your question is here. The desk opens {when}; "
            "the answer will come in this chat, also while you are away.",
            when=self.when(opening),
        )
        return self._with_privacy(line, privacy_url)

    def _with_privacy(self, line: str, url: str) -> str:
        return self._("{line} What we keep: {url}", line=line, url=url) if url else line

    def place(self, position: int, wait: float | None) -> str:
        """The place in the line, and the expected wait."""
        if wait is None:
            return self._("You are number {position} in line.", position=position)
        return self._n(
            "You are number {position} in line, about {minutes} minute.",
            "You are number {position} in line, about {minutes} minutes.",
            _minutes(wait),
            position=position,
            minutes=_minutes(wait),
        )

    def with_you(self, nick: str) -> str:
        """A librarian has taken the question."""
        return self._("{nick} is with you now.", nick=nick)

    def takes_over(self, nick: str) -> str:
        """Another librarian has taken the question over."""
        return self._("{nick} takes over from here.", nick=nick)

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
        """The words a patron may type for each plain word; the English word always works."""
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
        return self._n("{n} librarian, no wait", "{n} librarians, no wait", librarians)

    def busy(self, wait: float) -> str:
        """Status: everybody is busy."""
        return self._("all busy, about {minutes} min", minutes=_minutes(wait))

    def unstaffed(self, opening: datetime | None) -> str:
        """Status: nobody is on duty; `opening` is when the desk opens again, None without hours."""
        if opening is None:
            return self._("Nobody at the desk, leave a message")
        return self._("Closed until {when}, leave a message", when=self.when(opening))

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


class StaffTexts(_Texts):
    """The sentences for librarians: in the desk room and in the chat of a question."""

    # -- a question and who has it ----------------------------------------------

    def announced(
        self, number: int, queue: str, language: str, channel: str, waited: float, words: str, nick: str = ""
    ) -> str:
        """The desk's line for a question; it mentions `nick`, whom it is offered to."""
        mention = f"{nick}: " if nick else ""
        facts = f"#{number} {queue} · {language} · {channel} · {age(waited)}"
        take = self._("!{number} to take", number=number)
        return f'{mention}{facts} "{first_words(words)}" {take}'

    def offered(self, number: int, patron: str) -> str:
        """Behind the patron's words, to the librarian to whom a question is offered."""
        return self._(
            "New question #{number} from {patron}. Your first reply here takes it, and goes to {patron}.",
            number=number,
            patron=patron,
        )

    def offer_over(self, number: int) -> str:
        """To her to whom a question is offered no more."""
        return self._("#{number} is no longer offered to you.", number=number)

    def offer_taken(self, number: int, nick: str) -> str:
        """To her to whom a question was offered: a colleague has taken it."""
        return self._("#{number} is no longer offered to you: {nick} has it.", number=number, nick=nick)

    def yours(self, number: int, patron: str) -> str:
        """She has the question."""
        return self._(
            "#{number} is yours. What you write here goes to {patron}. "
            "!close 3 when it is done (READ level 1-6), !help for all commands.",
            number=number,
            patron=patron,
        )

    def claimed(self, number: int, nick: str) -> str:
        """The desk's line: somebody has a question."""
        return self._("#{number} is with {nick}.", number=number, nick=nick)

    def lost(self, number: int, nick: str) -> str:
        """Somebody was faster, before anything was typed."""
        return self._("{nick} was first: #{number} is taken.", number=number, nick=nick)

    def released(self, number: int, nick: str, reason: str) -> str:
        """The desk's line: a question waits again."""
        line = self._("{nick} has released #{number}.", number=number, nick=nick)
        return self._because(line, reason)

    def returned(self, number: int, nick: str) -> str:
        """The desk's line: a question waits again, since its librarian is not there."""
        return self._("#{number} waits again: {nick} is not there any more.", number=number, nick=nick)

    def owner_away(self, number: int, nick: str) -> str:
        """The desk's line: a question has a librarian who is away."""
        return self._("{nick} is away from #{number}. !{number} takes it.", number=number, nick=nick)

    def taken_from_absent(self, number: int, nick: str, before: str) -> str:
        """The desk's line: somebody has taken a question whose librarian was away."""
        return self._(
            "#{number} is with {nick} now: {before} was away.", number=number, nick=nick, before=before
        )

    def is_released(self, number: int) -> str:
        """To her who released it."""
        return self._("#{number} is back in the queue.", number=number)

    def handed(self, number: int, nick: str) -> str:
        """To the owner: the colleague was asked."""
        return self._(
            "{nick} was asked to take #{number}. It stays yours until then.", number=number, nick=nick
        )

    def asked_to_take(self, number: int, owner: str, reason: str) -> str:
        """To the colleague."""
        line = self._(
            "{owner} asks you to take over #{number}: !{number} or a first reply here takes it, "
            "!decline does not.",
            number=number,
            owner=owner,
        )
        return self._because(line, reason)

    def taken_over(self, number: int, nick: str) -> str:
        """To the owner who handed it over."""
        return self._("{nick} has taken over #{number}.", number=number, nick=nick)

    def declined(self, number: int, nick: str, reason: str) -> str:
        """To the owner: the colleague will not."""
        line = self._("{nick} cannot take #{number}; it stays yours.", number=number, nick=nick)
        return self._because(line, reason)

    def you_declined(self, number: int) -> str:
        """To the colleague who declined, or the owner who took the hand-over back."""
        return self._("#{number} stays where it is.", number=number)

    def ended(self, number: int, state: str) -> str:
        """To her who closed it."""
        if state == State.PARKED:
            return self._("#{number} is kept for follow-up. !{number} takes it again.", number=number)
        return self._("#{number} is closed. !reopen here if that was too early.", number=number)

    def reopened(self, number: int, patron: str) -> str:
        """To her who reopened it."""
        return self._(
            "#{number} is open again and yours. What you write here goes to {patron}.",
            number=number,
            patron=patron,
        )

    def abandoned(self, number: int) -> str:
        """The desk's line: the patron gave up."""
        return self._("#{number}: the patron has left the line.", number=number)

    def said_goodbye(self) -> str:
        """To the owner: the patron said bye."""
        return self._("(The patron said goodbye. !close 3 when you are done.)")

    def noted(self) -> str:
        """A note was kept."""
        return self._("(Noted. The patron does not see it.)")

    def told_desk(self) -> str:
        """A line went to the desk room."""
        return self._("(Said at the desk. The patron does not see it.)")

    def note_line(self, nick: str, text: str) -> str:
        """A note, told to a new owner."""
        return self._("(Note by {nick}: {text})", nick=nick, text=text)

    def desk_line(self, nick: str, number: int, text: str) -> str:
        """The line of `!desk` in the desk room."""
        return f"{nick}, #{number}: {text}"

    def blocked(self, number: int, nick: str) -> str:
        """The desk's line: a question was spam."""
        return self._(
            "#{number} was spam: {nick} has closed it, and whoever sent it can no longer write to us. "
            "!unspam {number} lets them in again.",
            number=number,
            nick=nick,
        )

    def you_blocked(self) -> str:
        """To her who called it spam."""
        return self._(
            "Whoever sent it can no longer write to us. Was that a mistake? !unspam lets them in again, "
            "!reopen opens the question as well."
        )

    def unblocked(self, number: int, nick: str) -> str:
        """The desk's line: it was no spam after all."""
        return self._("{nick} has let whoever asked #{number} in again.", number=number, nick=nick)

    def _because(self, line: str, reason: str) -> str:
        return self._("{line} Why: {reason}", line=line, reason=reason) if reason else line

    def sent(self, text: str) -> str:
        """The text of a canned reply that was sent."""
        return self._("Sent: {text}", text=text)

    def only_in_chat(self) -> str:
        """A command came where no question is."""
        return self._("That works in the chat of a question only. !help lists the commands.")

    def kept_for_later(self) -> str:
        """To the owner: her words could not be delivered yet."""
        return self._(
            "(The patron cannot be reached now. What you write is kept, and delivered as soon as possible.)"
        )

    def undelivered(self, number: int, reason: Condition) -> str:
        """To the owner, or the desk: an answer will never arrive."""
        line = self._("#{number}: the answer could not be delivered to the patron.", number=number)
        return self._because(line, self.why_undelivered(reason))

    def not_heard(self, number: int, nick: str, reason: Condition) -> str:
        """To the desk: a librarian on another server has not got what the patron wrote."""
        line = self._(
            "#{number}: what the patron wrote could not be delivered to {nick}.", number=number, nick=nick
        )
        return self._because(line, self.why_undelivered(reason))

    def why_undelivered(self, reason: Condition) -> str:
        """The reason why something was not delivered, for people."""
        match reason:
            case (
                Condition.REMOTE_SERVER_NOT_FOUND
                | Condition.REMOTE_SERVER_TIMEOUT
                | Condition.INTERNAL_SERVER_ERROR
            ):
                return self._("the server of that address could not be reached for days.")
            case Condition.RESOURCE_CONSTRAINT:
                return self._("the mailbox or the server is full.")
            case Condition.GONE | Condition.ITEM_NOT_FOUND | Condition.JID_MALFORMED:
                return self._("that address does not exist any more.")
            case Condition.SERVICE_UNAVAILABLE | Condition.RECIPIENT_UNAVAILABLE:
                return self._("that address takes no messages from here, or not while nobody is logged in.")
            case _:
                return self._("the server of that address refused it.")

    def not_sent(self, reason: str) -> str:
        """A text for the patron was refused."""
        return self._("{reason} What you wrote was not delivered.", reason=reason)

    # -- what a command answers ---------------------------------------------------

    def who(self, on_duty: Sequence[str]) -> str:
        """The librarians on duty, with their load."""
        if not on_duty:
            return self._("Nobody is on duty.")
        return self._("On duty: {list}", list=", ".join(on_duty))

    def waiting(self, lines: Sequence[str]) -> str:
        """The list of waiting questions, for somebody who comes on duty."""
        return self._n("{n} question waits:", "{n} questions wait:", len(lines)) + ("\n" + "\n".join(lines))

    def canned(self, replies: Mapping[str, str]) -> str:
        """The list of canned replies."""
        if not replies:
            return self._("This queue has no canned replies.")
        return "\n".join(f"!c {name}: {first_words(text)}" for name, text in replies.items())

    def unknown(self, command: Unknown) -> str:
        """An unknown command was held back."""
        if command.nearest:
            return self._(
                "There is no !{word}. Did you mean !{nearest}? Nothing was sent.",
                word=command.word,
                nearest=command.nearest,
            )
        return self._(
            "There is no !{word}. Nothing was sent. !help lists the commands; begin with !! to send a !.",
            word=command.word,
        )

    def faulty(self, command: Faulty) -> str:
        """A command lacks something."""
        if command.fault is Fault.TEXT:
            return self._("!{word} needs a text behind it.", word=command.word)
        if command.fault is Fault.LEVEL:
            return self._("Which READ level? !close 1 (hardly any effort) to !close 6 (research).")
        if command.fault is Fault.NUMBER:
            return self._("!{word} needs the number of a question, like !{word} 417.", word=command.word)
        return self._("READ levels are 1 (hardly any effort) to 6 (research).")

    def help(self, word: str = "") -> str:
        """All commands, or one."""
        outcomes = "answered, referred, follow-up, missed, spam, practice"
        lines = {
            "417": self._("!417 takes question 417"),
            "note": self._("!note text: for the staff only"),
            "c": self._("!c name sends a canned reply, !c lists them"),
            "who": self._("!who: who is on duty, with how many questions"),
            "to": self._("!to mia why: ask mia to take over; !to or !release: back to the queue"),
            "release": self._("!release why: back to the queue"),
            "decline": self._("!decline why: do not take over"),
            "close": self._(
                "!close 3 answered loans: READ level 1-6, outcome, tags; outcomes: {outcomes}",
                outcomes=outcomes,
            ),
            "park": self._("!park: keep for follow-up"),
            "reopen": self._("!reopen: undo a close"),
            "spam": self._("!spam: close as spam, and let whoever sent it write to us no more"),
            "unspam": self._("!unspam 417: let whoever asked 417 write to us again"),
            "desk": self._("!desk text: to the colleagues"),
            "help": self._("!help, !help close"),
            "!": self._("!!text sends !text to the patron"),
        }
        if word.isdecimal():
            word = "417"
        chosen = [lines[word]] if word in lines else list(lines.values())
        return "\n".join(chosen)

    # -- why not ------------------------------------------------------------------

    def refused(self, refusal: Refusal) -> str:
        """Why a verb was refused."""
        facts = asdict(refusal, recurse=False)
        match refusal:
            case states.AlreadyClaimed():
                return self.lost(refusal.number, refusal.by)
            case states.NotYours(by=""):
                return self._("#{number} is not yours; !{number} takes it.", **facts)
            case states.NotYours():
                return self._("#{number} is not yours but {by}'s.", **facts)
            case states.NoSuchQuestion():
                return self._("There is no question #{number}.", **facts)
            case states.NotALibrarian():
                return self._("Only the librarians of this queue can do that.")
            case states.NoSuchLibrarian():
                return self._("No colleague here is called {nick}. !who shows who is on duty.", **facts)
            case states.NotOffered():
                return self._("Nobody asked you to take over #{number}.", **facts)
            case states.NoSuchCannedReply():
                return self._("There is no canned reply {name}. !c lists them.", **facts)
            case states.NotBlockable():
                return self._(
                    "#{number} comes from a colleague, or from somebody your library always lets in: "
                    "they cannot be blocked here. !close spam closes the question only.",
                    **facts,
                )
            case states.NotBlocked():
                return self._("Whoever asked #{number} is not blocked.", **facts)
            case states.PatronBusy():
                return self._("The patron has asked #{number} meanwhile: answer there.", **facts)
            case states.PatronGone():
                return self._("#{number} is too long ago: who asked is no longer known.", **facts)
            case states.WrongState():
                return self._wrong_state(refusal.state)
            case _:
                return self._("That is not possible now.")

    def _wrong_state(self, state: str) -> str:
        match state:
            case State.WAITING | State.OFFERED | State.PARKED:
                return self._("Nobody has taken this question yet.")
            case State.CLAIMED:
                return self._("This question is open and has an owner.")
            case State.ABANDONED:
                return self._("The patron has given this question up. !reopen opens it again.")
            case _:
                return self._("This question is closed. !reopen opens it again.")

    def failed(self) -> str:
        """Something broke on our side."""
        return self._("Something went wrong here; nothing was sent. Please try again.")


def age(seconds: float) -> str:
    """A time span as `0:12`, `12:05` or `3:04:00`."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def first_words(text: str, limit: int = WORDS_SHOWN) -> str:
    """The beginning of a text on one line, cut at a word."""
    line = " ".join(text.split())
    if len(line) <= limit:
        return line
    return line[:limit].rsplit(" ", 1)[0].rstrip(".,;:") + "…"
