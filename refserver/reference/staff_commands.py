"""Does what a librarian's line asks, in a question's chat, in the desk room, or sent to the queue's address.

What is refused is explained, and a refused text is never delivered. What follows from a verb its events tell.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from attrs import define, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from refserver.jid import JID
from refserver.reference import commands
from refserver.reference.asking import Utterance
from refserver.reference.commands import Command, Fault, Faulty
from refserver.reference.duty import OnDuty
from refserver.reference.profile import QueueProfile
from refserver.reference.service import ReferenceService
from refserver.reference.states import Refusal
from refserver.storage import Database, queues

log = Logger()

Answer = Callable[[str], None]


@frozen
class Line:
    """A line that a librarian has written. `number` is that of the chat's question, None elsewhere.

    `utterance` is the message as it is; `answer` says something to her where she wrote, and `help` what is
    too long for a room.
    """

    librarian: JID
    answer: Answer
    number: int | None = None
    utterance: Utterance | None = None
    help: Answer | None = None


@define(eq=False, slots=False)
class StaffCommands:
    """Does what librarians of one queue ask for. `say_at_desk` says a line in the desk room."""

    _service: ReferenceService
    _database: Database
    _profile: QueueProfile
    _on_duty: OnDuty
    _say_at_desk: Answer

    def do(self, command: Command, line: Line) -> None:
        """Do what a line asks for."""
        texts, service, number = self._profile.staff_texts, self._service, line.number
        match command:
            case commands.Unknown():
                line.answer(texts.unknown(command))
            case commands.Faulty():
                line.answer(texts.faulty(command))
            case commands.Help():
                (line.help or line.answer)(texts.help(command.word))
            case commands.Who():
                line.answer(texts.who([str(duty) for duty in self._on_duty.duties()]))
            case commands.Canned(name=""):
                self._run(self._list_canned(line.answer), line.answer)
            case commands.Take():
                self._run(service.take(command.number, line.librarian), line.answer)
            case commands.Spam() | commands.Unspam() if command.number is None and number is None:
                word = "spam" if isinstance(command, commands.Spam) else "unspam"
                line.answer(texts.faulty(Faulty(word, Fault.NUMBER)))
            case commands.Spam():
                self._run(self._spam(command.number or number or 0, line), line.answer)
            case commands.Unspam():
                self._run(self._lift_spam(command.number or number or 0, line), line.answer)
            case _ if number is None:
                line.answer(texts.only_in_chat())
            case commands.Desk():
                nick = self._profile.nick_of(line.librarian)
                self._say_at_desk(texts.desk_line(nick, number, command.text))
                line.answer(texts.told_desk())
            case commands.Say():
                said = line.utterance or Utterance(command.text)
                said = Utterance(command.text, said.origin_id, said.extras, said.receipt)
                self._run(service.answer(number, line.librarian, said), line.answer, not_sent=True)
            case _:
                self._run(self._change(number, line, command), line.answer)

    async def _change(self, number: int, line: Line, command: Command) -> None:
        """The commands that change the chat's question. Raises `Refusal`."""
        service, librarian = self._service, line.librarian
        origin_id = None if line.utterance is None else line.utterance.origin_id
        match command:
            case commands.Note():
                await service.note(number, librarian, Utterance(command.text, origin_id))
                line.answer(self._profile.staff_texts.noted())
            case commands.Canned():
                text = await service.answer_canned(number, librarian, command.name, origin_id)
                line.answer(self._profile.staff_texts.sent(text))
            case commands.Release():
                await service.release(number, librarian, command.reason)
            case commands.HandOver():
                await service.hand_over(number, librarian, command.nick, command.reason)
            case commands.Decline():
                await service.decline(number, librarian, command.reason)
            case commands.Close():
                await service.close(number, librarian, command.level, command.outcome, command.tags)
            case commands.Park():
                await service.park(number, librarian)
            case commands.Reopen():
                await service.reopen(number, librarian)

    async def _list_canned(self, answer: Answer) -> None:
        found = await self._database.read(queues.canned, self._profile.id)
        answer(self._profile.staff_texts.canned(found))

    async def _spam(self, number: int, line: Line) -> None:
        await self._service.mark_as_spam(number, line.librarian)
        if line.number is not None:  # at the desk she reads what the desk is told
            line.answer(self._profile.staff_texts.you_blocked())

    async def _lift_spam(self, number: int, line: Line) -> None:
        await self._service.lift_spam(number, line.librarian)
        if line.number is not None:
            nick = self._profile.nick_of(line.librarian)
            line.answer(self._profile.staff_texts.unblocked(number, nick))

    def _run(self, doing: Coroutine[Deferred[Any], Any, Any], answer: Answer, not_sent: bool = False) -> None:
        done = Deferred.fromCoroutine(self._explained(doing, answer, not_sent))
        done.addErrback(lambda failure: log.failure("a librarian's command failed", failure=failure))

    async def _explained(self, doing: Any, answer: Answer, not_sent: bool) -> None:
        texts = self._profile.staff_texts
        try:
            await doing
        except Refusal as refusal:
            reason = texts.refused(refusal)
            answer(texts.not_sent(reason) if not_sent else reason)
        except Exception:
            answer(texts.failed())
            raise
