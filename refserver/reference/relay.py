"""Builds and sends the messages between a question's patron and its librarian, in the chat `ask+417`.

Owns the stanzas: what travels with a text (threads, corrections, replies, links), ids and delays, receipts.
What must arrive goes through outbox.py. Who may say what is decided elsewhere, before anything is sent.
`RateLimits` keeps the queues out of storms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Final

from attrs import define, field

from refserver import ns
from refserver.core.core import Core
from refserver.core.limits import Quota
from refserver.errors import Condition, StanzaError
from refserver.jid import JID
from refserver.reference.asking import Utterance
from refserver.reference.profile import QueueProfile
from refserver.stanza import Stanza, Tracked
from refserver.storage.conversations import Direction, Message
from refserver.storage.outbox import Due
from refserver.storage.questions import Question
from refserver.xml.element import Element, child, clark, element
from refserver.xml.write import parse, serialise

REPEATED: Final = 3
REPEATED_SECONDS: Final = 60.0
HOUR: Final = 3600.0


@define(eq=False)
class RateLimits:
    """The limits that all queues of this server share, bounded in memory.

    `domain_questions` is how many questions another server may bring to one library in an hour, 0 for
    any number; `seconds` a clock that never goes back.

    To a patron a queue says the same line three times, and then once in twenty seconds: to two that answer
    each other by themselves that is an end, for people it is no loss.
    """

    domain_questions: int
    seconds: Callable[[], float]
    _lines: Quota = field(init=False)
    _questions: Quota = field(init=False)

    @_lines.default
    def _make_lines(self) -> Quota:
        return Quota(REPEATED, REPEATED_SECONDS, self.seconds)

    @_questions.default
    def _make_questions(self) -> Quota:
        return Quota(self.domain_questions, HOUR, self.seconds)

    def may_tell(self, patron: JID, line: str) -> bool:
        """True if a line that nobody wrote may go to a patron now; counts it."""
        return self._lines.spend((patron, hash(line)))

    def may_ask(self, library: str, domain: str) -> bool:
        """True if another server may bring one more question to a library; counts it."""
        return self._questions.spend((library, domain))


LATE_SECONDS: Final = 5.0
"""A message handed over later than this after it was said carries its time (XEP-0203)."""

_THREAD: Final = clark(ns.CLIENT, "thread")
_TRAVELS: Final = frozenset(
    {
        _THREAD,
        clark(ns.OOB, "x"),
        clark(ns.CORRECT, "replace"),
        clark(ns.REPLY, "reply"),
        clark(ns.FALLBACK, "fallback"),
        clark(ns.SID, "origin-id"),
        clark(ns.MARKERS, "markable"),
        clark(ns.CHATSTATES, "active"),
    }
)
_SIGNALS: Final = (f"{{{ns.CHATSTATES}}}", f"{{{ns.MARKERS}}}")
_RECEIVED: Final = clark(ns.RECEIPTS, "received")
_REQUEST: Final = clark(ns.RECEIPTS, "request")
_ENCRYPTED: Final = frozenset(
    {
        clark(ns.OMEMO, "encrypted"),
        clark(ns.OMEMO_2, "encrypted"),
        clark(ns.OPENPGP, "openpgp"),
        clark(ns.OPENPGP_LEGACY, "x"),
    }
)


def utterance(stanza: Stanza) -> Utterance:
    """The words of a message, with all that travels with them."""
    extras = element(ns.CLIENT, "extras")
    extras.extend(found for found in stanza.element if found.tag in _TRAVELS)
    stored = serialise(extras).decode() if len(extras) else ""
    return Utterance(stanza.body, stanza.id or None, stored, stanza.element.find(_REQUEST) is not None)


def signals(stanza: Stanza) -> list[Element]:
    """Typing and displayed markers (XEP-0085, XEP-0333) of a message without words."""
    return [found for found in stanza.element if found.tag.startswith(_SIGNALS)]


def receipt_of(stanza: Stanza) -> str:
    """The id that a message acknowledges (XEP-0184), "" if it is no receipt."""
    received = stanza.element.find(_RECEIVED)
    return "" if received is None else received.get("id", "")


def is_encrypted(stanza: Stanza) -> bool:
    """True if a message can only be read by its recipient's client, whatever its body says."""
    return any(found.tag in _ENCRYPTED for found in stanza.element)


def _active() -> Element:
    """XEP-0085 5.1: who gets a message without a chat state sends none back, and nobody is seen typing."""
    return element(ns.CHATSTATES, "active")


def _by_nobody() -> list[Element]:
    """The elements that a line of the queue itself carries."""
    return [_active(), element(ns.AUTOMATIC, "automatic")]


@define(eq=False, slots=False)
class MessageRelay:
    """Sends for one queue."""

    _core: Core
    _profile: QueueProfile
    limits: RateLimits

    # -- what the queue itself says ------------------------------------------------

    def tell_patron(self, patron: JID, text: str) -> None:
        """A line of the queue for a patron, which is worth nothing later."""
        self._send(patron, self._profile.address, text, _by_nobody())

    def answer_patron(self, patron: JID, text: str) -> None:
        """The queue's own answer to what a patron wrote: not the same again and again."""
        if self.limits.may_tell(patron, text):
            self.tell_patron(patron, text)

    def tell_staff(self, number: int, librarian: JID, text: str) -> None:
        """A line of the queue in the chat of a question; the mark sets it off from the patron's words."""
        self._send(librarian, self._profile.speaker(number), f"* {text}", (_active(),))

    def acknowledge(self, stanza: Stanza) -> None:
        """Tell who wants to know that a message is durably stored (XEP-0184 5.4)."""
        if stanza.element.find(_REQUEST) is None or not stanza.id or stanza.from_ is None:
            return
        received = element(ns.RECEIPTS, "received", {"id": stanza.id})
        sender = self._profile.address
        self._route(Stanza.message(stanza.from_, sender, stanza.type or "normal", children=(received,)))

    # -- what the two say to each other ----------------------------------------------

    def retell(self, question: Question, message: Message, librarian: JID) -> None:
        """Tell a librarian something that was said before she had the question."""
        text = message.body
        if message.direction is Direction.NOTE:
            text = self._profile.staff_texts.note_line(message.author, message.body)
        elif message.direction is Direction.SYSTEM:
            text = f"* {message.body}"
        elif message.author:
            text = f"{message.author}: {message.body}"
        speaker, children = self._profile.speaker(question.number), (_active(), self._delay(message.sent_at))
        stanza = Stanza.message(librarian, speaker, "chat", body=text, children=children)
        self._route(Tracked(stanza, partial(self._retold, stanza)))

    def _retold(self, stanza: Stanza, error: StanzaError | None) -> None:
        """If her session ended with it, another one takes it, or the offline store."""
        if error is not None and error.condition is Condition.RECIPIENT_UNAVAILABLE:
            self._route(stanza)

    def pass_signals(self, question: Question, stanza: Stanza, children: Iterable[Element]) -> None:
        """Relay what has no words and is not stored: typing, markers, the recipient's receipts."""
        to_staff = stanza.from_ is not None and stanza.from_.bare == question.patron
        to, sender = (
            (question.owner, self._profile.speaker(question.number))
            if to_staff
            else (question.patron, self._profile.address)
        )
        thread = child(stanza.element, ns.CLIENT, "thread")
        carried = [*children] if thread is None else [*children, thread]
        if to is not None:
            self._route(Stanza.message(to, sender, "chat", stanza.id or None, carried))

    # -- the stanzas ------------------------------------------------------------------

    def stanza(self, due: Due, to: JID, late: bool = False) -> Stanza:
        """A stored message or line for its recipient; `late`: with the time when it was said (XEP-0203)."""
        question, said = due.question, due.said
        sender = self._profile.address
        if isinstance(said, Message):
            id, children = self._id(question, said), self._travelling(question, said)
            if said.direction is Direction.PATRON:
                sender = self._profile.speaker(question.number)
        else:
            id, children = said.stanza_id, _by_nobody()
        if late or self._core.now() - due.said_at > LATE_SECONDS:
            children.append(self._delay(due.said_at))
        return Stanza.message(to, sender, "chat", id, children, said.body)

    def _id(self, question: Question, message: Message) -> str:
        return message.origin_id or f"{self._profile.jid.localpart}-{question.number}-{message.sequence}"

    def place_of(self, stanza_id: str) -> tuple[int, int]:
        """The question's number and the message's sequence in an id made by `stanza`; 0 and 0 in others."""
        name, _, place = stanza_id.rpartition(f"{self._profile.jid.localpart}-")
        number, _, sequence = place.partition("-")
        own = not name and len(place) < 20 and number.isdecimal() and sequence.isdecimal()
        return (int(number), int(sequence)) if own else (0, 0)

    def _travelling(self, question: Question, message: Message) -> list[Element]:
        children = list(parse(message.extras.encode())) if message.extras else []
        if message.direction is Direction.STAFF and question.thread:
            children = [found for found in children if found.tag != _THREAD]
            children.append(element(ns.CLIENT, "thread", text=question.thread))
        if message.receipt and message.direction is Direction.STAFF:
            children.append(element(ns.RECEIPTS, "request"))
        return children

    def _delay(self, said_at: float) -> Element:
        moment = datetime.fromtimestamp(said_at, UTC).isoformat(timespec="milliseconds")
        stamp = moment.replace("+00:00", "Z")
        return element(ns.DELAY, "delay", {"from": self._profile.jid.text, "stamp": stamp})

    # -- sending ----------------------------------------------------------------------

    def _send(self, to: JID, sender: JID, text: str, children: Iterable[Element] = ()) -> None:
        self._route(Stanza.message(to, sender, "chat", body=text, children=children))

    def _route(self, stanza: Stanza) -> None:
        self._core.router.route(stanza)
