"""Queues, their staff, canned replies, subscribers and settings in the store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from attrs import evolve

from refserver.jid import JID
from refserver.reference.settings import HoursError, Policy, Settings, SettingsError
from refserver.storage import Database, NoSuchLibrary, libraries, queues
from refserver.storage.queues import Librarian, NickTaken, NoSuchQueue, QueueExists

ASK = JID.parse("ask@library.example")
MIA = Librarian(JID.parse("mia@library.example"), "mia", 3)
NOA = Librarian(JID.parse("noa@elsewhere.example"), "noa", 1)


@pytest.fixture
def database() -> Iterator[Database]:
    database = Database.memory()
    database.write_now(libraries.add, "library.example", "Library")
    yield database
    database.close_now()


def test_a_queue_is_found_by_its_address(database: Database) -> None:
    made = database.write_now(
        queues.add, ASK, title="Ask us", language="de", hours="Mon 09:00-10:00", settings={"practice": True}
    )
    assert database.read_now(queues.find, ASK) == made
    assert (made.jid, made.title, made.language, made.hours) == (ASK, "Ask us", "de", "Mon 09:00-10:00")
    assert made.settings == {"practice": True}
    assert database.read_now(queues.find, JID.parse("ask@other.example")) is None


def test_an_address_is_given_once_and_only_in_a_library(database: Database) -> None:
    database.write_now(queues.add, ASK)
    with pytest.raises(QueueExists):
        database.write_now(queues.add, ASK)
    with pytest.raises(NoSuchLibrary):
        database.write_now(queues.add, JID.parse("ask@nowhere.example"))


def test_a_queue_can_be_set_up_anew_and_removed(database: Database) -> None:
    queue = database.write_now(queues.add, ASK)
    changed = evolve(queue, title="Desk", settings={"offer_seconds": 10})
    database.write_now(queues.set_up, changed)
    assert database.read_now(queues.all_queues) == [changed]
    assert database.read_now(queues.all_queues, "other.example") == []
    database.write_now(queues.remove, ASK)
    assert database.read_now(queues.all_queues) == []
    with pytest.raises(NoSuchQueue):
        database.write_now(queues.remove, ASK)
    with pytest.raises(NoSuchQueue):
        database.write_now(queues.set_up, queue)


def test_librarians_have_nicks_of_their_own(database: Database) -> None:
    queue = database.write_now(queues.add, ASK).id
    database.write_now(queues.put_librarian, queue, MIA)
    database.write_now(queues.put_librarian, queue, NOA)
    assert database.read_now(queues.librarians_of, queue) == [MIA, NOA]
    with pytest.raises(NickTaken):
        database.write_now(queues.put_librarian, queue, evolve(NOA, nick="mia"))
    changed = evolve(MIA, max_chats=5)
    database.write_now(queues.put_librarian, queue, changed)
    assert database.read_now(queues.librarian, queue, MIA.jid) == changed


def test_a_librarian_may_work_at_several_queues(database: Database) -> None:
    first = database.write_now(queues.add, ASK)
    other = database.write_now(queues.add, JID.parse("maps@library.example"))
    database.write_now(queues.put_librarian, first.id, MIA)
    database.write_now(queues.put_librarian, other.id, evolve(MIA, nick="maria"))
    desks = database.read_now(queues.desks_of, MIA.jid)
    assert [(queue.jid, librarian.nick) for queue, librarian in desks] == [
        (first.jid, "mia"),
        (other.jid, "maria"),
    ]
    assert database.write_now(queues.remove_librarian, first.id, MIA.jid)
    assert not database.write_now(queues.remove_librarian, first.id, MIA.jid)
    assert database.read_now(queues.librarian, first.id, MIA.jid) is None
    assert len(database.read_now(queues.desks_of, MIA.jid)) == 1


def test_canned_replies(database: Database) -> None:
    queue = database.write_now(queues.add, ASK).id
    database.write_now(queues.put_canned, queue, "hours", "Nine to five.")
    database.write_now(queues.put_canned, queue, "fees", "None.")
    database.write_now(queues.put_canned, queue, "hours", "Ten to five.")
    assert database.read_now(queues.canned, queue) == {"fees": "None.", "hours": "Ten to five."}
    assert database.write_now(queues.remove_canned, queue, "fees")
    assert not database.write_now(queues.remove_canned, queue, "fees")


def test_subscribers(database: Database) -> None:
    queue = database.write_now(queues.add, ASK).id
    pat = JID.parse("pat@home.example")
    database.write_now(queues.subscribe, queue, pat, 1.0)
    database.write_now(queues.subscribe, queue, pat, 2.0)
    assert database.read_now(queues.subscribers, queue) == {pat}
    assert database.write_now(queues.unsubscribe, queue, pat)
    assert not database.write_now(queues.unsubscribe, queue, pat)


def test_settings_have_defaults_and_only_the_rest_is_kept() -> None:
    settings = Settings.of({"dispatch": "round-robin", "retention_days": 30, "offer_seconds": 30})
    assert (settings.dispatch, settings.undo_seconds) == (Policy.ROUND_ROBIN, 86400)
    assert settings.to_json() == {"dispatch": "round-robin", "retention_days": 30}
    assert Settings.of(settings.to_json()) == settings


def test_words_are_never_kept_shorter_than_the_undo_window() -> None:
    assert Settings.of({"undo_hours": 48}).retention_seconds == 48 * 3600


@pytest.mark.parametrize(
    "values, named",
    [
        ({"dispatsch": "everyone"}, "dispatsch"),
        ({"dispatch": "nobody"}, "dispatch"),
        ({"offer_seconds": -1}, "offer_seconds"),
        ({"undo_hours": "soon"}, "undo_hours"),
    ],
)
def test_impossible_settings_are_refused_by_name(values: dict[str, object], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        Settings.of(values)


def test_an_unknown_time_zone_is_refused() -> None:
    with pytest.raises(HoursError):
        Settings.of({"time_zone": "Mars/Base"})
