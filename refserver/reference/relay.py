"""Carries words between the two chats of a question: the patron's with the queue, the librarian's `ask+417`.

Owns the stanzas: what travels with a text (threads, corrections, replies, links), ids and
delays, receipts; and how far each stored message has come (`conversations.Relay`). What is for
somebody on another server goes through outbox.py, which tries again. Who may say what is decided
elsewhere, before anything is carried.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from refserver import ns
from refserver.jid import JID
from refserver.reference.asking import Utterance
from refserver.stanza import Stanza, new_id
from refserver.storage import conversations, outbox
from refserver.storage.conversations import Direction, Message, Relay
from refserver.storage.outbox import Due, Line
from refserver.storage.questions import Question
from refserver.xml.element import Element, child, clark, element
from refserver.xml.write import parse, serialise

if TYPE_CHECKING:
    from refserver.reference.queue import Queue

__all__ = ["MessageRelay", "receipt_of", "signals", "utterance"]

LATE_SECONDS: Final = 5.0
"""A message handed over later than this after it was said carries its time (XEP-0203)."""

HANDED_KEPT: Final = 10_000

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


def utterance(stanza: Stanza) -> Utterance:
    """What a message says, with all that travels with it."""
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


def _by_nobody() -> list[Element]:
    """What a line of the queue itself carries."""
    return [element(ns.CHATSTATES, "active"), element(ns.AUTOMATIC, "automatic")]


class MessageRelay:
    """Sends for one queue."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._handed: OrderedDict[int, None] = OrderedDict()
        """The newest messages handed over by this process: the store may not say so yet."""
        self._recapitulated: set[int] = set()
        """Those of which owners were told what a crash may have kept from them: likewise."""

    # -- what the queue itself says ------------------------------------------------

    def tell_patron(self, patron: JID, text: str) -> None:
        """A line of the queue for a patron, which is worth nothing later."""
        self._send(patron, self._queue.address, text, _by_nobody())

    def answer_patron(self, patron: JID, text: str) -> None:
        """The queue's own answer to what a patron wrote: not the same again and again."""
        if self._queue.restraint.may_tell(patron, text):
            self.tell_patron(patron, text)

    def tell_of(self, question: Question, text: str, said_at: float | None = None) -> None:
        """A line for the patron of a question that must arrive.

        With `said_at` it stands before what was said at that time.
        """
        if question.patron is None:
            return
        if not self._queue.is_elsewhere(question.patron):
            self.tell_patron(question.patron, text)
            return
        line = Line(new_id(), question.id, text, self._queue.core.now() if said_at is None else said_at)
        self._queue.watch(self._queue.core.database.write(outbox.add, line))
        self._queue.owed.send(Due(question, line))

    def tell_staff(self, number: int, librarian: JID, text: str) -> None:
        """A line of the queue in the chat of a question; the mark sets it off from the patron's words."""
        self._send(librarian, self._queue.speaker(number), f"* {text}")

    def acknowledge(self, stanza: Stanza) -> None:
        """Tell who wants to know that a message is durably stored (XEP-0184 5.4)."""
        if stanza.element.find(_REQUEST) is None or not stanza.id or stanza.from_ is None:
            return
        received = element(ns.RECEIPTS, "received", {"id": stanza.id})
        sender = self._queue.address
        self._route(Stanza.message(stanza.from_, sender, stanza.type or "normal", children=(received,)))

    # -- what the two say to each other ----------------------------------------------

    def carry(self, question: Question, messages: Iterable[Message], *, late: bool = False) -> None:
        """Hand stored messages to their recipients, once, and have the store know it.

        With `late` they carry the time at which they were said.
        """
        self._done(message.id for message in messages if self._carry(question, message, late))

    def carry_again(self, question: Question, message: Message) -> None:
        """Hand over what a patron sends again, if a crash has left it open whether it ever arrived."""
        if message.relay not in (Relay.TO_DO, Relay.DONE):
            self.carry(question, [message], late=True)

    def carry_rest(self, question: Question, messages: Iterable[Message], kept: Collection[str] = ()) -> None:
        """Hand over what an absence or a crash has left. What is `kept` (by id) for an account is no rest."""
        rest = []
        for message in messages:
            if self._id(question, message) in kept:
                self._done([message.id])
            else:
                rest.append(message)
        self.carry(question, rest, late=True)

    def recount(self, question: Question, messages: Iterable[Message]) -> None:
        """Give a new owner everything that was said before she came."""
        handed = []
        for message in messages:
            new = message.direction is Direction.PATRON and message.relay is Relay.TO_DO
            if new:
                if self._carry(question, message):
                    handed.append(message.id)
            elif question.owner is not None:
                speaker, text = self._queue.speaker(question.number), self._retold(message)
                self._send(question.owner, speaker, text, (self._delay(message.sent_at),))
        self._done(handed)

    def recapitulate(self, question: Question, messages: Iterable[Message]) -> None:
        """Tell an owner what a crash may have kept from her, and then have the store know it."""
        told = [message for message in messages if message.id not in self._recapitulated]
        if question.owner is None or not told:
            return
        for message in told:
            text = self._queue.staff_texts.interrupted(self._queue.guest(question), message.body)
            self.tell_staff(question.number, question.owner, text)
        ids = [message.id for message in told]
        self._recapitulated.update(ids)
        self._queue.core.clock.callLater(0, self._note, ids, Relay.RETOLD)  # the bytes leave before that

    def _retold(self, message: Message) -> str:
        if message.direction is Direction.NOTE:
            return self._queue.staff_texts.note_line(message.author, message.body)
        if message.direction is Direction.SYSTEM:
            return f"* {message.body}"
        return f"{message.author}: {message.body}" if message.author else message.body

    def _note(self, message_ids: list[int], relay: Relay) -> None:
        self._queue.watch(self._queue.core.database.write(conversations.set_relay, message_ids, relay))

    def pass_signals(self, question: Question, stanza: Stanza, children: Iterable[Element]) -> None:
        """Relay what has no words and is not stored: typing, markers, the recipient's receipts."""
        to_staff = stanza.from_ is not None and stanza.from_.bare == question.patron
        to, sender = (
            (question.owner, self._queue.speaker(question.number))
            if to_staff
            else (question.patron, self._queue.address)
        )
        thread = child(stanza.element, ns.CLIENT, "thread")
        carried = [*children] if thread is None else [*children, thread]
        if to is not None:
            self._route(Stanza.message(to, sender, "chat", stanza.id or None, carried))

    def _done(self, handed: Iterable[int]) -> None:
        ids = list(handed)
        while len(self._handed) > HANDED_KEPT:
            self._handed.popitem(last=False)
        if ids:  # not before the end of this turn, at which the bytes leave
            self._queue.core.clock.callLater(0, self._note_arrived, ids)

    def _note_arrived(self, message_ids: list[int]) -> None:
        self._queue.watch(self._queue.core.database.write(conversations.arrived, message_ids))

    def _carry(self, question: Question, message: Message, late: bool = False) -> bool:
        """False for what this process has handed over already, or has yet to be confirmed from elsewhere.

        And for what is for a librarian who has just gone: she gets it when she comes.
        """
        to_staff = message.direction is Direction.PATRON
        to = question.owner if to_staff else question.patron
        if to is None or message.id in self._handed:
            return False
        due = Due(question, message)
        if self._queue.is_elsewhere(to):
            self._queue.owed.send(due)
            return False
        if to_staff and not self._queue.is_reachable(to):
            self._note([message.id], Relay.TO_DO)
            return False
        self._handed[message.id] = None
        self._route(self.stanza(due, late))
        return True

    # -- the stanzas ------------------------------------------------------------------

    def stanza(self, due: Due, late: bool = False) -> Stanza:
        """A stored message or line for its recipient, who must be known; `late` as for `carry`."""
        question, said = due.question, due.said
        if isinstance(said, Message):
            id, children = self._id(question, said), self._travelling(question, said)
        else:
            id, children = said.stanza_id, _by_nobody()
        if isinstance(said, Message) and said.direction is Direction.PATRON:
            to, sender = question.owner, self._queue.speaker(question.number)
        else:
            to, sender = question.patron, self._queue.address
        assert to is not None
        if late or self._queue.core.now() - due.said_at > LATE_SECONDS:
            children.append(self._delay(due.said_at))
        return Stanza.message(to, sender, "chat", id, children, said.body)

    def _id(self, question: Question, message: Message) -> str:
        return message.origin_id or f"{self._queue.jid.localpart}-{question.number}-{message.sequence}"

    def place_of(self, stanza_id: str) -> tuple[int, int]:
        """The question's number and the message's sequence in an id made by `stanza`; 0 and 0 in others."""
        name, _, place = stanza_id.rpartition(f"{self._queue.jid.localpart}-")
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
        return element(ns.DELAY, "delay", {"from": self._queue.jid.text, "stamp": stamp})

    # -- sending ----------------------------------------------------------------------

    def _send(self, to: JID, sender: JID, text: str, children: Iterable[Element] = ()) -> None:
        self._route(Stanza.message(to, sender, "chat", body=text, children=children))

    def _route(self, stanza: Stanza) -> None:
        self._queue.core.router.route(stanza)
