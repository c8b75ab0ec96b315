"""The sentences for librarians: in the desk room and in the chat of a question."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from refserver.errors import Condition
from refserver.reference import refusals
from refserver.reference.commands import Fault, Faulty, Unknown
from refserver.reference.dispatch import Duty
from refserver.reference.states import State
from refserver.reference.texts.catalogue import catalogue

WORDS_SHOWN = 60


@cache
def staff_texts(language: str) -> StaffTexts:
    """The librarians' sentences in a language; English where there is no translation."""
    return StaffTexts(language)


class StaffTexts:
    """The sentences, one method each."""

    def __init__(self, language: str) -> None:
        translations = catalogue(language)
        self._ = translations.gettext
        self._n = translations.ngettext

    # -- a question and who has it ----------------------------------------------

    def announced(
        self, number: int, queue: str, language: str, channel: str, waited: float, words: str, nick: str = ""
    ) -> str:
        """The desk's line for a question; it mentions `nick`, whom it is offered to."""
        mention = f"{nick}: " if nick else ""
        facts = f"#{number} {queue} · {language} · {channel} · {age(waited)}"
        take = self._("!{number} to take").format(number=number)
        return f'{mention}{facts} "{first_words(words)}" {take}'

    def offered(self, number: int, patron: str) -> str:
        """Behind the patron's words, to the librarian to whom a question is offered."""
        return self._(
            "New question #{number} from {patron}. Your first reply here takes it, and goes to {patron}."
        ).format(number=number, patron=patron)

    def offer_over(self, number: int) -> str:
        """To her to whom a question is offered no more."""
        return self._("#{number} is no longer offered to you.").format(number=number)

    def yours(self, number: int, patron: str) -> str:
        """She has the question."""
        return self._(
            "#{number} is yours. What you write here goes to {patron}. "
            "!close 3 when it is done (READ level 1-6), !help for all commands."
        ).format(number=number, patron=patron)

    def claimed(self, number: int, nick: str) -> str:
        """The desk's line: somebody has a question."""
        return self._("#{number} is with {nick}.").format(number=number, nick=nick)

    def lost(self, number: int, nick: str) -> str:
        """Somebody was faster, before anything was typed."""
        return self._("{nick} was first: #{number} is taken.").format(number=number, nick=nick)

    def released(self, number: int, nick: str, reason: str) -> str:
        """The desk's line: a question waits again."""
        line = self._("{nick} has released #{number}.").format(number=number, nick=nick)
        return self._because(line, reason)

    def returned(self, number: int, nick: str) -> str:
        """The desk's line: a question waits again, since its librarian is not there."""
        return self._("#{number} waits again: {nick} is not there any more.").format(number=number, nick=nick)

    def owner_away(self, number: int, nick: str) -> str:
        """The desk's line: a question has a librarian who is away."""
        return self._("{nick} is away from #{number}. !{number} takes it.").format(number=number, nick=nick)

    def taken_from_absent(self, number: int, nick: str, before: str) -> str:
        """The desk's line: somebody has taken a question whose librarian was away."""
        return self._("#{number} is with {nick} now: {before} was away.").format(
            number=number, nick=nick, before=before
        )

    def is_released(self, number: int) -> str:
        """To her who released it."""
        return self._("#{number} is back in the queue.").format(number=number)

    def handed(self, number: int, nick: str) -> str:
        """To the owner: the colleague was asked."""
        return self._("{nick} was asked to take #{number}. It stays yours until then.").format(
            number=number, nick=nick
        )

    def asked_to_take(self, number: int, owner: str, reason: str) -> str:
        """To the colleague."""
        line = self._(
            "{owner} asks you to take over #{number}: !{number} or a first reply here takes it, "
            "!decline does not."
        ).format(number=number, owner=owner)
        return self._because(line, reason)

    def taken_over(self, number: int, nick: str) -> str:
        """To the owner who handed it over."""
        return self._("{nick} has taken over #{number}.").format(number=number, nick=nick)

    def declined(self, number: int, nick: str, reason: str) -> str:
        """To the owner: the colleague will not."""
        line = self._("{nick} cannot take #{number}; it stays yours.").format(number=number, nick=nick)
        return self._because(line, reason)

    def you_declined(self, number: int) -> str:
        """To the colleague who declined, or the owner who took the hand-over back."""
        return self._("#{number} stays where it is.").format(number=number)

    def ended(self, number: int, state: str) -> str:
        """To her who closed it."""
        if state == State.PARKED:
            return self._("#{number} is kept for follow-up. !{number} takes it again.").format(number=number)
        return self._("#{number} is closed. !reopen here if that was too early.").format(number=number)

    def reopened(self, number: int, patron: str) -> str:
        """To her who reopened it."""
        return self._("#{number} is open again and yours. What you write here goes to {patron}.").format(
            number=number, patron=patron
        )

    def abandoned(self, number: int) -> str:
        """The desk's line: the patron gave up."""
        return self._("#{number}: the patron has left the line.").format(number=number)

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
        return self._("(Note by {nick}: {text})").format(nick=nick, text=text)

    def desk_line(self, nick: str, number: int, text: str) -> str:
        """The line of `!desk` in the desk room."""
        return f"{nick}, #{number}: {text}"

    def blocked(self, number: int, nick: str) -> str:
        """The desk's line: a question was spam."""
        return self._(
            "#{number} was spam: {nick} has closed it, and whoever sent it can no longer write to us. "
            "!unspam {number} lets them in again."
        ).format(number=number, nick=nick)

    def you_blocked(self) -> str:
        """To her who called it spam."""
        return self._(
            "Whoever sent it can no longer write to us. Was that a mistake? !unspam lets them in again, "
            "!reopen opens the question as well."
        )

    def unblocked(self, number: int, nick: str) -> str:
        """The desk's line: it was no spam after all."""
        return self._("{nick} has let whoever asked #{number} in again.").format(number=number, nick=nick)

    def _because(self, line: str, reason: str) -> str:
        return self._("{line} Why: {reason}").format(line=line, reason=reason) if reason else line

    def sent(self, text: str) -> str:
        """The text of a canned reply that was sent."""
        return self._("Sent: {text}").format(text=text)

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
        line = self._("#{number}: the answer could not be delivered to the patron.").format(number=number)
        return self._because(line, self.why_undelivered(reason))

    def not_heard(self, number: int, nick: str, reason: Condition) -> str:
        """To the desk: a librarian on another server has not got what the patron wrote."""
        line = self._("#{number}: what the patron wrote could not be delivered to {nick}.").format(
            number=number, nick=nick
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
        return self._("{reason} What you wrote was not delivered.").format(reason=reason)

    # -- what a command answers ---------------------------------------------------

    def who(self, duties: Iterable[Duty]) -> str:
        """The librarians on duty, with their load."""
        lines = [f"{duty.nick} {duty.load}/{duty.max_chats}" for duty in duties]
        if not lines:
            return self._("Nobody is on duty.")
        return self._("On duty: {list}").format(list=", ".join(lines))

    def waiting(self, lines: Sequence[str]) -> str:
        """The list of waiting questions, for somebody who comes on duty."""
        return self._n("{n} question waits:", "{n} questions wait:", len(lines)).format(n=len(lines)) + (
            "\n" + "\n".join(lines)
        )

    def canned(self, replies: Mapping[str, str]) -> str:
        """The list of canned replies."""
        if not replies:
            return self._("This queue has no canned replies.")
        return "\n".join(f"!c {name}: {first_words(text)}" for name, text in replies.items())

    def unknown(self, command: Unknown) -> str:
        """An unknown command was held back."""
        if command.nearest:
            return self._("There is no !{word}. Did you mean !{nearest}? Nothing was sent.").format(
                word=command.word, nearest=command.nearest
            )
        return self._(
            "There is no !{word}. Nothing was sent. !help lists the commands; begin with !! to send a !."
        ).format(word=command.word)

    def faulty(self, command: Faulty) -> str:
        """A command lacks something."""
        if command.fault is Fault.TEXT:
            return self._("!{word} needs a text behind it.").format(word=command.word)
        if command.fault is Fault.LEVEL:
            return self._("Which READ level? !close 1 (hardly any effort) to !close 6 (research).")
        if command.fault is Fault.NUMBER:
            return self._("!{word} needs the number of a question, like !{word} 417.").format(
                word=command.word
            )
        return self._("READ levels are 1 (hardly any effort) to 6 (research).")

    def help(self, word: str = "") -> str:
        """All commands, or one."""
        lines = {
            "417": self._("!417 takes question 417"),
            "note": self._("!note text: for the staff only"),
            "c": self._("!c name sends a canned reply, !c lists them"),
            "who": self._("!who: who is on duty, with how many questions"),
            "to": self._("!to mia why: ask mia to take over; !to or !release: back to the queue"),
            "release": self._("!release why: back to the queue"),
            "decline": self._("!decline why: do not take over"),
            "close": self._("!close 3 answered loans: READ level 1-6, outcome, tags; outcomes: {outcomes}"),
            "park": self._("!park: keep for follow-up"),
            "reopen": self._("!reopen: undo a close"),
            "spam": self._("!spam: close as spam, and let whoever sent it write to us no more"),
            "unspam": self._("!unspam 417: let whoever asked 417 write to us again"),
            "desk": self._("!desk text: to the colleagues"),
            "help": self._("!help, !help close"),
            "!": self._("!!text sends !text to the patron"),
        }
        outcomes = "answered, referred, follow-up, missed, spam, practice"
        if word.isdecimal():
            word = "417"
        chosen = [lines[word]] if word in lines else list(lines.values())
        return "\n".join(chosen).replace("{outcomes}", outcomes)

    # -- why not ------------------------------------------------------------------

    def refused(self, refusal: refusals.Refusal) -> str:
        """Why a verb was refused."""
        match refusal:
            case refusals.AlreadyClaimed():
                return self.lost(refusal.number, refusal.by)
            case refusals.NotYours(by=""):
                return self._("#{number} is not yours; !{number} takes it.").format(number=refusal.number)
            case refusals.NotYours():
                return self._("#{number} is not yours but {by}'s.").format(
                    number=refusal.number, by=refusal.by
                )
            case refusals.NoSuchQuestion():
                return self._("There is no question #{number}.").format(number=refusal.number)
            case refusals.NotALibrarian():
                return self._("Only the librarians of this queue can do that.")
            case refusals.NoSuchLibrarian():
                return self._("No colleague here is called {nick}. !who shows who is on duty.").format(
                    nick=refusal.nick
                )
            case refusals.NotOffered():
                return self._("Nobody asked you to take over #{number}.").format(number=refusal.number)
            case refusals.NoSuchCannedReply():
                return self._("There is no canned reply {name}. !c lists them.").format(name=refusal.name)
            case refusals.NotBlockable():
                return self._(
                    "#{number} comes from a colleague, or from somebody your library always lets in: "
                    "they cannot be blocked here. !close spam closes the question only."
                ).format(number=refusal.number)
            case refusals.NotBlocked():
                return self._("Whoever asked #{number} is not blocked.").format(number=refusal.number)
            case refusals.PatronBusy():
                return self._("The patron has asked #{number} meanwhile: answer there.").format(
                    number=refusal.number
                )
            case refusals.PatronGone():
                return self._("#{number} is too long ago: who asked is no longer known.").format(
                    number=refusal.number
                )
            case refusals.WrongState():
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
