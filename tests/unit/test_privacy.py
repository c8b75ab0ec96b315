"""What is kept of patrons, and that it is gone when it was forgotten."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from refserver.jid import JID
from refserver.reference import answering, asking, closing, offices, privacy
from refserver.reference.asking import Asker, Said, Utterance
from refserver.storage import (
    Database,
    accounts,
    conversations,
    libraries,
    offline,
    outbox,
    questions,
    queues,
    rosters,
    schema,
    statistics,
)
from refserver.storage.questions import Question
from refserver.storage.rosters import RosterItem

NOW = 1_750_075_200.0  # 2025-06-16, noon in UTC
DAY = 86_400.0
PAT = JID.parse("canarypat@patrons.example")
MIA = JID.parse("mia@library.example")
ASK = JID.parse("ask@library.example")
CHAT = JID.parse("ask+1@library.example")
WORDS = "canary words"


@pytest.fixture
def connection() -> Iterator[Connection]:
    database = Database.memory()
    with database._writing.begin() as connection:
        set_up(connection)
        yield connection
    database.close_now()


def set_up(connection: Connection) -> None:
    libraries.add(connection, "library.example", "Library")
    accounts.add(connection, MIA, {}, NOW)
    queue = queues.add(connection, ASK)
    queues.put_librarian(connection, queue.id, queues.Librarian(MIA, "mia", 3))


def ask(connection: Connection, patron: JID = PAT, words: str = WORDS, now: float = NOW) -> Said:
    queue = queues.find(connection, ASK)
    assert queue is not None
    return asking.say(connection, queue.id, Asker(patron, thread="t"), Utterance(words), now=now)


def closed(connection: Connection, patron: JID = PAT, now: float = NOW) -> Question:
    question = ask(connection, patron, now=now).question
    answering.claim(connection, question.id, MIA, now)
    answering.answer(connection, question.id, MIA, Utterance("canary answer"), now)
    return closing.close(connection, question.id, MIA, now, level=3, tags=("maps",))


def arrived(connection: Connection) -> None:
    """Everything that was said to patrons has reached them."""
    said = connection.execute(schema.metadata.tables["question_messages"].select()).all()
    outbox.arrived(connection, [row.id for row in said])


def everything(connection: Connection) -> str:
    """All that the database holds, as text."""
    rows = [connection.execute(table.select()).all() for table in schema.metadata.sorted_tables]
    return json.dumps(rows, default=str)


# -- pseudonyms --------------------------------------------------------------------


def test_five_hundred_patrons_have_five_hundred_names(connection: Connection) -> None:
    names = {ask(connection, JID.parse(f"p{n}@patrons.example")).question.pseudonym for n in range(500)}
    assert 500 == len(names)


def test_two_patrons_with_the_same_hash_are_told_apart(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "_name", lambda key, patron, attempt: f"lomi-tar{attempt}")
    names = [ask(connection, JID.parse(f"{name}@patrons.example")).question.pseudonym for name in ("a", "b")]
    assert ["lomi-tar0", "lomi-tar1"] == names


def test_a_patron_has_one_name_in_a_month_and_another_in_the_next(connection: Connection) -> None:
    first, second = (closed(connection, now=NOW + days * DAY).pseudonym for days in (0, 3))
    assert first == second
    assert first != closed(connection, now=NOW + 20 * DAY).pseudonym


def test_the_key_of_a_month_is_destroyed_with_it(connection: Connection) -> None:
    ask(connection)
    keys = schema.metadata.tables["pseudonym_keys"]
    assert 1 == len(connection.execute(keys.select()).all())
    assert not privacy.is_due(connection, NOW + 13 * DAY)
    assert privacy.is_due(connection, NOW + 15 * DAY)
    privacy.forget_due(connection, NOW + 15 * DAY)
    assert [] == connection.execute(keys.select()).all()


def test_after_the_undo_window_nothing_matches_a_known_address_to_a_question(connection: Connection) -> None:
    question = closed(connection)
    arrived(connection)
    privacy.forget_due(connection, NOW + DAY)
    held = everything(connection)
    assert PAT.text not in held
    assert question.pseudonym not in held
    kept = questions.get(connection, question.id)
    assert ("Guest", "", None) == (kept.guest, kept.thread, kept.patron)


def test_the_statistics_hold_no_pseudonym(connection: Connection) -> None:
    question = closed(connection)
    assert question.pseudonym not in str(statistics.of(connection, question.id))


# -- retention ---------------------------------------------------------------------


def test_a_question_goes_half_a_year_after_its_end_and_its_numbers_stay(connection: Connection) -> None:
    question = closed(connection)
    arrived(connection)
    for days in (1, 182):
        privacy.forget_due(connection, NOW + days * DAY)
    assert question.number == answering.numbered(connection, "library.example", 1).number
    assert 1 == privacy.forget_due(connection, NOW + 183 * DAY).rows
    assert questions.find(connection, "library.example", 1) is None
    assert statistics.of(connection, question.id) is not None
    assert 2 == ask(connection).question.number


def test_statistics_go_after_ten_years(connection: Connection) -> None:
    question = closed(connection)
    privacy.forget_due(connection, NOW + 3652 * DAY)
    assert statistics.of(connection, question.id) is not None
    privacy.forget_due(connection, NOW + 3655 * DAY)
    assert statistics.of(connection, question.id) is None


def test_reports_of_spam_go_after_a_year(connection: Connection) -> None:
    closing.spam(connection, ask(connection).question.id, MIA, NOW)
    table = schema.metadata.tables["spam_reports"]
    privacy.forget_due(connection, NOW + 365 * DAY)
    assert 1 == len(connection.execute(table.select()).all())
    privacy.forget_due(connection, NOW + 367 * DAY)
    assert [] == connection.execute(table.select()).all()


def test_a_reopened_question_is_not_forgotten(connection: Connection) -> None:
    question = closed(connection)
    closing.reopen(connection, question.id, MIA, NOW + 60)
    assert not privacy.is_due(connection, NOW + 10 * DAY)


def test_a_changed_policy_holds_for_what_has_ended_already(connection: Connection) -> None:
    question = closed(connection)
    arrived(connection)
    privacy.forget_due(connection, NOW)
    queue = queues.get(connection, question.queue_id)
    queues.set_up(connection, queues.Queue(queue.id, ASK, "", "en", "", {"undo_hours": 1}))
    privacy.forget_due(connection, NOW + 3600)
    assert questions.get(connection, question.id).patron is None


def test_one_transaction_forgets_a_bounded_number(connection: Connection) -> None:
    for number in range(5):
        closed(connection, JID.parse(f"p{number}@patrons.example"))
    arrived(connection)
    passes = [privacy.forget_due(connection, NOW + DAY, 2) for _ in range(3)]
    assert [2, 2, 1] == [each.links for each in passes]
    assert not privacy.is_due(connection, NOW + DAY)


def test_a_pass_with_nothing_to_do_does_not_grow_with_the_tables(connection: Connection) -> None:
    def steps() -> int:
        counted = 0

        def count() -> int:
            nonlocal counted
            counted += 1
            return 0

        driver: Any = connection.connection.driver_connection
        driver.set_progress_handler(count, 10)
        try:
            assert not privacy.is_due(connection, NOW + 2)
        finally:
            driver.set_progress_handler(None, 0)
        return counted

    few = steps()
    for number in range(300):
        closed(connection, JID.parse(f"p{number}@patrons.example"))
    arrived(connection)
    privacy.forget_due(connection, NOW + 1, 1000)
    assert steps() <= few + 2


# -- forget and purge --------------------------------------------------------------


def scattered(connection: Connection) -> Question:
    """A question in all places where words and links are kept: offline, rosters, subscriptions."""
    question = ask(connection).question
    answering.claim(connection, question.id, MIA, NOW)
    answering.answer(connection, question.id, MIA, Utterance("canary answer"), NOW)
    answering.note(connection, question.id, MIA, Utterance("canary note"), NOW)
    outbox.add(connection, outbox.Line("l1", question.id, "canary line", NOW))
    kept = f"<message from='{CHAT}/queue' to='{MIA}'><body>{WORDS}</body></message>"
    offline.store(connection, MIA, kept.encode(), NOW, 0)
    rosters.save(connection, MIA, RosterItem(CHAT, f"#1 {WORDS}", "both"))
    queues.subscribe(connection, question.queue_id, PAT, NOW)
    return question


def test_forget_deletes_the_words_and_links_of_a_patron_everywhere_at_once(tmp_path: Path) -> None:
    path = tmp_path / "refserver.sqlite"
    database = Database.open(path)
    database.write_now(set_up)
    question = database.write_now(scattered)
    assert "canary" in database.read_now(everything)
    forgotten = database.write_now(privacy.forget_patron, PAT, NOW + 60)
    assert ((question.id,), 3) == (tuple(each.id for each in forgotten.ended), forgotten.messages)
    assert database.empty_log_now()
    held = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    database.close_now()
    assert b"canary" not in held
    assert question.pseudonym.encode() not in held


def test_forget_ends_an_open_question_and_counts_it(connection: Connection) -> None:
    question = scattered(connection)
    privacy.forget_patron(connection, PAT, NOW + 60)
    counted = statistics.of(connection, question.id)
    assert counted is not None
    assert ("abandoned", 1, 1) == (counted.outcome, counted.patron_messages, counted.staff_messages)
    assert ask(connection).new


def test_forget_leaves_others_alone(connection: Connection) -> None:
    other = ask(connection, JID.parse("sam@patrons.example"), "other words").question
    offline.store(connection, MIA, b"<message from='ask+11@library.example/queue'/>", NOW, 0)
    privacy.forget_patron(connection, PAT, NOW)
    assert ["other words"] == [said.body for said in conversations.of(connection, other.id)]
    assert 1 == offline.count(connection, MIA)


@pytest.mark.parametrize("where", [None, JID.parse("library.example"), ASK])
def test_purge_deletes_what_was_said_in_ended_questions(connection: Connection, where: JID | None) -> None:
    old, young = closed(connection), closed(connection, now=NOW + DAY)
    still_open = ask(connection, JID.parse("sam@patrons.example")).question
    assert 2 == privacy.purge_transcripts(connection, where, NOW + 1)
    assert 0 == privacy.purge_transcripts(connection, where, NOW + 1)
    left = [len(conversations.of(connection, question.id)) for question in (old, young, still_open)]
    assert [0, 2, 1] == left
    assert PAT == questions.get(connection, old.id).patron


def test_purge_of_another_library_deletes_nothing(connection: Connection) -> None:
    closed(connection)
    assert 0 == privacy.purge_transcripts(connection, JID.parse("other.example"), NOW + DAY)


# -- what ends with an account or a queue --------------------------------------------


def test_the_end_of_a_librarians_account_ends_her_offices(connection: Connection) -> None:
    question = ask(connection).question
    answering.claim(connection, question.id, MIA, NOW)
    changed = offices.end_offices(connection, MIA, NOW + 60)
    assert ["library.example"] == [event.domain for event in changed]
    assert [] == queues.librarians_of(connection, question.queue_id)
    released = questions.get(connection, question.id)
    assert ("waiting", None) == (released.state, released.owner)


def test_what_is_offered_or_handed_to_a_librarian_who_leaves_is_not_hers_any_more(
    connection: Connection,
) -> None:
    noa = JID.parse("noa@library.example")
    offered, handed = (ask(connection, JID.parse(f"{name}@patrons.example")).question for name in ("a", "b"))
    queues.put_librarian(connection, offered.queue_id, queues.Librarian(noa, "noa", 3))
    answering.offer(connection, offered.id, MIA, NOW)
    answering.claim(connection, handed.id, noa, NOW)
    answering.hand_over(connection, handed.id, noa, "mia")
    offices.end_offices(connection, MIA, NOW + 60)
    assert questions.get(connection, offered.id).offered_to is None
    assert (noa, None) == (lambda kept: (kept.owner, kept.handed_to))(questions.get(connection, handed.id))


def test_who_gets_a_patrons_address_next_inherits_no_question(connection: Connection) -> None:
    question = ask(connection).question
    queues.subscribe(connection, question.queue_id, PAT, NOW)
    offices.end_offices(connection, PAT, NOW + 60)
    assert set() == queues.subscribers(connection, question.queue_id)
    assert "abandoned" == questions.get(connection, question.id).state
    assert ask(connection).new


def test_a_removed_queue_leaves_no_question_open_in_the_statistics(connection: Connection) -> None:
    question = ask(connection).question
    offices.remove_queue(connection, question.queue_id, NOW + 60)
    counted = statistics.of(connection, question.id)
    assert counted is not None
    assert "abandoned" == counted.outcome


# -- the clock ---------------------------------------------------------------------


def test_a_clock_that_is_set_back_makes_no_negative_figure(connection: Connection) -> None:
    question = ask(connection).question
    answering.claim(connection, question.id, MIA, NOW - 3600)
    answering.answer(connection, question.id, MIA, Utterance("Upstairs."), NOW - 7200)
    answering.answer(connection, question.id, MIA, Utterance("On the left."), NOW - 7300)
    closing.close(connection, question.id, MIA, NOW - 7400, level=1)
    counted = statistics.of(connection, question.id)
    assert counted is not None
    assert (0.0, 0.0) == (counted.wait, counted.duration)
    assert min(counted.gaps, default=0.0) >= 0.0
