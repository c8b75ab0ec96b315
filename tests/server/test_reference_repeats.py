"""Clients that use a stanza id again, and clients that repeat a stanza."""

from __future__ import annotations

import pytest

from refserver import ns
from tests.server.harness import Client
from tests.server.library import ASK, ROOM, Library, bodies, chat, write

RECEIPT = f"<request xmlns='{ns.RECEIPTS}'/>"
MAPS, GLOBES = "Where are the maps?", "And the globes?"


@pytest.fixture
def library() -> Library:
    return Library()


def receipts(client: Client) -> int:
    return sum(stanza.child(ns.RECEIPTS, "received") is not None for stanza in client.received())


def test_a_client_that_counts_its_ids_from_one_asks_two_questions(library: Library) -> None:
    pat, mia = library.patron(), library.on_duty("mia")
    write(pat, ASK.text, MAPS, "1", RECEIPT)
    mia.send(f"<message to='{ROOM}' type='groupchat'><body>!1</body></message>")
    write(mia, chat(1), "!close 1")
    write(pat, ASK.text, GLOBES, "1", RECEIPT)
    assert [("patron", GLOBES)] == library.said(2)
    assert 2 == receipts(pat)


def test_new_words_with_an_old_id_are_new_words(library: Library) -> None:
    pat = library.patron()
    for words in (MAPS, GLOBES):
        write(pat, ASK.text, words, "1", RECEIPT)
    assert [("patron", MAPS), ("patron", GLOBES)] == library.said()
    assert 2 == receipts(pat)


def test_a_repeated_stanza_gets_its_receipt_again_and_is_kept_once(library: Library) -> None:
    pat = library.patron()
    for _ in range(2):
        write(pat, ASK.text, MAPS, "1", RECEIPT)
    assert [("patron", MAPS)] == library.said()
    assert 2 == receipts(pat)


def test_the_same_words_with_the_same_id_are_new_after_some_minutes(library: Library) -> None:
    pat = library.patron()
    write(pat, ASK.text, "Hello?", "1")
    library.clock.advance(601)
    write(pat, ASK.text, "Hello?", "1")
    assert [("patron", "Hello?")] * 2 == library.said()


def test_the_same_words_with_the_same_id_are_a_new_question_once_the_old_one_has_ended(
    library: Library,
) -> None:
    pat = library.patron()
    write(pat, ASK.text, "Hello?", "1")
    write(pat, ASK.text, "bye", "2")
    write(pat, ASK.text, "Hello?", "1")
    assert [("patron", "Hello?")] == library.said(2)


def test_words_of_an_ended_question_are_no_new_one_if_a_crash_may_have_taken_their_receipt(
    library: Library,
) -> None:
    pat = library.patron()
    write(pat, ASK.text, "Hello?", "1", RECEIPT)
    write(pat, ASK.text, "bye", "2")
    library.clock.advance(5)
    again = library.restart()
    pat = again.patron()
    write(pat, ASK.text, "Hello?", "1", RECEIPT)
    assert 1 == receipts(pat)
    assert again.open_question(pat.jid.bare) is None
    write(pat, ASK.text, "Are you there?", "1")
    assert [("patron", "Are you there?")] == again.said(2)


def test_a_librarians_client_that_uses_an_id_again_answers_and_notes_each_time(library: Library) -> None:
    pat, mia = library.patron(), library.on_duty("mia")
    write(pat, ASK.text, MAPS)
    for words in ("Upstairs.", "Upstairs.", "On the left.", "!note likes maps", "!note and globes"):
        write(mia, chat(), words, "1")
    assert ["Upstairs.", "On the left."] == bodies(pat)[-2:]
    assert [("note", "likes maps"), ("note", "and globes")] == library.said()[-2:]
