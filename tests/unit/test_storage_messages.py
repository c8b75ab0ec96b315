"""Offline messages and rooms: order, bounds, and ids that are never used twice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection

from refserver.jid import JID
from refserver.storage import NoSuchAccount, NoSuchRoom, accounts, libraries, offline, rooms, schema, sqlite
from refserver.storage.rooms import Affiliate, Affiliation, StoredRoom, Subject

PAT = JID.parse("pat@library.example")
MIA = JID.parse("mia@library.example")
DESK = JID.parse("ask@rooms.library.example")
OTHER = JID.parse("other@rooms.library.example")


@pytest.fixture
def connection() -> Iterator[Connection]:
    """A database with two accounts and a room."""
    engine = sqlite.memory_engine()
    schema.metadata.create_all(engine)
    with engine.begin() as connection:
        libraries.add(connection, "library.example", "A Library")
        accounts.add(connection, PAT, {}, 1.0)
        accounts.add(connection, MIA, {}, 1.0)
        rooms.save_room(connection, DESK, {"title": "Desk"})
        yield connection
    engine.dispose()


def test_offline_messages_come_back_in_order_and_only_to_their_account(connection: Connection) -> None:
    for number in range(3):
        assert offline.store(connection, PAT, b"<message>%d</message>" % number, 5.0 - number, 10)
    offline.store(connection, MIA, b"hers", 1.0, 10)
    kept = offline.fetch(connection, PAT)
    assert [(message.received_at, message.stanza) for message in kept] == [
        (5.0, b"<message>0</message>"),
        (4.0, b"<message>1</message>"),
        (3.0, b"<message>2</message>"),
    ]
    assert offline.count(connection, PAT) == 3


def test_a_full_store_keeps_what_it_has(connection: Connection) -> None:
    assert offline.store(connection, PAT, b"1", 1.0, 2)
    assert offline.store(connection, PAT, b"2", 1.0, 2)
    assert not offline.store(connection, PAT, b"3", 1.0, 2)
    assert [message.stanza for message in offline.fetch(connection, PAT)] == [b"1", b"2"]
    assert offline.store(connection, MIA, b"1", 1.0, 2)


def test_without_a_limit_nothing_is_refused(connection: Connection) -> None:
    assert all(offline.store(connection, PAT, b"x", 1.0, 0) for _ in range(50))


def test_only_the_messages_named_are_deleted(connection: Connection) -> None:
    for number in range(4):
        offline.store(connection, PAT, b"%d" % number, 1.0, 0)
    offline.store(connection, MIA, b"hers", 1.0, 0)
    first, _, third, _ = offline.fetch(connection, PAT)
    (hers,) = offline.fetch(connection, MIA)
    offline.delete(connection, PAT, [first.id, third.id, hers.id])
    assert [message.stanza for message in offline.fetch(connection, PAT)] == [b"1", b"3"]
    assert offline.count(connection, MIA) == 1


def test_deleting_twice_never_deletes_a_newer_message(connection: Connection) -> None:
    offline.store(connection, PAT, b"old", 1.0, 0)
    ids = [message.id for message in offline.fetch(connection, PAT)]
    offline.delete(connection, PAT, ids)
    offline.store(connection, PAT, b"new", 2.0, 0)
    offline.delete(connection, PAT, ids)
    assert [message.stanza for message in offline.fetch(connection, PAT)] == [b"new"]


def test_nothing_is_kept_for_an_account_that_is_not_there(connection: Connection) -> None:
    with pytest.raises(NoSuchAccount):
        offline.store(connection, JID.parse("nobody@library.example"), b"x", 1.0, 0)
    assert offline.fetch(connection, JID.parse("nobody@library.example")) == []
    assert offline.count(connection, JID.parse("nobody@library.example")) == 0


def test_a_room_comes_back_as_it_was_left(connection: Connection) -> None:
    rooms.save_room(connection, DESK, {"title": "Desk ✓", "members_only": True, "max": 20})
    rooms.set_subject(connection, DESK, Subject("Welcome", "mia", 7.5))
    rooms.set_affiliation(connection, DESK, MIA, Affiliate(Affiliation.OWNER, "mia", "runs it"))
    rooms.set_affiliation(connection, DESK, PAT, Affiliate(Affiliation.OUTCAST))
    rooms.save_room(connection, OTHER, {})
    assert rooms.load_rooms(connection, "rooms.library.example") == [
        StoredRoom(
            DESK,
            {"title": "Desk ✓", "members_only": True, "max": 20},
            Subject("Welcome", "mia", 7.5),
            {MIA: Affiliate(Affiliation.OWNER, "mia", "runs it"), PAT: Affiliate(Affiliation.OUTCAST)},
        ),
        StoredRoom(OTHER, {}, None, {}),
    ]
    assert rooms.load_rooms(connection, "rooms.other.example") == []


def test_an_affiliation_is_changed_and_taken_away(connection: Connection) -> None:
    rooms.set_affiliation(connection, DESK, MIA, Affiliate(Affiliation.MEMBER))
    rooms.set_affiliation(connection, DESK, MIA, Affiliate(Affiliation.ADMIN))
    rooms.set_affiliation(connection, DESK, PAT, Affiliate(Affiliation.MEMBER))
    rooms.set_affiliation(connection, DESK, PAT, Affiliate(Affiliation.NONE))
    (room,) = rooms.load_rooms(connection, "rooms.library.example")
    assert room.affiliates == {MIA: Affiliate(Affiliation.ADMIN)}


def test_a_new_configuration_leaves_subject_affiliations_and_history(connection: Connection) -> None:
    rooms.set_subject(connection, DESK, Subject("Welcome", "mia", 7.5))
    rooms.set_affiliation(connection, DESK, MIA, Affiliate(Affiliation.OWNER))
    rooms.append_history(connection, DESK, 1.0, b"x", 100)
    rooms.save_room(connection, DESK, {"title": "new"})
    (room,) = rooms.load_rooms(connection, "rooms.library.example")
    assert room == StoredRoom(
        DESK, {"title": "new"}, Subject("Welcome", "mia", 7.5), {MIA: Affiliate(Affiliation.OWNER)}
    )
    assert rooms.history(connection, DESK, 10) == [(1.0, b"x")]


def test_history_is_the_newest_messages_oldest_first(connection: Connection) -> None:
    rooms.save_room(connection, OTHER, {})
    for number in range(5):
        rooms.append_history(connection, DESK, float(number), b"%d" % number, 100)
        rooms.append_history(connection, OTHER, float(number), b"other", 100)
    assert rooms.history(connection, DESK, 2) == [(3.0, b"3"), (4.0, b"4")]


def test_trimming_keeps_the_newest_of_one_room(connection: Connection) -> None:
    rooms.save_room(connection, OTHER, {})
    for number in range(5):
        rooms.append_history(connection, DESK, float(number), b"%d" % number, 100)
        rooms.append_history(connection, OTHER, float(number), b"other", 100)
    rooms.trim_history(connection, DESK, 3)
    assert [stanza for _, stanza in rooms.history(connection, DESK, 10)] == [b"2", b"3", b"4"]
    rooms.trim_history(connection, DESK, 3)
    assert len(rooms.history(connection, DESK, 10)) == 3
    assert len(rooms.history(connection, OTHER, 10)) == 5
    rooms.trim_history(connection, DESK, 0)
    assert rooms.history(connection, DESK, 10) == []


def test_a_deleted_room_leaves_nothing(connection: Connection) -> None:
    rooms.set_affiliation(connection, DESK, MIA, Affiliate(Affiliation.OWNER))
    rooms.append_history(connection, DESK, 1.0, b"x", 100)
    rooms.delete_room(connection, DESK)
    rooms.delete_room(connection, DESK)
    for table in ("rooms", "room_affiliations", "room_history"):
        assert connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one() == 0


def test_a_room_that_is_not_there_keeps_nothing(connection: Connection) -> None:
    with pytest.raises(NoSuchRoom):
        rooms.set_subject(connection, OTHER, Subject("x", "y", 1.0))
    with pytest.raises(NoSuchRoom):
        rooms.set_affiliation(connection, OTHER, MIA, Affiliate(Affiliation.OWNER))
    with pytest.raises(NoSuchRoom):
        rooms.append_history(connection, OTHER, 1.0, b"x", 100)
