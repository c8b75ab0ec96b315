"""The one UPDATE that decides whose a question is: it compares the state and the owner, and both matter."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection

from refserver.jid import JID
from refserver.reference.states import State
from refserver.storage import Database, libraries, questions, queues
from refserver.storage.questions import Question, compare_and_set

ASK = JID.parse("ask@library.example")
PAT = JID.parse("pat@home.example")
SAM = JID.parse("sam@home.example")
MIA = JID.parse("mia@library.example")
NOA = JID.parse("noa@elsewhere.example")


@pytest.fixture
def connection() -> Iterator[Connection]:
    database = Database.memory()
    database.write_now(libraries.add, "library.example", "Library")
    database.write_now(queues.add, ASK, title="Ask us")
    with database._writing.begin() as connection:
        yield connection
    database.close_now()


def asked(connection: Connection, patron: JID = PAT) -> Question:
    queue = queues.find(connection, ASK)
    assert queue is not None
    return questions.add(
        connection,
        queue.id,
        patron=patron,
        pseudonym="lomi-taru",
        channel="xmpp",
        language="en",
        thread="",
        state=State.WAITING,
        now=1.0,
    )


def owned(connection: Connection, owner: JID = MIA) -> Question:
    found = compare_and_set(
        connection, asked(connection).id, {State.WAITING}, None, state=State.CLAIMED, owner=owner
    )
    assert found is not None
    return found


def test_a_change_gives_the_changed_question(connection: Connection) -> None:
    question = owned(connection)
    assert (question.state, question.owner) == (State.CLAIMED, MIA)
    assert questions.get(connection, question.id) == question


def test_nothing_changes_in_another_state_than_expected(connection: Connection) -> None:
    question = asked(connection)
    changed = compare_and_set(connection, question.id, {State.OFFERED, State.PARKED}, None, owner=MIA)
    assert changed is None
    assert questions.get(connection, question.id) == question


@pytest.mark.parametrize("expected", [None, NOA])
def test_nothing_changes_when_somebody_else_owns_it_than_expected(
    connection: Connection, expected: JID | None
) -> None:
    question = owned(connection)
    assert compare_and_set(connection, question.id, {State.CLAIMED}, expected, owner=NOA) is None
    assert questions.get(connection, question.id) == question


def test_nothing_changes_when_nobody_owns_it_and_somebody_should(connection: Connection) -> None:
    question = asked(connection)
    assert compare_and_set(connection, question.id, {State.WAITING}, MIA, state=State.CLAIMED) is None
    assert questions.get(connection, question.id) == question


def test_the_owner_expected_may_change_it(connection: Connection) -> None:
    question = owned(connection)
    changed = compare_and_set(connection, question.id, {State.CLAIMED}, MIA, owner=None, state=State.WAITING)
    assert changed is not None
    assert (changed.state, changed.owner) == (State.WAITING, None)


def test_only_the_one_question_changes(connection: Connection) -> None:
    first, second = asked(connection), asked(connection, SAM)
    compare_and_set(connection, first.id, {State.WAITING}, None, state=State.CLAIMED, owner=MIA)
    assert questions.get(connection, second.id) == second
