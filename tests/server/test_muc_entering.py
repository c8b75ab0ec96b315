"""Entering, leaving, nicknames and presence in rooms (XEP-0045 7.1, 7.2, 7.6, 7.7, 7.14)."""

from __future__ import annotations

import pytest

from refserver import ns
from refserver.jid import JID
from tests.server.library import DOMAIN, Library
from tests.server.library import ROOM as DESK
from tests.server.rooms import INSTANT, ROOM, Rooms, admin, enter, leave, line, say, seen


@pytest.fixture
def rooms() -> Rooms:
    return Rooms()


def test_who_enters_first_sees_those_there_then_herself_then_the_subject(rooms: Rooms) -> None:
    bob = rooms.client("bob")
    enter(bob, "bob")
    assert seen(bob) == ["ann in: owner moderator", "bob in: none participant [110]", "subject: "]
    assert seen(rooms.ann) == ["bob in: none participant"]


def test_a_new_room_is_locked_until_its_owner_has_configured_it(rooms: Rooms) -> None:
    bob, cid = rooms.client("bob"), rooms.client("cid")
    new = "new@rooms.library.example"
    enter(bob, "bob", new)
    assert seen(bob)[0] == "bob in: owner moderator [110, 201]"
    enter(cid, "cid", new)
    assert seen(cid) == ["error item-not-found"]
    assert bob.ask("set", INSTANT, to=new).type == "result"
    enter(cid, "cid", new)
    assert seen(cid)[0] == "bob in: owner moderator"


def test_cancelling_the_first_configuration_destroys_the_room(rooms: Rooms) -> None:
    bob = rooms.client("bob")
    new = "new@rooms.library.example"
    enter(bob, "bob", new)
    cancel = f"<query xmlns='{ns.MUC_OWNER}'><x xmlns='jabber:x:data' type='cancel'/></query>"
    assert bob.ask("set", cancel, to=new).type == "result"
    assert seen(bob)[-1] == "bob out: owner none [110]"
    assert rooms.service.room(JID.parse(new)) is None


def test_people_of_other_libraries_make_no_rooms_here(rooms: Rooms) -> None:
    stranger = rooms.client("eve", "other.example")
    enter(stranger, "eve", "new@rooms.library.example")
    assert seen(stranger) == ["error not-allowed"]


@pytest.mark.parametrize(
    ("address", "inner", "error"),
    [
        (ROOM, f"<x xmlns='{ns.MUC}'/>", "jid-malformed"),
        (f"{ROOM}/bob", "", "not-acceptable"),
        (f"{ROOM}/ann", f"<x xmlns='{ns.MUC}'/>", "conflict"),
        (f"{ROOM}/ANN", f"<x xmlns='{ns.MUC}'/>", "conflict"),
        (f"{ROOM}/ａｎｎ", f"<x xmlns='{ns.MUC}'/>", "conflict"),
        (f"{ROOM}/ann ", f"<x xmlns='{ns.MUC}'/>", "conflict"),
        (f"{ROOM}/  ", f"<x xmlns='{ns.MUC}'/>", "not-acceptable"),
        ("new@rooms.library.example/ ", f"<x xmlns='{ns.MUC}'/>", "not-acceptable"),
    ],
    ids=[
        "no nick",
        "no <x/>",
        "taken nick",
        "taken in capitals",
        "taken, in full width",
        "taken, with a space",
        "spaces",
        "spaces, in a new room",
    ],
)
def test_who_cannot_enter_so_is_told_why(rooms: Rooms, address: str, inner: str, error: str) -> None:
    bob = rooms.client("bob")
    bob.send(f"<presence to='{address}'>{inner}</presence>")
    assert seen(bob) == [f"error {error}"]
    assert seen(rooms.ann) == []


def test_a_members_only_room_is_closed_to_others(rooms: Rooms) -> None:
    rooms.configure(membersonly="1")
    bob = rooms.client("bob")
    enter(bob, "bob")
    assert seen(bob) == ["error registration-required"]
    assert admin(rooms.ann, "<item jid='bob@library.example' affiliation='member'/>").type == "result"
    enter(bob, "bob")
    assert "bob in: member participant [110]" in seen(bob)


def test_who_does_not_know_the_password_stays_outside(rooms: Rooms) -> None:
    rooms.configure(roomsecret="cauldron")
    bob = rooms.client("bob")
    enter(bob, "bob")
    enter(bob, "bob", inner="<password>kettle</password>")
    assert seen(bob) == ["error not-authorized"] * 2
    enter(bob, "bob", inner="<password>cauldron</password>")
    assert "bob in: none participant [110]" in seen(bob)


def test_an_outcast_is_forbidden_to_enter(rooms: Rooms) -> None:
    admin(rooms.ann, "<item jid='bob@library.example' affiliation='outcast'/>")
    bob = rooms.client("bob")
    enter(bob, "bob")
    assert seen(bob) == ["error forbidden"]


def test_a_nick_reserved_for_a_member_is_not_given_to_another(rooms: Rooms) -> None:
    admin(rooms.ann, "<item jid='bob@library.example' affiliation='member' nick='bobby'/>")
    cid = rooms.client("cid")
    enter(cid, "bobby")
    assert seen(cid) == ["error conflict"]


def test_a_reserved_nick_is_its_owners_in_whatever_case(rooms: Rooms) -> None:
    admin(rooms.ann, "<item jid='bob@library.example' affiliation='member' nick='Bobby'/>")
    bob, cid, dee = rooms.client("bob"), rooms.inside("cid"), rooms.client("dee")
    for nick in ("bobby", "ＢＯＢＢＹ", "Bobby "):
        enter(dee, nick)
        assert seen(dee) == ["error conflict"]
        cid.send(f"<presence to='{ROOM}/{nick}'/>")
        assert seen(cid) == ["error conflict"]
    enter(bob, "BOBBY")
    assert "BOBBY in: member participant [110]" in seen(bob)
    enter(phone := rooms.server.online("bob@library.example/phone"), "bobby")
    assert "BOBBY in: member participant [110, 210]" in seen(phone)


def test_a_nick_is_reserved_for_one_account(rooms: Rooms) -> None:
    item = "<item jid='%s@library.example' affiliation='member' nick='%s'/>"
    assert admin(rooms.ann, item % ("bob", "tea")).type == "result"
    assert line(admin(rooms.ann, item % ("cid", "TEA"))) == "error conflict"
    assert line(admin(rooms.ann, item % ("cid", "  "))) == "error not-acceptable"


def test_a_reservation_stays_when_an_item_does_not_name_the_nick(rooms: Rooms) -> None:
    admin(rooms.ann, "<item jid='bob@library.example' affiliation='member' nick='bobby'/>")
    admin(rooms.ann, "<item jid='bob@library.example' affiliation='admin'/>")
    cid = rooms.client("cid")
    enter(cid, "bobby")
    assert seen(cid) == ["error conflict"]
    admin(rooms.ann, "<item jid='bob@library.example' affiliation='admin' nick=''/>")
    enter(cid, "bobby")
    assert "bobby in: none participant [110]" in seen(cid)


def test_who_is_alone_and_enters_under_another_nick_stays_in_the_same_room(rooms: Rooms) -> None:
    enter(rooms.ann, "annie")
    rooms.ann.received()
    bob = rooms.client("bob")
    enter(bob, "bob")
    assert seen(bob)[0] == "annie in: owner moderator"


def test_an_account_may_be_in_a_room_with_two_clients_under_one_nick(rooms: Rooms) -> None:
    bob = rooms.inside("bob")
    phone = rooms.server.online("bob@library.example/phone")
    enter(phone, "bob")
    assert "bob in: none participant [110]" in seen(phone)
    say(rooms.ann, "hello")
    assert "ann: hello" in seen(bob)
    assert "ann: hello" in seen(phone)
    leave(bob, "bob")
    assert seen(rooms.ann)[-1] == "bob in: none participant"
    leave(phone, "bob")
    assert seen(rooms.ann) == ["bob out: none none"]


def test_real_addresses_are_for_moderators_only_unless_the_room_is_not_anonymous(rooms: Rooms) -> None:
    bob, cid = rooms.inside("bob"), rooms.client("cid")

    def shown(client: object) -> list[str | None]:
        items = [
            (line(stanza), item.get("jid"))
            for stanza in client.received()  # type: ignore[attr-defined]
            for item in stanza.element.iter(f"{{{ns.MUC_USER}}}item")
        ]
        return [jid for text, jid in items if text.startswith("cid in")]

    bob.received()
    enter(cid, "cid")
    assert shown(rooms.ann) == ["cid@library.example/desk"]
    assert shown(bob) == [None]
    leave(cid, "cid")
    rooms.configure(whois="anyone")
    bob.received()
    enter(cid, "cid")
    assert shown(bob) == ["cid@library.example/desk"]
    assert "cid in: none participant [100, 110]" in seen(cid)


def test_a_new_nick_is_announced_as_a_departure_with_the_new_nick_and_an_arrival(rooms: Rooms) -> None:
    bob = rooms.inside("bob")
    bob.send(f"<presence to='{ROOM}/robert'/>")
    assert seen(bob) == ["bob out: none participant [110, 303]", "robert in: none participant [110]"]
    told = rooms.ann.received()
    assert [line(stanza) for stanza in told] == [
        "bob out: none participant [303]",
        "robert in: none participant",
    ]
    assert told[0].element.find(f".//{{{ns.MUC_USER}}}item").get("nick") == "robert"  # type: ignore[union-attr]


def test_a_taken_nick_is_refused_and_the_old_one_stays(rooms: Rooms) -> None:
    bob = rooms.inside("bob")
    bob.send(f"<presence to='{ROOM}/Ann'/>")
    assert seen(bob) == ["error conflict"]
    say(bob, "still me")
    assert seen(rooms.ann) == ["bob: still me"]


def test_one_may_change_the_case_of_ones_own_nick(rooms: Rooms) -> None:
    bob = rooms.inside("bob")
    bob.send(f"<presence to='{ROOM}/Bob'/>")
    assert seen(bob)[-1] == "Bob in: none participant [110]"


def test_a_change_of_presence_reaches_everybody_without_forged_room_elements(rooms: Rooms) -> None:
    bob = rooms.inside("bob")
    forged = f"<x xmlns='{ns.MUC_USER}'><item affiliation='owner' role='moderator'/></x>"
    bob.send(f"<presence to='{ROOM}/bob'><show>away</show>{forged}</presence>")
    told = rooms.ann.received()
    assert [line(stanza) for stanza in told] == ["bob in: none participant"]
    assert told[0].element.findtext(f"{{{ns.CLIENT}}}show") == "away"
    assert len(told[0].element.findall(f"{{{ns.MUC_USER}}}x")) == 1


def test_leaving_is_told_to_all_and_to_oneself_with_the_last_words(rooms: Rooms) -> None:
    bob = rooms.inside("bob")
    bob.send(f"<presence type='unavailable' to='{ROOM}/bob'><status>lunch</status></presence>")
    assert seen(bob) == ["bob out: none none [110]"]
    told = rooms.ann.received()
    assert [line(stanza) for stanza in told] == ["bob out: none none"]
    assert told[0].element.findtext(f"{{{ns.CLIENT}}}status") == "lunch"
    say(bob, "am I here?")
    assert seen(bob) == ["error not-acceptable"]


def test_a_broken_connection_leaves_every_room(rooms: Rooms) -> None:
    bob = rooms.inside("bob")
    bob.end()
    assert seen(rooms.ann) == ["bob out: none none"]


def test_a_room_that_is_not_kept_ends_with_its_last_occupant(rooms: Rooms) -> None:
    leave(rooms.ann, "ann")
    assert rooms.service.room(JID.parse(ROOM)) is None


def test_a_kept_room_is_there_after_a_restart_with_its_settings_people_and_history(rooms: Rooms) -> None:
    rooms.configure(persistentroom="1", membersonly="1", roomname="Tea room")
    admin(rooms.ann, "<item jid='bob@library.example' affiliation='member'/>")
    rooms.ann.send(f"<message type='groupchat' to='{ROOM}'><subject>Oolong</subject></message>")
    say(rooms.ann, "the kettle is on")
    again, _ = rooms.restarted()
    bob = again.online("bob@library.example/desk")
    enter(bob, "bob")
    assert seen(bob) == ["bob in: member participant [110]", "ann: the kettle is on", "subject: Oolong"]
    eve = again.online("eve@library.example/desk")
    enter(eve, "eve")
    assert seen(eve) == ["error registration-required"]


@pytest.mark.parametrize(
    ("limit", "heard"),
    [
        ("", ["one", "two", "three"]),
        ("maxstanzas='0'", []),
        ("maxstanzas='2'", ["two", "three"]),
        ("maxchars='0'", []),
        ("seconds='25'", ["two", "three"]),
        ("since='1970-01-01T00:00:00Z'", ["one", "two", "three"]),
        ("since='2099-01-01T00:00:00Z'", []),
        ("maxstanzas='many'", ["one", "two", "three"]),
        ("since='yesterday'", ["one", "two", "three"]),
        (f"seconds='{'9' * 400}'", ["one", "two", "three"]),
        (f"seconds='{'9' * 5000}'", ["one", "two", "three"]),
        (f"maxstanzas='{'9' * 400}' maxchars='{'9' * 400}'", ["one", "two", "three"]),
        ("seconds='-1' maxstanzas='-1' maxchars='-1'", ["one", "two", "three"]),
        (f"maxstanzas='{'0' * 400}1'", ["three"]),
        ("since='0001-01-01T00:00:00+23:59'", ["one", "two", "three"]),
    ],
)
def test_a_newcomer_gets_as_much_history_as_it_asks_for(rooms: Rooms, limit: str, heard: list[str]) -> None:
    for word in ("one", "two", "three"):
        say(rooms.ann, word)
        rooms.server.clock.advance(10)
    bob = rooms.client("bob")
    enter(bob, "bob", inner=f"<history {limit}/>" if limit else "")
    told = [stanza for stanza in bob.received() if stanza.body]
    assert [stanza.body for stanza in told] == heard
    assert all(stanza.child(ns.DELAY, "delay") is not None for stanza in told)


# -- the desk of a queue -----------------------------------------------------------------


def test_a_librarians_nick_at_the_desk_is_hers_in_whatever_case(library: Library) -> None:
    noa = library.online(f"noa@{DOMAIN}/desk")
    library.enter(noa, "MIA")
    assert seen(noa) == ["error conflict"]
    library.enter(noa, "ASK")
    assert seen(noa) == ["error conflict"]
    mia = library.online(f"mia@{DOMAIN}/desk")
    library.enter(mia, "Mia")
    assert "Mia in: member participant [100, 110]" in seen(mia)


def test_a_command_at_the_desk_is_seen_before_its_answer(library: Library) -> None:
    mia = library.on_duty("mia")
    mia.send(f"<message type='groupchat' to='{DESK}'><body>!who</body></message>")
    assert [stanza.body.partition(" ")[0] for stanza in mia.received()] == ["!who", "On"]
