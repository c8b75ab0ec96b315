"""The patron's side: an ordinary chat with the queue's address.

Every message with words is the question, or more of it, unless the whole message is a plain word. A receipt
says that it is durably stored, so it is sent after the commit. Typing, markers and receipts are passed on
once somebody has claimed the question.
"""

from __future__ import annotations

from typing import Final

from attrs import define
from sqlalchemy import Connection
from twisted.internet.interfaces import IDelayedCall

from refserver import ns
from refserver.core.core import Core
from refserver.core.hosts import Verdict
from refserver.core.ports import Clock
from refserver.errors import Condition, StanzaError
from refserver.jid import JID
from refserver.reference import events
from refserver.reference.asking import Asker
from refserver.reference.commands import Word, plain_word
from refserver.reference.duty import OnDuty, Waits
from refserver.reference.open_questions import OpenQuestions
from refserver.reference.outbox import Outbox
from refserver.reference.people import Absences
from refserver.reference.profile import QueueProfile
from refserver.reference.relay import MessageRelay, is_encrypted, receipt_of, signals, utterance
from refserver.reference.service import ReferenceService
from refserver.reference.states import UNCLAIMED, Outcome, State, TooManyQuestions, WrongState
from refserver.reference.texts import PatronTexts, patron_texts
from refserver.stanza import Stanza
from refserver.storage import conversations, offline, questions
from refserver.storage.outbox import Due
from refserver.storage.questions import Question
from refserver.xml.element import child_text, element
from refserver.xml.write import parse

SILENT: Final = (Outcome.SPAM, Outcome.PRACTICE)
"""Outcomes of which the patron is not told."""


@define(eq=False, slots=False)
class PatronChat:
    """The chats of one queue's patrons. `hourly_limit` is how many questions one may ask in an hour."""

    _core: Core
    _profile: QueueProfile
    _open: OpenQuestions
    _on_duty: OnDuty
    _waits: Waits
    _absences: Absences
    _relay: MessageRelay
    _outbox: Outbox
    _service: ReferenceService
    hourly_limit: int

    # -- what patrons write ----------------------------------------------------------

    def message(self, stanza: Stanza) -> None:
        """A message for the queue's own address. Raises `StanzaError`."""
        assert stanza.from_ is not None
        patron = stanza.from_.bare
        if stanza.type == "groupchat":
            raise StanzaError(Condition.SERVICE_UNAVAILABLE)
        if stanza.type == "error":
            self._outbox.returned(stanza)
        elif stanza.type == "headline" or stanza.child(ns.AUTOMATIC, "automatic") is not None:
            return  # two queues have nothing to say to each other
        elif is_encrypted(stanza):
            self._relay.answer_patron(patron, self._texts(stanza).encrypted())
        elif stanza.body.strip():
            self._words(stanza, patron)
        else:
            self._signals(stanza, patron)

    def _texts(self, stanza: Stanza) -> PatronTexts:
        """In the language of the message, else of the queue."""
        language = stanza.language
        return patron_texts(language) if language else self._profile.patron_texts

    def _signals(self, stanza: Stanza, patron: JID) -> None:
        """Typing and markers while somebody has the question; receipts also just after its end."""
        received = receipt_of(stanza)
        if received:
            self._core.run(self._received(stanza, patron, received), "a patron's message failed")
            return
        question, children = self._open.of_patron(self._profile.id, patron), signals(stanza)
        if question is not None and question.owner is not None and children:
            self._relay.pass_signals(question, stanza, children)

    async def _received(self, stanza: Stanza, patron: JID, id: str) -> None:
        """A receipt is passed on once it is durable: what has one is never sent again."""
        question: Question | None = await self._core.database.write(
            _confirmed, self._profile.id, self._profile.address, patron, id
        )
        question = question or self._open.latest_of(self._profile.id, patron)
        if question is not None and question.owner is not None:
            children = [*signals(stanza), element(ns.RECEIPTS, "received", {"id": id})]
            self._relay.pass_signals(question, stanza, children)

    def _words(self, stanza: Stanza, patron: JID) -> None:
        texts = self._texts(stanza)
        word = plain_word(stanza.body, texts.words() | self._profile.patron_texts.words())
        question = self._open.of_patron(self._profile.id, patron)
        if word is None and question is None and not self._may_ask(patron):
            raise StanzaError(Condition.RESOURCE_CONSTRAINT, "too many questions from your server; try later")
        if word is None or (word is Word.BYE and question is not None and question.owner is not None):
            self._core.run(self._say(stanza, patron, texts, word), "a patron's message failed")
            return
        self._relay.acknowledge(stanza)
        if word is Word.BYE:
            self._core.run(self._bye(patron, question, texts), "a patron's message failed")
        else:
            text = texts.help() if word is Word.HELP else self._place(question, texts)
            self._relay.answer_patron(patron, text)

    def _may_ask(self, patron: JID) -> bool:
        """True if the patron's server, if it is not this one, may bring a question more."""
        hosts, library = self._core.hosts, self._profile.jid.domainpart
        if hosts.is_local(patron.domainpart):
            return True
        gate = hosts.gate_of(library)
        if gate is not None and gate.judge(patron) is Verdict.ALLOWED:
            return True
        return self._relay.limits.may_ask(library, patron.domainpart)

    def _place(self, question: Question | None, texts: PatronTexts) -> str:
        if question is None:
            return texts.nothing_waits()
        if question.owner is not None:
            if self._absences.is_away(question.owner):
                return texts.kept()
            return texts.with_you(self._profile.nick_of(question.owner))
        position = self._open.position(question)
        wait = self._waits.of(position)
        return texts.kept() if not position or wait is None else texts.place(position, wait)

    async def _bye(self, patron: JID, question: Question | None, texts: PatronTexts) -> None:
        if question is None or question.state not in UNCLAIMED:
            self._relay.answer_patron(patron, texts.goodbye())
            return
        try:
            await self._service.abandon(question)
        except WrongState:  # a librarian has taken it in the same moment: she will see to it
            self._relay.answer_patron(patron, texts.goodbye())
            return
        self._relay.answer_patron(patron, texts.withdrawn())

    async def _say(self, stanza: Stanza, patron: JID, texts: PatronTexts, word: Word | None) -> None:
        thread = child_text(stanza.element, ns.CLIENT, "thread")
        asker = Asker(patron, "xmpp", stanza.language, thread)
        try:
            said = await self._service.say(
                self._profile.id,
                asker,
                utterance(stanza),
                staffed=bool(self._on_duty),
                hourly_limit=self.hourly_limit,
                stored=lambda: self._relay.acknowledge(stanza),
            )
        except TooManyQuestions:
            self._relay.answer_patron(patron, texts.too_many())
            return
        except Exception:
            self._relay.answer_patron(patron, texts.failed())
            raise
        question = said.question
        if word is Word.BYE and question.owner is not None:
            self._relay.answer_patron(patron, texts.goodbye())
            text = self._profile.staff_texts.said_goodbye()
            self._relay.tell_staff(question.number, question.owner, text)

    # -- what patrons are told ---------------------------------------------------------

    def handle(self, event: events.QuestionEvent) -> None:
        question = event.question
        texts, nick = patron_texts(question.language), ""
        if question.owner is not None:
            nick = self._profile.nick_of(question.owner)
        match event:
            case events.Asked():
                self._outbox.tell(question, self._acknowledged(event, texts))
            case events.Answered():
                self._outbox.send(Due(question, event.message))
            case events.Claimed() | events.Reopened():
                self._outbox.tell(question, texts.with_you(nick), question.claimed_at)
            case events.Accepted() | events.TakenOver():
                self._outbox.tell(question, texts.takes_over(nick), question.claimed_at)
            case events.Released() | events.Returned():
                self._outbox.tell(question, texts.released())
            case events.Closed() if question.outcome not in SILENT:
                parked = question.state == State.PARKED
                self._outbox.tell(question, texts.parked() if parked else texts.closed())

    def _acknowledged(self, event: events.Asked, texts: PatronTexts) -> str:
        """The one line that answers a question."""
        now, url = self._core.now(), self._profile.settings.privacy_url
        wait, hours = self._waits.of(event.position), self._profile.hours
        opening = None if wait is not None or hours.is_open(now) else hours.next_opening(now)
        if opening is not None:
            return texts.acknowledged_closed(opening, url)
        return texts.acknowledged(event.position, wait, url)


def _confirmed(connection: Connection, queue_id: int, queue: JID, patron: JID, id: str) -> Question | None:
    """Note that a patron has received the answer of that id; the question in which it was said.

    A copy of the answer in the offline store is not to come after its receipt.
    """
    copies = [
        one.id
        for one in offline.fetch(connection, patron)
        if id.encode() in one.stanza
        and (stanza := parse(one.stanza)).get("id") == id
        and stanza.get("from") == queue.text
    ]
    if copies:
        offline.delete(connection, patron, copies)
    question_id = conversations.confirm(connection, queue_id, patron, id)
    return None if question_id is None else questions.get(connection, question_id)


UPDATE_SECONDS: Final = 60.0
"""The least time between two lines for one patron."""


@define(eq=False, slots=False)
class PositionUpdates:
    """The positions that the patrons of one queue were told."""

    _clock: Clock
    _profile: QueueProfile
    _open: OpenQuestions
    _on_duty: OnDuty
    _waits: Waits
    _relay: MessageRelay

    def __attrs_post_init__(self) -> None:
        self._told: dict[int, tuple[int, float]] = {}
        self._timer: IDelayedCall | None = None

    def told(self, question: Question, position: int) -> None:
        """A patron has just been told a position."""
        self._told[question.number] = position, self._clock.seconds()

    def handle(self, event: events.QuestionEvent) -> None:
        if isinstance(event, events.Asked) and event.question.queue_id == self._profile.id:
            self.told(event.question, event.position)
        self.update()

    def update(self) -> None:
        """Tell those who have moved up, or look again when they may be told."""
        self.stop()
        waiting = self._open.line(self._profile.id)
        numbers = {question.number for question in waiting}
        self._told = {number: told for number, told in self._told.items() if number in numbers}
        if self._on_duty:
            self._tell(waiting)

    def stop(self) -> None:
        """Tell nobody any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tell(self, waiting: list[Question]) -> None:
        now = self._clock.seconds()
        next_look: float | None = None
        for position, question in enumerate(waiting, 1):
            before, at = self._told.setdefault(question.number, (position, now))
            if position >= before or question.patron is None:
                continue
            if now - at >= UPDATE_SECONDS:
                text = patron_texts(question.language).place(position, self._waits.of(position))
                self._relay.tell_patron(question.patron, text)
                self.told(question, position)
            elif next_look is None or at + UPDATE_SECONDS < next_look:
                next_look = at + UPDATE_SECONDS
        if next_look is not None:
            self._timer = self._clock.callLater(max(0.0, next_look - now), self.update)
