"""The librarian's side: the chat `ask+417`, one question as an ordinary contact.

Plain text goes to the patron, and the first plain reply takes the question. A line that
begins with `!` is a command; the desk room understands some of them too. What is refused is
explained, and a refused text is never delivered.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import frozen

from refserver.errors import Condition, StanzaError
from refserver.features.library_access import LibraryAccess
from refserver.jid import JID
from refserver.reference import answering, closing, commands, spam
from refserver.reference.answering import Answered
from refserver.reference.commands import Command, Say, parse
from refserver.reference.patron_chat import is_encrypted
from refserver.reference.refusals import Refusal
from refserver.reference.relay import receipt_of, signals, utterance
from refserver.stanza import Stanza
from refserver.storage import queues
from refserver.storage.access_rules import Rule
from refserver.storage.questions import Question

if TYPE_CHECKING:
    from refserver.reference.queue import Queue

__all__ = ["LibrarianChat"]

Answer = Callable[[str], None]


@frozen
class Line:
    """What a librarian wrote in the chat of a question."""

    number: int
    librarian: JID
    stanza: Stanza
    answer: Answer


class LibrarianChat:
    """Takes what librarians send to the chats of one queue's questions."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def message(self, number: int, stanza: Stanza) -> None:
        """A message for `ask+number`. Raises `StanzaError`; strangers learn nothing of what is there."""
        assert stanza.from_ is not None
        librarian = stanza.from_.bare
        if librarian not in self._queue.librarians:
            raise StanzaError(Condition.ITEM_NOT_FOUND)
        if stanza.type == "groupchat":
            raise StanzaError(Condition.SERVICE_UNAVAILABLE)
        if stanza.type == "error" and self._queue.is_elsewhere(librarian):
            self._queue.owed.returned(stanza)
        if stanza.type in ("error", "headline"):
            return
        answer = partial(self._queue.courier.tell_staff, number, librarian)
        if is_encrypted(stanza):
            answer(self._queue.patron_texts.encrypted())
        elif stanza.body.strip():
            self.command(Line(number, librarian, stanza, answer), parse(stanza.body))
        else:
            self._signals(number, librarian, stanza)

    def _signals(self, number: int, librarian: JID, stanza: Stanza) -> None:
        """Typing and markers go to the patron; receipts do not: hers said that it is stored."""
        question = self._queue.board.numbered(number)
        children = signals(stanza)
        if question is not None and question.owner == librarian and children and not receipt_of(stanza):
            self._queue.courier.pass_signals(question, stanza, children)

    # -- verbs that both the chat and the desk know -------------------------------------

    def take(self, number: int, librarian: JID, answer: Answer) -> None:
        """Claim a question, or accept it."""
        self._do(self._take(number, librarian), answer)

    async def _take(self, number: int, librarian: JID) -> None:
        now, live = self._queue.core.now(), self._queue.is_live(librarian)
        self._queue.turns.taken(await self._write(answering.take, number, librarian, now, live))

    def list_canned(self, answer: Answer) -> None:
        """Tell which canned replies there are."""
        self._do(self._list_canned(answer), answer)

    async def _list_canned(self, answer: Answer) -> None:
        found = await self._queue.core.database.read(queues.canned, self._queue.record.id)
        answer(self._queue.staff_texts.canned(found))

    def spam(self, number: int, librarian: JID, answer: Answer, *, at_desk: bool = True) -> None:
        """Close a question as spam and block who asked it; `at_desk`: she reads what the desk is told."""
        self._do(self._spam(number, librarian, answer, at_desk), answer)

    async def _spam(self, number: int, librarian: JID, answer: Answer, at_desk: bool) -> None:
        blocked: spam.Blocked = await self._write(spam.spam, number, librarian, self._queue.core.now())
        library = self._queue.jid.domainpart
        self._queue.core.feature(LibraryAccess).put(library, blocked.rule, blocked.key)
        self._queue.turns.spam(blocked.question, librarian)
        if not at_desk:
            answer(self._queue.staff_texts.you_blocked())

    def unspam(self, number: int, librarian: JID, answer: Answer, *, at_desk: bool = True) -> None:
        """Let in again who asked a question."""
        self._do(self._unspam(number, librarian, answer, at_desk), answer)

    async def _unspam(self, number: int, librarian: JID, answer: Answer, at_desk: bool) -> None:
        self._let_in(await self._write(spam.unspam, number, librarian), number, librarian)
        if not at_desk:
            answer(self._queue.staff_texts.unblocked(number, self._queue.nick_of(librarian)))

    def _let_in(self, rule: Rule, number: int, librarian: JID) -> None:
        self._queue.core.feature(LibraryAccess).drop(self._queue.jid.domainpart, rule)
        text = self._queue.staff_texts.unblocked(number, self._queue.nick_of(librarian))
        self._queue.desk.say(text)

    # -- the chat -------------------------------------------------------------------------

    def command(self, line: Line, command: Command) -> None:
        """Do what a line asks for."""
        texts = self._queue.staff_texts
        match command:
            case Say():
                self._do(self._say(line, command.text), line.answer, not_sent=True)
            case commands.Unknown():
                line.answer(texts.unknown(command))
            case commands.Faulty():
                line.answer(texts.faulty(command))
            case commands.Help():
                line.answer(texts.help(command.word))
            case commands.Who():
                line.answer(texts.who(self._queue.desk.duties()))
            case commands.Canned(name=""):
                self.list_canned(line.answer)
            case commands.Take():
                answer = partial(self._queue.courier.tell_staff, command.number, line.librarian)
                self.take(command.number, line.librarian, answer)
            case commands.Spam():
                self.spam(command.number or line.number, line.librarian, line.answer, at_desk=False)
            case commands.Unspam():
                self.unspam(command.number or line.number, line.librarian, line.answer, at_desk=False)
            case commands.Desk():
                nick = self._queue.nick_of(line.librarian)
                self._queue.desk.say(texts.desk_line(nick, line.number, command.text))
                line.answer(texts.told_desk())
            case _:
                self._do(self._change(line, command), line.answer)

    async def _say(self, line: Line, text: str) -> None:
        said = utterance(line.stanza)
        said = type(said)(text, said.origin_id, said.extras, said.receipt)
        self._answered(
            await self._write(
                answering.reply,
                line.number,
                line.librarian,
                said,
                self._queue.core.now(),
                self._queue.is_live(line.librarian),
            )
        )

    async def _change(self, line: Line, command: Command) -> None:
        """The commands that change the question. Raises `Refusal`."""
        number, librarian, texts = line.number, line.librarian, self._queue.staff_texts
        now = self._queue.core.now()
        match command:
            case commands.Note():
                said = type(utterance(line.stanza))(command.text, line.stanza.id or None)
                await self._write(answering.note, number, librarian, said, now)
                line.answer(texts.noted())
            case commands.Canned():
                await self._canned(line, command.name)
            case commands.Release():
                question = await self._write(answering.release, number, librarian)
                line.answer(texts.is_released(number))
                self._queue.turns.released(question, librarian, command.reason)
            case commands.HandOver():
                question = await self._write(answering.hand_over, number, librarian, command.nick)
                self._handed(line, question, command.reason)
            case commands.Decline():
                await self._decline(line, command.reason)
            case commands.Close():
                ending = {"level": command.level, "outcome": command.outcome, "tags": command.tags}
                question = await self._write(closing.close, number, librarian, now, **ending)
                self._queue.turns.ended(question, librarian)
            case commands.Park():
                question = await self._write(closing.park, number, librarian, now)
                self._queue.turns.ended(question, librarian)
            case commands.Reopen():
                taken, rule = await self._write(spam.reopen, number, librarian, now)
                self._queue.turns.reopened(taken)
                if rule is not None:
                    self._let_in(rule, number, librarian)

    async def _canned(self, line: Line, name: str) -> None:
        answered: Answered = await self._write(
            answering.reply_canned,
            line.number,
            line.librarian,
            name,
            line.stanza.id or None,
            self._queue.core.now(),
        )
        self._answered(answered)
        line.answer(self._queue.staff_texts.sent(answered.message.body))

    def _answered(self, answered: Answered) -> None:
        """After the commit: what it took, then what was said."""
        if answered.taken is not None:
            self._queue.turns.taken(answered.taken)
        if not answered.again:
            self._queue.courier.carry(answered.question, [answered.message])

    # -- handing over -----------------------------------------------------------------------

    def _handed(self, line: Line, question: Question, reason: str) -> None:
        assert question.handed_to is not None
        queue, texts = self._queue, self._queue.staff_texts
        queue.board.put(question)
        line.answer(texts.handed(line.number, queue.nick_of(question.handed_to)))
        text = texts.asked_to_take(line.number, queue.nick_of(line.librarian), reason)
        words = queue.board.words(question)
        queue.courier.tell_staff(line.number, question.handed_to, f"{text}\n{queue.guest(question)}: {words}")

    async def _decline(self, line: Line, reason: str) -> None:
        question = await self._write(answering.decline, line.number, line.librarian)
        queue, texts = self._queue, self._queue.staff_texts
        queue.board.put(question)
        line.answer(texts.you_declined(line.number))
        if question.owner is not None and question.owner != line.librarian:
            text = texts.declined(line.number, queue.nick_of(line.librarian), reason)
            queue.courier.tell_staff(line.number, question.owner, text)

    # -- doing ------------------------------------------------------------------------------

    async def _write(
        self, verb: Callable[..., Any], number: int, librarian: JID, *args: object, **kwargs: object
    ) -> Any:
        run: Callable[..., Any] = answering.by_number
        library, write = self._queue.jid.domainpart, self._queue.core.database.write
        return await write(run, library, number, verb, librarian, *args, **kwargs)

    def _do(self, doing: Any, answer: Answer, not_sent: bool = False) -> None:
        self._queue.run(self._explained(doing, answer, not_sent))

    async def _explained(self, doing: Any, answer: Answer, not_sent: bool) -> None:
        texts = self._queue.staff_texts
        try:
            await doing
        except Refusal as refusal:
            reason = texts.refused(refusal)
            answer(texts.not_sent(reason) if not_sent else reason)
        except Exception:
            answer(texts.failed())
            raise
