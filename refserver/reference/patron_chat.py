"""The patron's side: an ordinary chat with the queue's address.

Every message with words is the question, or more of it, unless the whole message is a plain
word. A receipt says that it is durably stored, so it is sent after the commit. Typing,
markers and receipts are passed on once somebody has claimed the question.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from refserver import ns
from refserver.core.gates import Verdict
from refserver.errors import Condition, StanzaError
from refserver.jid import JID
from refserver.reference import asking
from refserver.reference.asking import Asker, Said
from refserver.reference.commands import Word, plain_word
from refserver.reference.refusals import TooManyQuestions, WrongState
from refserver.reference.relay import receipt_of, signals, utterance
from refserver.reference.states import UNCLAIMED
from refserver.reference.texts import PatronTexts, patron_texts
from refserver.stanza import Stanza
from refserver.storage import conversations
from refserver.storage.conversations import Relay
from refserver.storage.questions import Question
from refserver.xml.element import child_text, clark, element

if TYPE_CHECKING:
    from refserver.reference.queue import Queue

__all__ = ["PatronChat", "is_encrypted"]

_ENCRYPTED: Final = frozenset(
    {
        clark(ns.OMEMO, "encrypted"),
        clark(ns.OMEMO_2, "encrypted"),
        clark(ns.OPENPGP, "openpgp"),
        clark(ns.OPENPGP_LEGACY, "x"),
    }
)


def is_encrypted(stanza: Stanza) -> bool:
    """Whether a message can only be read by its recipient's client, whatever its body says."""
    return any(found.tag in _ENCRYPTED for found in stanza.element)


class PatronChat:
    """Takes what patrons send to one queue."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def message(self, stanza: Stanza) -> None:
        """A message for the queue's own address. Raises `StanzaError`."""
        assert stanza.from_ is not None
        patron = stanza.from_.bare
        if stanza.type == "groupchat":
            raise StanzaError(Condition.SERVICE_UNAVAILABLE)
        if stanza.type == "error":
            self._queue.owed.returned(stanza)
        elif stanza.type == "headline" or stanza.child(ns.AUTOMATIC, "automatic") is not None:
            return  # two queues have nothing to say to each other
        elif is_encrypted(stanza):
            self._queue.courier.answer_patron(patron, self._texts(stanza).encrypted())
        elif stanza.body.strip():
            self._words(stanza, patron)
        else:
            self._signals(stanza, patron)

    def _texts(self, stanza: Stanza) -> PatronTexts:
        """In the language of the message, else of the queue."""
        language = stanza.language
        return patron_texts(language) if language else self._queue.patron_texts

    # -- what has no words ---------------------------------------------------------

    def _signals(self, stanza: Stanza, patron: JID) -> None:
        """Typing and markers while somebody has the question; receipts also just after its end."""
        received = receipt_of(stanza)
        if received:
            self._queue.run(self._received(stanza, patron, received))
            return
        question, children = self._queue.board.of_patron(patron), signals(stanza)
        if question is not None and question.owner is not None and children:
            self._queue.courier.pass_signals(question, stanza, children)

    async def _received(self, stanza: Stanza, patron: JID, id: str) -> None:
        """A receipt is passed on once it is durable: what has one is never handed over again."""
        question = self._queue.board.latest_of(patron)
        if question is not None and question.owner is not None:
            await self._queue.core.database.write(conversations.confirm, question.id, id)
            children = [*signals(stanza), element(ns.RECEIPTS, "received", {"id": id})]
            self._queue.courier.pass_signals(question, stanza, children)

    # -- words -----------------------------------------------------------------------

    def _words(self, stanza: Stanza, patron: JID) -> None:
        texts = self._texts(stanza)
        word = plain_word(stanza.body, texts.words() | self._queue.patron_texts.words())
        question = self._queue.board.of_patron(patron)
        if word is None and question is None and not self._may_ask(patron):
            raise StanzaError(Condition.RESOURCE_CONSTRAINT, "too many questions from your server; try later")
        if word is None or (word is Word.BYE and question is not None and question.owner is not None):
            self._queue.run(self._say(stanza, patron, texts, word))
            return
        self._queue.courier.acknowledge(stanza)
        if word is Word.BYE:
            self._queue.run(self._bye(patron, question, texts))
        else:
            text = texts.help() if word is Word.HELP else self._place(question, texts)
            self._queue.courier.answer_patron(patron, text)

    def _may_ask(self, patron: JID) -> bool:
        """Whether the patron's server, if it is not this one, may bring a question more."""
        hosts, library = self._queue.core.hosts, self._queue.host.domain
        if hosts.is_local(patron.domainpart):
            return True
        gate = hosts.gate_of(library)
        if gate is not None and gate.judge(patron) is Verdict.ALLOWED:
            return True
        return self._queue.restraint.may_ask(library, patron.domainpart)

    def _place(self, question: Question | None, texts: PatronTexts) -> str:
        if question is None:
            return texts.nothing_waits()
        if question.owner is not None:
            return texts.with_you(self._queue.nick_of(question.owner))
        position = self._queue.board.position(question)
        wait = self._queue.offers.wait(position)
        if not position or wait is None:
            return texts.kept()
        self._queue.line.told(question, position)
        return texts.place(position, wait)

    async def _bye(self, patron: JID, question: Question | None, texts: PatronTexts) -> None:
        if question is None or question.state not in UNCLAIMED:
            self._queue.courier.answer_patron(patron, texts.goodbye())
            return
        try:
            abandoned = await self._queue.core.database.write(
                asking.abandon, question.id, now=self._queue.core.now()
            )
        except WrongState:  # a librarian has taken it in the same moment: she will see to it
            self._queue.courier.answer_patron(patron, texts.goodbye())
            return
        self._queue.turns.abandoned(abandoned)
        self._queue.courier.answer_patron(patron, texts.withdrawn())

    async def _say(self, stanza: Stanza, patron: JID, texts: PatronTexts, word: Word | None) -> None:
        queue = self._queue
        thread = child_text(stanza.element, ns.CLIENT, "thread")
        asker = Asker(patron, "xmpp", stanza.language, thread)
        try:
            said = await queue.core.database.write(
                asking.say,
                queue.record.id,
                asker,
                utterance(stanza),
                now=queue.core.now(),
                staffed=bool(queue.desk.duties()),
                hourly_limit=queue.hourly_limit,
                live=[librarian for librarian in queue.librarians if queue.is_live(librarian)],
            )
        except TooManyQuestions:
            queue.courier.answer_patron(patron, texts.too_many())
            return
        except Exception:
            queue.courier.answer_patron(patron, texts.failed())
            raise
        self._said(said, stanza, texts)
        if word is Word.BYE and said.question.owner is not None:
            queue.courier.answer_patron(patron, texts.goodbye())
            text = queue.staff_texts.said_goodbye()
            queue.courier.tell_staff(said.question.number, said.question.owner, text)

    def _said(self, said: Said, stanza: Stanza, texts: PatronTexts) -> None:
        """After the commit: hand it on, then say that it is stored, then look at the line."""
        queue, question = self._queue, said.question
        if said.again:
            queue.courier.carry_again(question, said.message)
            queue.courier.acknowledge(stanza)
            return
        queue.board.put(question, said.message.body if said.new else None)
        elsewhere = question.owner is not None and queue.is_elsewhere(question.owner)
        if elsewhere or said.message.relay is not Relay.TO_DO:  # else she gets it when she comes
            queue.courier.carry(question, [said.message])
        queue.courier.acknowledge(stanza)
        if said.new:
            self._confirm(question, said.position, texts)
        if question.owner is None:
            queue.changed()

    def _confirm(self, question: Question, position: int, texts: PatronTexts) -> None:
        """The one line that answers a question."""
        queue = self._queue
        now, url = queue.core.now(), queue.settings.privacy_url
        wait = queue.offers.wait(position)
        opening = None if wait is not None or queue.hours.is_open(now) else queue.hours.next_opening(now)
        if opening is not None:
            text = texts.acknowledged_closed(opening, url)
        else:
            text = texts.acknowledged(position, wait, url)
        queue.line.told(question, position)
        queue.courier.tell_of(question, text)
