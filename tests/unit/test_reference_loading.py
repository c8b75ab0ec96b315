"""What is read of all queues at once is what is read of each."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection

from refserver.jid import JID
from refserver.reference import answering, asking, closing
from refserver.reference.asking import Asker, Utterance
from refserver.reference.profile import DURATIONS_KEPT, Stored, load, load_all
from refserver.reference.states import State
from refserver.storage import Database, conversations, libraries, outbox, questions, queues
from refserver.storage.conversations import Message, Relay

NOW = 1_763_800_000.0
MIA, NOA = JID.parse("mia@library.example"), JID.parse("noa@elsewhere.example")


def filled() -> Database:
    """Three libraries: with two queues that have seen a lot, with one that has seen nothing, with none."""
    database = Database.memory()
    for domain in ("library.example", "new.example", "empty.example"):
        database.write_now(libraries.add, domain, "")
    busy, calm = (
        database.write_now(queues.add, JID.parse(f"{name}@library.example"), hours="Mon-Fri 09:00-17:00").id
        for name in ("ask", "maps")
    )
    database.write_now(queues.add, JID.parse("ask@new.example"), settings={"practice": True})
    for queue in (busy, calm):
        for nick, jid in (("noa", NOA), ("mia", MIA)):
            database.write_now(queues.put_librarian, queue, queues.Librarian(jid, nick, 3))
    for number in range(DURATIONS_KEPT + 5):
        said = asked(database, busy, f"pat{number}@home.example")
        if number > 2:
            database.write_now(answering.claim, said, MIA, NOW + 10)
            database.write_now(closing.close, said, MIA, now=NOW + 20 + number, level=1)
    asked(database, calm, "sam@home.example")
    for subscriber in ("pat@home.example", "sam@home.example"):
        database.write_now(queues.subscribe, busy, JID.parse(subscriber), NOW)
    return database


def one(connection: Connection, domain: str) -> list[Stored]:
    """The queues of one library, one by one."""
    return [load(connection, record) for record in queues.all_queues(connection, domain)]


def asked(database: Database, queue: int, patron: str) -> int:
    """A patron asks; the question's id."""
    utterance = Utterance(f"I am {patron}", None)
    return database.write_now(asking.say, queue, Asker(JID.parse(patron)), utterance, now=NOW).question.id


def test_all_at_once_is_the_same_as_one_by_one() -> None:
    database = filled()
    found = database.read_now(load_all)
    assert found == {domain: database.read_now(one, domain) for domain in ("library.example", "new.example")}
    busy, calm = found["library.example"]
    assert (len(busy.questions), len(calm.questions), len(busy.subscribers)) == (3, 1, 2)
    assert busy.questions[0][1] == "I am pat0@home.example"
    assert [one.nick for one in calm.librarians] == ["mia", "noa"]
    assert len(busy.durations) == DURATIONS_KEPT
    assert busy.durations[-1] > busy.durations[0]
    database.close_now()


def all_messages(database: Database, queue_id: int) -> list[Message]:
    found = database.read_now(questions.in_states, list(State), queue_id)
    return [message for question in found for message in database.read_now(conversations.of, question.id)]


@pytest.mark.parametrize(
    ("relay", "left"),
    [
        (Relay.TO_DO, True),
        (Relay.DONE, False),
        (Relay.GIVEN_UP, False),
    ],
)
def test_queues_of_which_something_is_left_to_hand_over_are_known(relay: Relay, left: bool) -> None:
    database = filled()
    busy, calm = database.read_now(queues.all_queues, "library.example")
    for queue in (busy, calm):
        for message in all_messages(database, queue.id):
            to = relay if queue is calm else Relay.DONE
            database.write_now(conversations.set_relay, [message.id], to)
    found = database.read_now(load_all)
    assert [each.left for each in found["library.example"]] == [False, left]
    assert [each.left for each in found["new.example"]] == [False]
    database.close_now()


def test_a_line_that_is_owed_is_something_left() -> None:
    database = filled()
    busy, calm = database.read_now(queues.all_queues, "library.example")
    for queue in (busy, calm):
        said = all_messages(database, queue.id)
        database.write_now(conversations.set_relay, [message.id for message in said], Relay.DONE)
    line = outbox.Line("line-1", said[0].question_id, "We are closed now.", NOW)
    database.write_now(outbox.add, line)
    assert [each.left for each in database.read_now(load_all)["library.example"]] == [False, True]
    database.close_now()
