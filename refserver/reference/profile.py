"""One queue as it is stored: its record, settings, hours, staff, and the texts in its language."""

from __future__ import annotations

from collections import deque
from typing import Final

from attrs import frozen
from sqlalchemy import Connection

from refserver.jid import JID
from refserver.reference.settings import Hours, Settings
from refserver.reference.states import OPEN
from refserver.reference.texts import PatronTexts, StaffTexts, patron_texts, staff_texts
from refserver.storage import conversations, outbox, questions, queues, statistics
from refserver.storage.questions import Question
from refserver.storage.queues import Librarian

DURATIONS_KEPT: Final = 20
RESOURCE: Final = "queue"


@frozen
class Stored:
    """A queue as the store knows it. `left`: something is to be delivered."""

    record: queues.Queue
    librarians: tuple[Librarian, ...]
    questions: tuple[tuple[Question, str], ...]
    subscribers: frozenset[JID]
    durations: tuple[float, ...]
    left: bool


def load(connection: Connection, record: queues.Queue) -> Stored:
    """Read everything that a running queue needs to know."""
    words = conversations.openings(connection, record.id, OPEN)
    open_ones = questions.in_states(connection, OPEN, record.id)
    durations = statistics.recent_durations(
        connection, record.jid.domainpart, record.jid.localpart, DURATIONS_KEPT
    )
    return Stored(
        record,
        tuple(queues.librarians_of(connection, record.id)),
        tuple((question, words.get(question.id, "")) for question in open_ones),
        frozenset(queues.subscribers(connection, record.id)),
        tuple(reversed(durations)),
        record.id in outbox.left_in_queues(connection),
    )


def load_all(connection: Connection) -> dict[str, list[Stored]]:
    """Everything that running queues need to know, by their libraries' domains."""
    librarians = queues.librarians_by_queue(connection)
    subscribers = queues.subscribers_by_queue(connection)
    left = outbox.left_in_queues(connection)
    words = conversations.openings(connection, None, OPEN)
    open_ones: dict[int, list[tuple[Question, str]]] = {}
    for question in questions.in_states(connection, OPEN):
        open_ones.setdefault(question.queue_id, []).append((question, words.get(question.id, "")))
    found: dict[str, list[Stored]] = {}
    for record in queues.all_queues(connection):
        domain, localpart = record.jid.domainpart, record.jid.localpart
        durations = statistics.recent_durations(connection, domain, localpart, DURATIONS_KEPT)
        stored = Stored(
            record,
            tuple(librarians.get(record.id, ())),
            tuple(open_ones.get(record.id, ())),
            frozenset(subscribers.get(record.id, ())),
            tuple(reversed(durations)),
            record.id in left,
        )
        found.setdefault(domain, []).append(stored)
    return found


class QueueProfile:
    """One queue as its parts see it; `update` takes over what an operator has changed.

    `durations` are those of the newest questions, in seconds, for the expected wait.
    """

    def __init__(self, stored: Stored) -> None:
        self.id = stored.record.id
        self.jid = stored.record.jid
        self.address = self.jid.with_resource(RESOURCE)
        self.durations: deque[float] = deque(stored.durations, DURATIONS_KEPT)
        self.update(stored)

    def update(self, stored: Stored) -> None:
        """Take over the record, the settings and the staff."""
        record = stored.record
        self.record = record
        self.settings = Settings.of(record.settings)
        self.hours = Hours.parse(record.hours, self.settings.time_zone)
        self.librarians: dict[JID, Librarian] = {one.jid: one for one in stored.librarians}
        self.patron_texts: PatronTexts = patron_texts(record.language)
        self.staff_texts: StaffTexts = staff_texts(record.language)

    @property
    def title(self) -> str:
        """The queue's title, else the first part of its address."""
        return self.record.title or self.jid.localpart

    def chat(self, number: int) -> JID:
        """The address of a question's chat."""
        return JID.of(f"{self.jid.localpart}+{number}", self.jid.domainpart)

    def speaker(self, number: int) -> JID:
        """The sender in a question's chat: as everywhere in XMPP, something with a resource.

        COMPAT: profanity shows nobody typing who has none.
        """
        return self.chat(number).with_resource(RESOURCE)

    def number_of(self, jid: JID) -> int | None:
        """The number of the question whose chat an address of this queue is."""
        name, plus, detail = jid.localpart.partition("+")
        own = jid.domainpart == self.jid.domainpart and name == self.jid.localpart
        return int(detail) if own and plus and detail.isdecimal() and len(detail) < 10 else None

    def nick_of(self, librarian: JID) -> str:
        """The name by which the desk knows a librarian."""
        found = self.librarians.get(librarian)
        return librarian.localpart if found is None else found.nick
