"""The verbs on one question after the other, each in its own transaction."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from refserver.jid import JID
from refserver.reference import answering, asking, closing, privacy
from refserver.reference.asking import Asker, Said, Utterance
from refserver.reference.states import (
    OPEN,
    AlreadyClaimed,
    NoSuchLibrarian,
    NoSuchQuestion,
    NotALibrarian,
    NotOffered,
    NotYours,
    Outcome,
    PatronBusy,
    PatronGone,
    State,
    TooManyQuestions,
    WrongState,
)
from refserver.storage import Database, conversations, libraries, questions, queues, statistics
from refserver.storage.conversations import Direction, Relay
from refserver.storage.questions import Question

ASK = JID.parse("ask@library.example")
PAT = JID.parse("pat@home.example")
SAM = JID.parse("sam@home.example")
MIA = JID.parse("mia@library.example")
NOA = JID.parse("noa@elsewhere.example")
START = 1_763_800_000.0  # Saturday 22 November 2025, 08:26:40 UTC


class Desk:
    """A library with one queue and two librarians, and a clock."""

    def __init__(self, database: Database, settings: dict[str, Any] | None = None) -> None:
        self.database = database
        self.now = START
        self.do(libraries.add, "library.example", "Library")
        self.queue = self.do(queues.add, ASK, title="Ask us", settings=settings).id
        self.do(queues.put_librarian, self.queue, queues.Librarian(MIA, "mia", 3))
        self.do(queues.put_librarian, self.queue, queues.Librarian(NOA, "noa", 3))

    def do(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        return self.database.write_now(function, *args, **kwargs)

    def say(
        self, body: str = "Where are the maps?", id: str | None = None, by: JID = PAT, **more: Any
    ) -> Said:
        self.now += 10
        said: Said = self.do(asking.say, self.queue, Asker(by), Utterance(body, id), now=self.now, **more)
        return said

    def claimed(self, by: JID = MIA) -> Question:
        question = self.say().question
        self.now += 5
        claimed: Question = self.do(answering.claim, question.id, by, self.now)
        return claimed

    def closed(self, **more: Any) -> Question:
        question = self.claimed()
        closed: Question = self.do(closing.close, question.id, MIA, now=self.now, level=3, **more)
        return closed

    def answer(
        self, question: Question, body: str = "Upstairs.", id: str | None = None, by: JID = MIA
    ) -> Any:
        self.now += 10
        return self.do(answering.answer, question.id, by, Utterance(body, id), now=self.now)

    def get(self, question: Question) -> Question:
        return self.database.read_now(questions.get, question.id)

    def said(self, question: Question) -> list[tuple[Direction, str]]:
        return [(m.direction, m.body) for m in self.database.read_now(conversations.of, question.id)]


@pytest.fixture
def desk() -> Iterator[Desk]:
    database = Database.memory()
    yield Desk(database)
    database.close_now()


# -- asking ----------------------------------------------------------------------


def test_the_first_message_is_the_question(desk: Desk) -> None:
    said = desk.say("Where are the maps?", "m1")
    assert (said.new, said.again, said.position) == (True, False, 1)
    assert (said.question.number, said.question.state, said.question.patron) == (1, State.WAITING, PAT)
    assert (said.message.body, said.message.origin_id, said.message.relay) == (
        "Where are the maps?",
        "m1",
        Relay.TO_DO,
    )


def test_more_messages_belong_to_the_open_question(desk: Desk) -> None:
    first = desk.say()
    more = desk.say("The old ones.")
    assert (more.new, more.question.number, more.message.sequence) == (False, first.question.number, 2)


def test_patrons_wait_in_the_order_they_asked(desk: Desk) -> None:
    assert [desk.say(by=by).position for by in (PAT, SAM)] == [1, 2]
    assert desk.say("still here", by=PAT).position == 1


def test_a_message_sent_again_is_known_and_changes_nothing(desk: Desk) -> None:
    first = desk.say("Where are the maps?", "m1")
    again = desk.say("Where are the maps?", "m1")
    assert (again.again, again.new, again.message) == (True, False, first.message)
    assert len(desk.said(first.question)) == 1


def test_a_message_sent_again_after_the_close_is_a_new_question(desk: Desk) -> None:
    question = desk.say("Where are the maps?", "m1").question
    desk.do(answering.claim, question.id, MIA, desk.now)
    desk.do(closing.close, question.id, MIA, now=desk.now, level=1)
    assert desk.say("Where are the maps?", "m1").new


def test_the_same_id_from_another_patron_is_another_message(desk: Desk) -> None:
    desk.say(id="m1", by=PAT)
    assert desk.say(id="m1", by=SAM).new


def test_messages_without_id_are_never_taken_for_the_same(desk: Desk) -> None:
    question = desk.say("Hello?").question
    desk.say("Hello?")
    assert len(desk.said(question)) == 2


def test_after_a_close_the_next_message_is_a_new_question(desk: Desk) -> None:
    closed = desk.closed()
    assert desk.say("And the globes?").question.number == closed.number + 1


def test_the_hourly_limit_counts_questions_and_not_messages(desk: Desk) -> None:
    for _ in range(2):
        question = desk.say(hourly_limit=2).question
        desk.say("more", hourly_limit=2)
        desk.do(closing.abandon, question.id, now=desk.now)
    with pytest.raises(TooManyQuestions):
        desk.say(hourly_limit=2)
    assert desk.say(by=SAM, hourly_limit=2).new
    desk.now += 3600
    assert desk.say(hourly_limit=2).new


def test_language_is_the_patrons_or_the_queues(desk: Desk) -> None:
    def language(tag: str, patron: str) -> str:
        asker = Asker(JID.parse(patron), language=tag)
        said = desk.do(asking.say, desk.queue, asker, Utterance("?"), now=desk.now)
        return str(said.question.language)

    assert language("de-AT", "a@home.example") == "de"
    assert language("", "b@home.example") == "en"
    assert language("=cmd()", "c@home.example") == "en"


def test_staff_see_the_same_pseudonym_for_the_same_patron_only(desk: Desk) -> None:
    first = desk.closed().pseudonym
    assert re.fullmatch(r"([a-z]{2}){2}-([a-z]{2}){2}", first)
    assert desk.say(by=PAT).question.pseudonym == first
    assert desk.say(by=SAM).question.pseudonym != first


def test_another_library_gives_the_same_patron_another_pseudonym(desk: Desk) -> None:
    first = desk.say().question.pseudonym
    desk.do(libraries.add, "other.example", "Other")
    other = desk.do(queues.add, JID.parse("ask@other.example")).id
    said = desk.do(asking.say, other, Asker(PAT), Utterance("?"), now=desk.now)
    assert said.question.pseudonym != first
    assert said.question.number == 1


# -- offering ---------------------------------------------------------------------


def test_an_offer_is_to_one_and_then_to_everyone(desk: Desk) -> None:
    question = desk.say().question
    offered = desk.do(answering.offer, question.id, MIA, desk.now)
    assert (offered.state, offered.offered_to, offered.offered_at) == (State.OFFERED, MIA, desk.now)
    assert desk.do(answering.widen, question.id).offered_to is None
    assert desk.do(answering.withdraw, question.id).state == State.WAITING


def test_what_was_claimed_meanwhile_is_not_offered(desk: Desk) -> None:
    question = desk.claimed()
    assert desk.do(answering.offer, question.id, NOA, desk.now) is None
    assert desk.do(answering.widen, question.id) is None
    assert desk.get(question).owner == MIA


def test_anyone_may_take_what_was_offered_to_another(desk: Desk) -> None:
    question = desk.say().question
    desk.do(answering.offer, question.id, MIA, desk.now)
    claimed = desk.do(answering.claim, question.id, NOA, desk.now)
    assert (claimed.owner, claimed.offered_to) == (NOA, None)


# -- claiming ----------------------------------------------------------------------


def test_the_second_claim_learns_who_was_first(desk: Desk) -> None:
    question = desk.claimed(MIA)
    with pytest.raises(AlreadyClaimed) as lost:
        desk.do(answering.claim, question.id, NOA, desk.now)
    assert (lost.value.by, lost.value.owner, lost.value.number) == ("mia", MIA, question.number)
    with pytest.raises(AlreadyClaimed):
        desk.do(answering.claim, question.id, MIA, desk.now)


async def test_of_many_claims_at_once_through_two_databases_exactly_one_wins(tmp_path: Path) -> None:
    """Two processes on one file; the claims are under way at the same time."""
    from twisted.internet import reactor
    from twisted.internet.defer import DeferredList

    call = reactor.callFromThread  # type: ignore[attr-defined]  # the installed reactor, a module to mypy
    one, two = (Database.open(tmp_path / "refserver.sqlite", call) for _ in range(2))
    try:
        desk = Desk(one)
        for _ in range(20):
            question = desk.say().question
            attempts = [(one, MIA), (two, NOA)] * 2
            racing = [db.write(answering.claim, question.id, jid, desk.now) for db, jid in attempts]
            results: Any = await DeferredList(racing, consumeErrors=True)
            winners = [result for success, result in results if success]
            losers = [result.value for success, result in results if not success]
            assert [type(loser) for loser in losers] == [AlreadyClaimed] * 3
            assert {loser.owner for loser in losers} == {winners[0].owner}
            desk.do(closing.close, question.id, winners[0].owner, now=desk.now)
    finally:
        await one.close()
        await two.close()


def test_a_stranger_can_do_nothing(desk: Desk) -> None:
    question = desk.claimed()
    stranger = JID.parse("eve@library.example")
    words = Utterance("x")
    attempts = [
        (answering.claim, (question.id, stranger, desk.now), {}),
        (answering.release, (question.id, stranger), {}),
        (answering.reply, (question.id, stranger, words), {"now": desk.now}),
        (answering.note, (question.id, stranger, words), {"now": desk.now}),
        (answering.hand_over, (question.id, stranger, "noa"), {}),
        (closing.close, (question.id, stranger), {"now": desk.now}),
        (closing.reopen, (question.id, stranger), {"now": desk.now}),
    ]
    for function, args, kwargs in attempts:
        with pytest.raises(NotALibrarian):
            desk.do(function, *args, **kwargs)
    assert desk.get(question) == question


def test_a_released_question_keeps_its_place(desk: Desk) -> None:
    question = desk.claimed()
    desk.say(by=SAM)
    released = desk.do(answering.release, question.id, MIA)
    assert (released.state, released.owner) == (State.WAITING, None)
    assert desk.database.read_now(asking.place_in_line, released) == 1


def test_numbers_are_looked_up_by_queue(desk: Desk) -> None:
    question = desk.say().question
    assert desk.database.read_now(answering.numbered, "library.example", question.number) == question
    with pytest.raises(NoSuchQuestion):
        desk.database.read_now(answering.numbered, "library.example", 99)


def test_who_leaves_the_desk_leaves_her_questions_to_the_others(desk: Desk) -> None:
    question = desk.claimed(MIA)
    released = desk.do(answering.dismiss, desk.queue, MIA)
    assert [one.id for one in released] == [question.id]
    assert desk.get(question).state == State.WAITING


# -- answering ---------------------------------------------------------------------


def test_the_owner_answers(desk: Desk) -> None:
    question = desk.claimed()
    replied = desk.answer(question, "Upstairs.", "a1")
    assert (replied.taken, replied.again, replied.message.author) == (None, False, "mia")
    assert desk.said(question) == [(Direction.PATRON, "Where are the maps?"), (Direction.STAFF, "Upstairs.")]


def test_an_answer_sent_again_is_known(desk: Desk) -> None:
    question = desk.claimed()
    first = desk.answer(question, id="a1")
    again = desk.answer(question, id="a1")
    assert (again.again, again.message) == (True, first.message)


def test_a_patrons_and_a_librarians_message_may_have_the_same_id(desk: Desk) -> None:
    question = desk.say(id="same").question
    desk.do(answering.claim, question.id, MIA, desk.now)
    assert not desk.answer(question, id="same").again


def test_the_first_plain_reply_takes_the_question(desk: Desk) -> None:
    question = desk.say().question
    replied = desk.do(answering.reply, question.id, MIA, Utterance("Upstairs."), now=desk.now)
    assert (replied.taken is not None, replied.question.owner) == (True, MIA)


def test_what_the_loser_typed_is_not_stored(desk: Desk) -> None:
    question = desk.claimed(MIA)
    with pytest.raises(AlreadyClaimed):
        desk.do(answering.reply, question.id, NOA, Utterance("Downstairs."), now=desk.now)
    assert desk.said(question) == [(Direction.PATRON, "Where are the maps?")]


def test_only_the_owner_answers_releases_and_closes(desk: Desk) -> None:
    question = desk.claimed(MIA)
    with pytest.raises(NotYours) as refused:
        desk.answer(question, by=NOA)
    assert refused.value.by == "mia"
    with pytest.raises(NotYours):
        desk.do(answering.release, question.id, NOA)
    with pytest.raises(NotYours):
        desk.do(closing.close, question.id, NOA, now=desk.now)


def test_nobody_answers_what_nobody_has_claimed(desk: Desk) -> None:
    question = desk.say().question
    with pytest.raises(WrongState):
        desk.answer(question)


def test_any_librarian_notes_while_it_is_open(desk: Desk) -> None:
    question = desk.claimed(MIA)
    desk.do(answering.note, question.id, NOA, Utterance("knows maps", "n1"), now=desk.now)
    desk.do(answering.note, question.id, NOA, Utterance("knows maps", "n1"), now=desk.now)
    assert desk.said(question)[1:] == [(Direction.NOTE, "knows maps")]
    desk.do(closing.close, question.id, MIA, now=desk.now)
    with pytest.raises(WrongState):
        desk.do(answering.note, question.id, NOA, Utterance("too late"), now=desk.now)


# -- handing over -------------------------------------------------------------------


def test_the_owner_keeps_the_question_until_the_other_accepts(desk: Desk) -> None:
    question = desk.claimed(MIA)
    handed = desk.do(answering.hand_over, question.id, MIA, "NOA")
    assert (handed.owner, handed.handed_to) == (MIA, NOA)
    desk.answer(question)
    accepted = desk.do(answering.accept, question.id, NOA, desk.now)
    assert (accepted.owner, accepted.handed_to) == (NOA, None)
    with pytest.raises(NotYours):
        desk.answer(question, by=MIA)


def test_a_first_reply_or_a_take_accepts(desk: Desk) -> None:
    question = desk.claimed(MIA)
    desk.do(answering.hand_over, question.id, MIA, "noa")
    replied = desk.do(answering.reply, question.id, NOA, Utterance("Hello"), now=desk.now)
    assert (replied.taken is not None, replied.question.owner) == (True, NOA)
    desk.do(answering.hand_over, question.id, NOA, "mia")
    assert desk.do(answering.take, question.id, MIA, desk.now).question.owner == MIA


def test_a_declined_hand_over_changes_nothing(desk: Desk) -> None:
    question = desk.claimed(MIA)
    desk.do(answering.hand_over, question.id, MIA, "noa")
    assert desk.do(answering.decline, question.id, NOA) == question


def test_the_owner_may_take_a_hand_over_back(desk: Desk) -> None:
    question = desk.claimed(MIA)
    desk.do(answering.hand_over, question.id, MIA, "noa")
    assert desk.do(answering.decline, question.id, MIA) == question
    with pytest.raises(NotOffered):
        desk.do(answering.accept, question.id, NOA, desk.now)


@pytest.mark.parametrize("nick", ["mia", "lou", ""])
def test_a_hand_over_needs_a_colleague(desk: Desk, nick: str) -> None:
    question = desk.claimed(MIA)
    with pytest.raises(NoSuchLibrarian):
        desk.do(answering.hand_over, question.id, MIA, nick)


# -- ending ---------------------------------------------------------------------------


def test_closing_keeps_level_outcome_and_tags(desk: Desk) -> None:
    closed = desk.closed(tags=("maps", "directional"))
    assert (closed.state, closed.read_level, closed.outcome) == (State.CLOSED, 3, "answered")
    assert (closed.tags, closed.owner, closed.closed_at) == (("maps", "directional"), MIA, desk.now)


def test_referred_and_parked_are_states_of_their_own(desk: Desk) -> None:
    assert desk.closed(outcome=Outcome.REFERRED).state == State.REFERRED
    parked = desk.closed(outcome=Outcome.FOLLOW_UP)
    assert (parked.state, parked.owner, parked.closed_at) == (State.PARKED, None, None)


def test_a_parked_question_waits_again_when_the_patron_writes(desk: Desk) -> None:
    first = desk.claimed()
    desk.do(closing.park, first.id, MIA, now=desk.now)
    desk.say(by=SAM)
    said = desk.say("Any news?", by=PAT)
    assert (said.question.id, said.question.state, said.position) == (first.id, State.WAITING, 2)


def test_a_parked_question_can_be_claimed(desk: Desk) -> None:
    question = desk.claimed()
    desk.do(closing.park, question.id, MIA, now=desk.now)
    assert desk.do(answering.claim, question.id, NOA, desk.now).owner == NOA


def test_a_closed_question_takes_no_answer(desk: Desk) -> None:
    question = desk.closed()
    with pytest.raises(WrongState):
        desk.answer(question)


def test_reopening_makes_it_hers(desk: Desk) -> None:
    question = desk.closed()
    reopened = desk.do(closing.reopen, question.id, NOA, now=desk.now).question
    assert (reopened.state, reopened.owner, reopened.closed_at) == (State.CLAIMED, NOA, None)
    assert desk.say("Thank you").question.id == question.id


def test_no_reopening_while_the_patron_has_another_question(desk: Desk) -> None:
    question = desk.closed()
    other = desk.say("And the globes?").question
    with pytest.raises(PatronBusy) as refused:
        desk.do(closing.reopen, question.id, MIA, now=desk.now)
    assert refused.value.number == other.number


def test_an_abandoned_question_can_be_reopened_but_a_claimed_one_not_abandoned(desk: Desk) -> None:
    question = desk.say().question
    abandoned = desk.do(closing.abandon, question.id, now=desk.now)
    assert (abandoned.state, abandoned.outcome) == (State.ABANDONED, "abandoned")
    desk.do(closing.reopen, question.id, MIA, now=desk.now)
    with pytest.raises(WrongState):
        desk.do(closing.abandon, question.id, now=desk.now)


# -- forgetting ------------------------------------------------------------------------


def test_after_the_undo_window_link_and_words_are_gone_and_numbers_stay(desk: Desk) -> None:
    question = desk.closed()
    desk.now += 86399
    assert desk.do(privacy.forget_due, desk.now) == privacy.Forgotten(0, 0)
    desk.now += 1
    assert desk.do(privacy.forget_due, desk.now) == privacy.Forgotten(1, 1)
    kept = desk.get(question)
    assert (kept.patron, kept.thread, kept.read_level) == (None, "", 3)
    assert desk.said(question) == []
    row = desk.database.read_now(statistics.of, question.id)
    assert row is not None
    assert row.patron_messages == 1
    with pytest.raises(PatronGone):
        desk.do(closing.reopen, question.id, MIA, now=desk.now)


def test_open_and_parked_questions_are_not_forgotten(desk: Desk) -> None:
    claimed = desk.claimed()
    parked = desk.say(by=SAM).question
    desk.do(answering.claim, parked.id, MIA, desk.now)
    desk.do(closing.park, parked.id, MIA, now=desk.now)
    assert desk.do(privacy.forget_due, desk.now + 10 * 86400) == privacy.Forgotten(0, 0)
    assert desk.get(claimed).patron == PAT
    assert desk.get(parked).patron == SAM


def test_retention_keeps_the_words_longer_but_never_the_link() -> None:
    desk = Desk(Database.memory(), {"retention_days": 30})
    question = desk.closed()
    desk.do(privacy.forget_due, desk.now + 2 * 86400)
    assert desk.get(question).patron is None
    assert len(desk.said(question)) == 1
    desk.do(privacy.forget_due, desk.now + 30 * 86400)
    assert desk.said(question) == []
    desk.database.close_now()


# -- counting ----------------------------------------------------------------------------


def test_statistics_of_a_conversation(desk: Desk) -> None:
    question = desk.claimed()  # asked at 10, claimed at 15
    desk.answer(question)  # 25: the first answer is no gap, its wait is counted elsewhere
    desk.say("Which shelf?")  # 35
    desk.answer(question, "The last.")  # 45
    desk.do(closing.close, question.id, MIA, now=desk.now, level=2, tags=("maps", "directional"))
    row = desk.database.read_now(statistics.of, question.id)
    assert row is not None
    assert (row.domain, row.queue, row.channel) == ("library.example", "ask", "xmpp")
    assert (row.day, row.hour, row.weekday) == ("2025-11-22", 8, 5)
    assert (row.wait, row.duration) == (5.0, 30.0)
    assert (row.patron_messages, row.staff_messages, row.gaps) == (2, 2, (10.0, 10.0))
    assert (row.read_level, row.outcome, row.kind) == (2, "answered", "directional")


def test_messages_across_a_release_are_no_gap(desk: Desk) -> None:
    question = desk.claimed()
    desk.answer(question)
    desk.do(answering.release, question.id, MIA)
    desk.now += 500
    desk.do(answering.claim, question.id, NOA, desk.now)
    desk.answer(question, by=NOA)
    desk.answer(question, by=NOA)
    desk.do(closing.close, question.id, NOA, now=desk.now)
    row = desk.database.read_now(statistics.of, question.id)
    assert row is not None
    assert row.gaps == (10.0,)
    assert (row.wait, row.releases) == (5.0, 1)


def test_a_practice_queue_is_not_counted() -> None:
    desk = Desk(Database.memory(), {"practice": True})
    question = desk.closed()
    assert desk.database.read_now(statistics.of, question.id) is None
    desk.database.close_now()


def test_removing_a_queue_keeps_the_statistics_and_never_reuses_them(desk: Desk) -> None:
    desk.closed()
    desk.do(queues.remove, ASK)
    assert len(desk.database.read_now(statistics.rows, "library.example")) == 1
    desk.queue = desk.do(queues.add, ASK).id
    desk.say()
    assert len(desk.database.read_now(statistics.rows, "library.example")) == 2


def test_removing_a_library_removes_its_questions(desk: Desk) -> None:
    question = desk.say().question
    desk.do(libraries.remove, "library.example")
    assert desk.database.read_now(questions.in_states, OPEN) == []
    assert desk.said(question) == []


# -- what is still to be handed over -------------------------------------------------------


def test_notes_and_system_lines_are_never_to_be_handed_over(desk: Desk) -> None:
    question = desk.claimed()
    message = desk.do(answering.note, question.id, MIA, Utterance("x"), now=desk.now)
    assert message.relay is Relay.DONE
