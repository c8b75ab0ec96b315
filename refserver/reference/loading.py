"""What the store knows of all queues at once, for the start of a server with many libraries.

The same of one queue is profile.py's `load`; asking so for each of thousands takes seconds.
"""

from __future__ import annotations

from sqlalchemy import Connection

from refserver.reference.profile import DURATIONS_KEPT, Stored
from refserver.reference.states import OPEN
from refserver.storage import conversations, outbox, questions, queues, statistics
from refserver.storage.questions import Question


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
