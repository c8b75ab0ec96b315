"""The librarian's side: the chat `ask+417`, one question as an ordinary contact.

Plain text goes to the patron, and the first plain reply takes the question. A line that begins with `!` is a
command (staff_commands.py). The patron's words come with the offer; who takes the question gets what she has
not seen yet, and then what has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from attrs import define

from refserver.core.core import Core
from refserver.errors import Condition, StanzaError
from refserver.jid import JID
from refserver.reference import events
from refserver.reference.commands import parse
from refserver.reference.open_questions import OpenQuestions
from refserver.reference.outbox import Outbox
from refserver.reference.people import Reach
from refserver.reference.profile import QueueProfile
from refserver.reference.relay import MessageRelay, is_encrypted, receipt_of, signals, utterance
from refserver.reference.staff_commands import Line, StaffCommands
from refserver.reference.states import OPEN, State
from refserver.stanza import Stanza
from refserver.storage.conversations import Direction, Message, Relay
from refserver.storage.outbox import Due
from refserver.storage.questions import Question


@define(eq=False, slots=False)
class LibrarianChat:
    """The chats of one queue's questions. `wrote` is told which client gave a sign of life, and where."""

    _core: Core
    _profile: QueueProfile
    _open: OpenQuestions
    _reach: Reach
    _relay: MessageRelay
    _outbox: Outbox
    _commands: StaffCommands
    _wrote: Callable[[JID, JID], None]

    def __attrs_post_init__(self) -> None:
        self._seen: dict[int, dict[JID, int]] = {}
        """Of each open question (its number): up to which message (its sequence) who has seen it."""
        self._offered: dict[int, set[JID]] = {}
        """Of each question that waits: in whose chats an offer stands."""

    # -- what librarians write ------------------------------------------------------------

    def message(self, number: int, stanza: Stanza) -> None:
        """A message for `ask+number`. Raises `StanzaError`; strangers learn nothing of what is there."""
        assert stanza.from_ is not None
        librarian = stanza.from_.bare
        if librarian not in self._profile.librarians:
            raise StanzaError(Condition.ITEM_NOT_FOUND)
        if stanza.type == "groupchat":
            raise StanzaError(Condition.SERVICE_UNAVAILABLE)
        if stanza.type == "error":
            self._outbox.returned(stanza)
        if stanza.type in ("error", "headline"):
            return
        self._wrote(stanza.from_, self._profile.jid)
        answer = partial(self._relay.tell_staff, number, librarian)
        if is_encrypted(stanza):
            answer(self._profile.patron_texts.encrypted())
        elif stanza.body.strip():
            line = Line(librarian, answer, number, utterance(stanza))
            self._commands.do(parse(stanza.body), line)
        else:
            self._signals(number, librarian, stanza)

    def _signals(self, number: int, librarian: JID, stanza: Stanza) -> None:
        """Typing and markers go to the patron; receipts do not: hers said that it is stored."""
        question = self._open.numbered(number)
        children = signals(stanza)
        if question is not None and question.owner == librarian and children and not receipt_of(stanza):
            self._relay.pass_signals(question, stanza, children)

    # -- what librarians are told -------------------------------------------------------------

    def handle(self, event: events.QuestionEvent) -> None:
        question, texts, number = event.question, self._profile.staff_texts, event.question.number
        match event:
            case events.Said():
                self._said(question, event.message)
            case events.Answered() if question.owner is not None:
                self._saw(question, question.owner, [event.message])
            case events.Noted():
                for librarian, nick in [(jid, one.nick) for jid, one in self._profile.librarians.items()]:
                    if nick == event.message.author:
                        self._saw(question, librarian, [event.message])
            case events.Offered() if question.offered_to is not None:
                self._offer(question, event.said, event.before)
            case events.OfferEnded():
                self._end_offers(question, texts.offer_over(number))
            case events.Taken():
                self._taken(event)
            case events.Released():
                self._relay.tell_staff(number, event.librarian, texts.is_released(number))
            case events.Returned() if event.cause is not events.ReturnCause.OFFICE_ENDED:
                if self._reach.is_reachable(event.librarian):
                    self._relay.tell_staff(number, event.librarian, texts.is_released(number))
            case events.HandedOver() if question.handed_to is not None and question.owner is not None:
                nick = self._profile.nick_of(question.handed_to)
                self._relay.tell_staff(number, question.owner, texts.handed(number, nick))
                self._show(question, question.handed_to, event.said)
                text = texts.asked_to_take(number, self._profile.nick_of(question.owner), event.reason)
                self._relay.tell_staff(number, question.handed_to, text)
            case events.Declined():
                self._relay.tell_staff(number, event.librarian, texts.you_declined(number))
                if question.owner is not None and question.owner != event.librarian:
                    text = texts.declined(number, self._profile.nick_of(event.librarian), event.reason)
                    self._relay.tell_staff(number, question.owner, text)
            case events.Closed():
                self._relay.tell_staff(number, event.librarian, texts.ended(number, question.state))
            case events.Ended() if event.owner is not None:
                self._relay.tell_staff(number, event.owner, texts.abandoned(number))
            case events.Abandoned() | events.Ended():
                self._end_offers(question, texts.abandoned(number))
            case events.DeliveryFailed() if question.owner is not None and question.state == State.CLAIMED:
                self._relay.tell_staff(number, question.owner, self._failed(event))
        if question.state not in OPEN:
            self._seen.pop(number, None)
            self._offered.pop(number, None)
            self._outbox.forget_previews(number)

    def _failed(self, event: events.DeliveryFailed) -> str:
        question, texts = event.question, self._profile.staff_texts
        if not event.to_staff or question.owner is None:
            return texts.undelivered(question.number, event.condition)
        return texts.not_heard(question.number, self._profile.nick_of(question.owner), event.condition)

    def _said(self, question: Question, message: Message) -> None:
        """The patron's words go to the owner, and to her to whom the question is offered."""
        if question.owner is not None:
            self._outbox.send(Due(question, message))
            self._saw(question, question.owner, [message])
        elif question.offered_to is not None:
            self._show(question, question.offered_to, [message])

    def _offer(self, question: Question, said: Iterable[Message], before: JID | None) -> None:
        assert question.offered_to is not None
        texts, number = self._profile.staff_texts, question.number
        if before is not None and before != question.offered_to:
            self._end_offers(question, texts.offer_over(number))
        self._offered.setdefault(number, set()).add(question.offered_to)
        self._show(question, question.offered_to, said)
        self._relay.tell_staff(number, question.offered_to, texts.offered(number, question.guest))

    def _end_offers(self, question: Question, text: str) -> None:
        """Take back what stands in the chats of those who were offered the question and do not have it."""
        for librarian in self._offered.pop(question.number, set()):
            if librarian != question.owner and self._reach.is_reachable(librarian):
                self._relay.tell_staff(question.number, librarian, text)

    def _taken(self, event: events.Taken) -> None:
        question, texts, number = event.question, self._profile.staff_texts, event.question.number
        assert question.owner is not None
        nick = self._profile.nick_of(question.owner)
        self._end_offers(question, texts.offer_taken(number, nick))
        if isinstance(event, events.Reopened):
            self._saw(question, question.owner, event.said)
            text = texts.reopened(number, question.guest)
        else:
            self._show(question, question.owner, event.said)
            text = texts.yours(number, question.guest)
        self._relay.tell_staff(number, question.owner, text)
        if isinstance(event, events.Accepted | events.TakenOver):
            self._relay.tell_staff(number, event.before, texts.taken_over(number, nick))

    # -- what each has seen ---------------------------------------------------------------------

    def _show(self, question: Question, librarian: JID, said: Iterable[Message]) -> None:
        """Give a librarian what she has not seen of a question; its owner's share is then delivered."""
        if librarian == question.owner:
            self._outbox.change_owner(question)
        seen = self._seen.get(question.number, {}).get(librarian, 0)
        for message in said:
            due = Due(question, message)
            words = message.direction is Direction.PATRON and message.relay is Relay.TO_DO
            if message.sequence <= seen:
                if words and librarian == question.owner and not self._outbox.adopt(due, librarian):
                    self._outbox.send(due)
            elif not words:
                self._relay.retell(question, message, librarian)
            elif librarian == question.owner:
                self._outbox.send(due)
            else:
                lost = partial(self._unsee, question.number, librarian, message.sequence)
                self._outbox.preview(due, librarian, lost)
        self._saw(question, librarian, said)

    def _saw(self, question: Question, librarian: JID, said: Iterable[Message]) -> None:
        seen = self._seen.setdefault(question.number, {})
        seen[librarian] = max((seen.get(librarian, 0), *(message.sequence for message in said)))

    def _unsee(self, number: int, librarian: JID, sequence: int) -> None:
        """Forget that she has seen words that did not arrive: they come again if she takes the question."""
        seen = self._seen.get(number, {})
        if librarian in seen:
            seen[librarian] = min(seen[librarian], sequence - 1)
