"""After a crash nobody can tell whether a message has arrived: what becomes of each one, and why."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection

from refserver.jid import JID
from refserver.reference import answering, asking
from refserver.reference.asking import Asker, Utterance
from refserver.storage import Database, conversations, libraries, queues
from refserver.storage.conversations import Relay

ASK = JID.parse("ask@library.example")
PAT = JID.parse("pat@home.example")
MIA = JID.parse("mia@library.example")


@pytest.fixture
def connection() -> Iterator[Connection]:
    database = Database.memory()
    with database._writing.begin() as connection:
        libraries.add(connection, ASK.domainpart, "Library")
        queue = queues.add(connection, ASK).id
        queues.put_librarian(connection, queue, queues.Librarian(MIA, "mia", 3))
        yield connection
    database.close_now()


def said(connection: Connection, relay: Relay, receipt: bool) -> int:
    """The question in which a patron has said something that has come so far."""
    queue = queues.find(connection, ASK)
    assert queue is not None
    words = Utterance("Where are the maps?", "m1", receipt=receipt)
    message = asking.say(connection, queue.id, Asker(PAT), words, now=100.0).message
    answering.claim(connection, message.question_id, MIA, 110.0)
    conversations.set_relay(connection, [message.id], relay)
    return message.question_id


@pytest.mark.parametrize(
    "before, receipt, after",
    [
        (Relay.TO_DO, False, Relay.TO_DO),
        (Relay.TO_DO, True, Relay.TO_DO),
        (Relay.DONE, False, Relay.DONE),
        (Relay.DONE, True, Relay.DONE),
        (Relay.RETOLD, False, Relay.RETOLD),
        (Relay.UNDER_WAY, False, Relay.DOUBTFUL),
        (Relay.UNDER_WAY, True, Relay.DOUBTFUL),
        (Relay.GIVEN, False, Relay.DOUBTFUL),
        (Relay.GIVEN, True, Relay.DOUBTFUL),
    ],
)
def test_what_was_handed_over_in_the_dark_is_doubtful(
    connection: Connection, before: Relay, receipt: bool, after: Relay
) -> None:
    """Also where the sender wants a receipt: it may have left when the words had not."""
    question = said(connection, before, receipt)
    conversations.recover(connection)
    (message,) = conversations.of(connection, question)
    assert after is message.relay
