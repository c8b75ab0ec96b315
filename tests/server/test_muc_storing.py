"""Storing rooms: the order of storing and telling, bounds, accounts that end, the server that stops."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from refserver import ns
from refserver.jid import JID
from refserver.storage import rooms as store
from tests.server.harness import Client
from tests.server.rooms import INSTANT, ROOM, Rooms, admin, enter, line, say, seen

SERVICE = "rooms.library.example"
PERSISTENT = (
    f"<query xmlns='{ns.MUC_OWNER}'><x xmlns='jabber:x:data' type='submit'>"
    "<field var='muc#roomconfig_persistentroom'><value>1</value></field></x></query>"
)


@pytest.fixture
def rooms() -> Rooms:
    return Rooms()


def stored_messages(rooms: Rooms) -> int:
    return len(rooms.server.database.read_now(store.history, JID.parse(ROOM), 1000))


def make(client: Client, name: str, form: str = PERSISTENT) -> str:
    """Make a room, configure it, leave it; what the service says to it."""
    room = f"{name}@{SERVICE}"
    enter(client, "nick", room)
    answers = [line(stanza) for stanza in client.received() if stanza.type == "error"]
    if not answers:
        answer = client.ask("set", form, to=room)
        answers = [] if answer.type == "result" else [line(answer)]
    client.send(f"<presence type='unavailable' to='{room}/nick'/>")
    client.received()
    return "".join(answers)


# -- history -------------------------------------------------------------------


def test_stored_history_is_no_longer_than_the_room_allows(rooms: Rooms) -> None:
    rooms.configure(persistentroom="1")
    for number in range(50):
        say(rooms.ann, str(number))
    assert stored_messages(rooms) == 20


def test_a_lower_limit_of_history_holds_for_what_is_stored(rooms: Rooms) -> None:
    rooms.configure(persistentroom="1")
    for number in range(5):
        say(rooms.ann, str(number))
    for limit in (2, 0):
        field = f"<field var='muc#maxhistoryfetch'><value>{limit}</value></field>"
        form = f"<x xmlns='jabber:x:data' type='submit'>{field}</x>"
        rooms.ann.ask("set", f"<query xmlns='{ns.MUC_OWNER}'>{form}</query>", to=ROOM)
        assert stored_messages(rooms) == limit
    say(rooms.ann, "not kept")
    assert stored_messages(rooms) == 0


def test_history_is_bounded_in_bytes_too(rooms: Rooms) -> None:
    rooms.configure(persistentroom="1")
    for _ in range(12):
        say(rooms.ann, "x" * 100_000)
    assert stored_messages(rooms) == 10
    bob = rooms.client("bob")
    enter(bob, "bob")
    assert sum(bool(stanza.body) for stanza in bob.received()) == 10


# -- changes -------------------------------------------------------------------


def test_nobody_enters_on_an_affiliation_that_is_not_stored_yet(rooms: Rooms) -> None:
    rooms.configure(persistentroom="1", membersonly="1")
    bob = rooms.client("bob")
    with rooms.server.holding():
        member = "<item jid='bob@library.example' affiliation='member'/>"
        rooms.ann.send(
            f"<iq type='set' id='m' to='{ROOM}'><query xmlns='{ns.MUC_ADMIN}'>{member}</query></iq>"
        )
        enter(bob, "bob")
        say(bob, "hello")
        assert seen(bob) == []
        assert rooms.ann.received() == []
    assert seen(bob)[-1] == "bob: hello"
    assert [stanza.type for stanza in rooms.ann.received() if stanza.kind == "iq"] == ["result"]


def test_a_change_that_could_not_be_stored_is_not_made(rooms: Rooms, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    rooms.configure(persistentroom="1")
    bob = rooms.inside("bob")
    monkeypatch.setattr(store, "set_affiliation", fail)
    answer = admin(rooms.ann, "<item jid='bob@library.example' affiliation='outcast'/>")
    assert line(answer) == "error internal-server-error"
    say(bob, "still here")
    assert seen(bob) == ["bob: still here"]


def test_a_room_whose_owners_account_ends_while_it_is_stored_does_not_come_back(rooms: Rooms) -> None:
    server = rooms.server

    def publish(events: Iterable[object]) -> None:
        for event in events:
            server.core.hooks.tell(event)

    with server.holding():
        removing = server.database.write(server.core.remove_account, JID.parse("ann@library.example"), 0.0)
        removing.addCallback(publish)
        rooms.ann.send(f"<iq type='set' id='c' to='{ROOM}'>{PERSISTENT}</iq>")
    assert rooms.service.room(JID.parse(ROOM)) is None
    assert rooms.restarted()[1].room(JID.parse(ROOM)) is None


# -- how many ------------------------------------------------------------------


def test_one_account_makes_only_so_many_persistent_rooms(rooms: Rooms) -> None:
    bob = rooms.client("bob")
    assert [make(bob, f"r{number}") for number in range(21)] == [""] * 20 + ["error resource-constraint"]
    assert make(bob, "temporary", INSTANT) == ""
    assert make(rooms.client("cid"), "his") == ""


def test_rooms_that_are_being_stored_count(rooms: Rooms) -> None:
    bob = rooms.client("bob")
    for number in range(19):
        make(bob, f"r{number}")
    for number in (19, 20):
        enter(bob, "bob", f"r{number}@{SERVICE}")
    with rooms.server.holding():
        for number in (19, 20):
            bob.send(f"<iq type='set' id='c{number}' to='r{number}@{SERVICE}'>{PERSISTENT}</iq>")
    stored = rooms.server.database.read_now(store.load_rooms, SERVICE)
    assert sum(room.creator == bob.jid.bare for room in stored) == 20


def test_rooms_given_away_still_count(rooms: Rooms) -> None:
    bob = rooms.client("bob")
    for number in range(20):
        make(bob, f"r{number}")
        gift = f"<query xmlns='{ns.MUC_ADMIN}'><item jid='x@evil.example' affiliation='owner'/></query>"
        assert bob.ask("set", gift, to=f"r{number}@{SERVICE}").type == "result"
        gift = gift.replace("x@evil.example", "bob@library.example").replace("'owner'", "'none'")
        assert bob.ask("set", gift, to=f"r{number}@{SERVICE}").type == "result"
    assert make(bob, "another") == "error resource-constraint"


def test_one_account_has_only_so_many_temporary_rooms_at_a_time(rooms: Rooms) -> None:
    bob = rooms.client("bob")
    for number in range(20):
        enter(bob, "bob", f"t{number}@{SERVICE}")
    bob.received()
    enter(bob, "bob", f"more@{SERVICE}")
    assert seen(bob) == ["error resource-constraint"]


# -- ends ----------------------------------------------------------------------


def test_an_account_that_ends_takes_its_rooms_along(rooms: Rooms) -> None:
    rooms.configure(persistentroom="1")
    bob = rooms.inside("bob")
    rooms.server.remove_account("ann@library.example")
    assert seen(bob) == ["bob out: none none [110]"]
    _, again = rooms.restarted()
    assert again.room(JID.parse(ROOM)) is None


def test_the_next_owner_of_a_name_owns_nothing_of_the_last_ones(rooms: Rooms) -> None:
    rooms.configure(persistentroom="1", membersonly="1")
    admin(rooms.ann, "<item jid='bob@library.example' affiliation='owner'/>")
    rooms.server.remove_account("ann@library.example")
    for service in (rooms.service, rooms.restarted()[1]):
        room = service.room(JID.parse(ROOM))
        assert room is not None
        assert room.affiliation(JID.parse("ann@library.example")).word == "none"
        assert room.affiliation(JID.parse("bob@library.example")).word == "owner"


def test_a_ban_outlives_the_account(rooms: Rooms) -> None:
    rooms.configure(persistentroom="1")
    bob = rooms.client("bob")
    admin(rooms.ann, "<item jid='bob@library.example' affiliation='outcast'/>")
    rooms.server.remove_account("bob@library.example")
    bob.end()
    bob = rooms.client("bob")
    enter(bob, "bob")
    assert seen(bob) == ["error forbidden"]


def test_occupants_are_told_that_the_server_stops(rooms: Rooms) -> None:
    bob = rooms.inside("bob")
    rooms.server.arrive(
        f"<presence from='cid@far.example/x' to='{ROOM}/cid'><x xmlns='{ns.MUC}'/></presence>"
    )
    bob.received()
    rooms.server.elsewhere.told()
    rooms.service.stop()
    assert seen(bob) == ["bob out: none none [110, 332]"]
    assert [line(stanza) for stanza in rooms.server.elsewhere.received()] == ["cid out: none none [110, 332]"]
    bob.send(f"<presence type='unavailable' to='{ROOM}/bob'/>")
    assert seen(bob) == []
    enter(bob, "bob")
    assert seen(bob) == ["error service-unavailable"]
