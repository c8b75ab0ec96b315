"""What belongs to one queue, one librarian or one claim never reaches another."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection

from refserver.jid import JID
from refserver.reference import answering, asking, closing
from refserver.reference.asking import Asker, Said, Utterance
from refserver.reference.states import AlreadyClaimed, NoSuchQuestion, NotOffered, State, WrongState
from refserver.storage import Database, libraries, questions, queues
from refserver.storage.questions import Question

PAT, SAM, KIM = (JID.parse(f"{name}@home.example") for name in ("pat", "sam", "kim"))
MIA, NOA, LEO = (JID.parse(f"{name}@library.example") for name in ("mia", "noa", "leo"))


@pytest.fixture
def connection() -> Iterator[Connection]:
    database = Database.memory()
    with database._writing.begin() as connection:
        yield connection
    database.close_now()


def made(connection: Connection, domain: str) -> int:
    """A library with a queue, at which mia, noa and leo work."""
    libraries.add(connection, domain, domain)
    queue = queues.add(connection, JID.parse(f"ask@{domain}")).id
    for jid in (MIA, NOA, LEO):
        queues.put_librarian(connection, queue, queues.Librarian(jid, jid.localpart, 3))
    return queue


@pytest.fixture
def queue(connection: Connection) -> int:
    return made(connection, "library.example")


@pytest.fixture
def other(connection: Connection, queue: int) -> int:
    return made(connection, "other.example")


def ask(connection: Connection, queue: int, patron: JID = PAT, now: float = 100.0) -> Said:
    return asking.say(connection, queue, Asker(patron), Utterance("Where are the maps?"), now=now)


def handed(connection: Connection, queue: int) -> Question:
    """Mia's question, which she wants to hand over to noa."""
    question = ask(connection, queue).question
    answering.claim(connection, question.id, MIA, 110.0)
    return answering.hand_over(connection, question.id, MIA, "noa")


# -- queues ------------------------------------------------------------------------


def test_the_same_number_is_another_question_in_another_library(
    connection: Connection, queue: int, other: int
) -> None:
    here, there = ask(connection, queue).question, ask(connection, other, SAM).question
    assert here.number == there.number
    assert here == answering.numbered(connection, "library.example", here.number)
    assert there == answering.numbered(connection, "other.example", there.number)


def test_the_queues_of_a_library_count_together(connection: Connection, queue: int) -> None:
    maps = queues.add(connection, JID.parse("maps@library.example")).id
    asked = [
        ask(connection, queue).question,
        ask(connection, maps).question,
        ask(connection, queue, SAM).question,
    ]
    assert [1, 2, 3] == [question.number for question in asked]
    assert asked == [answering.numbered(connection, "library.example", number) for number in (1, 2, 3)]


def test_a_number_of_another_library_is_none_here(connection: Connection, queue: int, other: int) -> None:
    question = ask(connection, other).question
    with pytest.raises(NoSuchQuestion):
        answering.numbered(connection, "library.example", question.number)


def test_the_place_in_the_line_counts_one_queue(connection: Connection, queue: int, other: int) -> None:
    ask(connection, other, SAM, now=50.0)
    assert 1 == ask(connection, queue, now=60.0).position


def test_who_leaves_one_desk_keeps_her_questions_at_another(
    connection: Connection, queue: int, other: int
) -> None:
    here, there = ask(connection, queue).question, ask(connection, other).question
    for question in (here, there):
        answering.claim(connection, question.id, MIA, 110.0)
    assert [here.id] == [released.id for released in answering.dismiss(connection, queue, MIA)]
    assert MIA == questions.get(connection, there.id).owner


def test_a_patron_asks_at_two_queues_at_a_time(connection: Connection, queue: int, other: int) -> None:
    assert [True, True] == [ask(connection, queue).new, ask(connection, other).new]


# -- claims ------------------------------------------------------------------------


def test_what_the_patron_has_withdrawn_is_not_claimed(connection: Connection, queue: int) -> None:
    question = ask(connection, queue).question
    closing.abandon(connection, question.id, now=105.0)
    with pytest.raises(WrongState):
        answering.claim(connection, question.id, MIA, 110.0)
    assert State.ABANDONED == questions.get(connection, question.id).state


def test_a_claim_takes_one_question(connection: Connection, queue: int) -> None:
    first, second = ask(connection, queue).question, ask(connection, queue, SAM).question
    answering.claim(connection, first.id, MIA, 110.0)
    assert second == questions.get(connection, second.id)


# -- handing over ------------------------------------------------------------------


def test_somebody_else_than_who_was_asked_learns_whose_it_is(connection: Connection, queue: int) -> None:
    question = handed(connection, queue)
    with pytest.raises(AlreadyClaimed) as refused:
        answering.take(connection, question.id, LEO, 120.0)
    assert "mia" == refused.value.by
    assert question == questions.get(connection, question.id)


def test_somebody_else_than_who_was_asked_cannot_decline(connection: Connection, queue: int) -> None:
    question = handed(connection, queue)
    with pytest.raises(NotOffered):
        answering.decline(connection, question.id, LEO)
    assert question == questions.get(connection, question.id)


def test_a_hand_over_ends_with_the_claim_it_belongs_to(connection: Connection, queue: int) -> None:
    question = handed(connection, queue)
    answering.release(connection, question.id, MIA)
    answering.claim(connection, question.id, LEO, 120.0)
    with pytest.raises(AlreadyClaimed):
        answering.take(connection, question.id, NOA, 130.0)


def test_a_hand_over_ends_with_the_question(connection: Connection, queue: int) -> None:
    question = handed(connection, queue)
    closing.close(connection, question.id, MIA, now=120.0, level=3)
    closing.reopen(connection, question.id, LEO, now=130.0)
    with pytest.raises(AlreadyClaimed):
        answering.take(connection, question.id, NOA, 140.0)


def test_a_hand_over_ends_when_its_owner_leaves_the_desk(connection: Connection, queue: int) -> None:
    question = handed(connection, queue)
    answering.dismiss(connection, queue, MIA)
    answering.claim(connection, question.id, LEO, 120.0)
    with pytest.raises(AlreadyClaimed):
        answering.take(connection, question.id, NOA, 130.0)
