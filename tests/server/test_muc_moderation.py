"""Roles and affiliations, configuration and destruction of rooms (XEP-0045 8, 9, 10)."""

from __future__ import annotations

import pytest

from refserver import ns
from refserver.jid import JID
from refserver.muc.affiliations import may_change_affiliation, may_change_role
from refserver.muc.occupants import Role
from refserver.storage.rooms import Affiliation
from tests.server.rooms import ROOM, Rooms, admin, asked, enter, line, say, seen


@pytest.fixture
def rooms() -> Rooms:
    return Rooms()


def test_a_kick_puts_an_occupant_out_with_actor_and_reason(rooms: Rooms) -> None:
    bob = rooms.inside("bob")
    assert admin(rooms.ann, "<item nick='bob' role='none'><reason>noise</reason></item>").type == "result"
    (told,) = bob.received()
    assert line(told) == "bob out: none none [110, 307]"
    assert told.element.findtext(f".//{{{ns.MUC_USER}}}reason") == "noise"
    assert told.element.find(f".//{{{ns.MUC_USER}}}actor").get("nick") == "ann"  # type: ignore[union-attr]
    assert seen(rooms.ann) == ["bob out: none none [307]"]


def test_a_ban_puts_out_and_keeps_out(rooms: Rooms) -> None:
    bob = rooms.inside("bob")
    assert admin(rooms.ann, "<item jid='bob@library.example' affiliation='outcast'/>").type == "result"
    assert seen(bob) == ["bob out: outcast none [110, 301]"]
    enter(bob, "bob")
    assert seen(bob) == ["error forbidden"]


def test_a_ban_of_a_domain_puts_out_everybody_of_it_but_those_with_an_affiliation(rooms: Rooms) -> None:
    admin(rooms.ann, "<item jid='mod@other.example' affiliation='member'/>")
    bob, mod = rooms.client("bob", "other.example"), rooms.client("mod", "other.example")
    enter(bob, "bob")
    enter(mod, "mod")
    for client in (bob, mod, rooms.ann):
        client.received()
    ban = "<item jid='other.example' affiliation='outcast'><reason>noise</reason></item>"
    assert admin(rooms.ann, ban).type == "result"
    (told,) = bob.received()
    assert line(told) == "bob out: outcast none [110, 301]"
    assert told.element.findtext(f".//{{{ns.MUC_USER}}}reason") == "noise"
    assert seen(mod) == ["bob out: outcast none [301]"]
    enter(bob, "bob")
    assert seen(bob) == ["error forbidden"]
    assert admin(rooms.ann, "<item jid='library.example' affiliation='outcast'/>").type == "result"


def test_a_banned_account_loses_its_reserved_nick(rooms: Rooms) -> None:
    admin(rooms.ann, "<item jid='bob@library.example' affiliation='member' nick='bobby'/>")
    admin(rooms.ann, "<item jid='bob@library.example' affiliation='outcast'/>")
    cid = rooms.client("cid")
    enter(cid, "bobby")
    assert "bobby in: none participant [110]" in seen(cid)


def test_what_is_granted_already_is_no_error(rooms: Rooms) -> None:
    for name in ("mod", "boss"):
        admin(rooms.ann, f"<item jid='{name}@library.example' affiliation='admin'/>")
    mod, bob = rooms.inside("mod"), rooms.inside("bob")
    items = (
        "<item jid='mod@library.example' affiliation='admin'/>"
        "<item jid='boss@library.example' affiliation='admin'/>"
        "<item jid='bob@library.example' affiliation='member'/>"
        "<item nick='ann' role='moderator'/>"
    )
    bob.received()
    assert admin(mod, items).type == "result"
    assert seen(bob) == ["bob in: member participant [110]"]


@pytest.mark.parametrize("affiliation", ["owner", "admin"])
def test_where_addresses_are_hidden_only_owners_see_the_lists_of_owners_and_admins(
    rooms: Rooms, affiliation: str
) -> None:
    admin(rooms.ann, "<item jid='mod@library.example' affiliation='admin'/>")
    mod, item = rooms.inside("mod"), f"<item affiliation='{affiliation}'/>"
    assert line(admin(mod, item, "get")) == "error forbidden"
    assert admin(rooms.ann, item, "get").type == "result"
    assert admin(mod, "<item affiliation='outcast'/>", "get").type == "result"
    rooms.configure(whois="anyone")
    assert admin(mod, item, "get").type == "result"


def test_the_ban_list_is_for_admins_and_tells_the_reasons(rooms: Rooms) -> None:
    admin(rooms.ann, "<item jid='bob@library.example' affiliation='member'/>")
    admin(rooms.ann, "<item jid='eve@library.example' affiliation='outcast'><reason>noise</reason></item>")
    rooms.configure(whois="anyone")
    bob = rooms.inside("bob")
    assert line(admin(bob, "<item affiliation='outcast'/>", "get")) == "error forbidden"
    (item,) = asked(rooms.ann, f"<query xmlns='{ns.MUC_ADMIN}'><item affiliation='outcast'/></query>", ROOM)
    assert item.findtext(f"{{{ns.MUC_ADMIN}}}reason") == "noise"


@pytest.mark.parametrize(
    ("who", "item", "error"),
    [
        ("bob", "<item nick='cid' role='none'/>", "forbidden"),
        ("bob", "<item jid='cid@library.example' affiliation='outcast'/>", "forbidden"),
        ("bob", "<item jid='bob@library.example' affiliation='owner'/>", "forbidden"),
        ("mod", "<item jid='mod@library.example' affiliation='owner'/>", "forbidden"),
        ("mod", "<item jid='ann@library.example' affiliation='none'/>", "forbidden"),
        ("mod", "<item jid='ann@library.example' affiliation='outcast'/>", "not-allowed"),
        ("mod", "<item nick='ann' role='none'/>", "not-allowed"),
        ("mod", "<item jid='mod@library.example' affiliation='outcast'/>", "conflict"),
        ("ann", "<item jid='ann@library.example' affiliation='outcast'/>", "conflict"),
        ("ann", "<item jid='ann@library.example' affiliation='member'/>", "conflict"),
        ("ann", "<item nick='nobody' role='none'/>", "item-not-found"),
        ("ann", "<item nick='bob' role='king'/>", "bad-request"),
        ("ann", "<item nick='bob' role='visitor' affiliation='member'/>", "bad-request"),
        ("ann", "<item jid='bob@library.example' role='visitor' affiliation='member'/>", "bad-request"),
        ("ann", "<item jid='b@@b' affiliation='member'/>", "jid-malformed"),
        ("ann", "<item/>", "bad-request"),
        ("ann", "", "bad-request"),
    ],
)
def test_nobody_changes_more_than_her_rank_allows(rooms: Rooms, who: str, item: str, error: str) -> None:
    admin(rooms.ann, "<item jid='mod@library.example' affiliation='admin'/>")
    clients = {name: rooms.inside(name) for name in ("bob", "cid", "mod")} | {"ann": rooms.ann}
    for client in clients.values():
        client.received()
    assert line(admin(clients[who], item)) == f"error {error}"
    assert all(client.received() == [] for client in clients.values())


def test_all_changes_of_one_request_are_made_or_none(rooms: Rooms) -> None:
    bob = rooms.inside("bob")
    both = "<item nick='bob' role='none'/><item nick='nobody' role='none'/>"
    assert line(admin(rooms.ann, both)) == "error item-not-found"
    say(bob, "still here")
    assert seen(bob) == ["bob: still here"]


def test_moderators_see_the_lists_of_roles_and_admins_those_of_affiliations(rooms: Rooms) -> None:
    bob = rooms.inside("bob")
    admin(rooms.ann, "<item jid='bob@library.example' affiliation='member'/>")
    query = f"<query xmlns='{ns.MUC_ADMIN}'><item %s/></query>"
    members = asked(rooms.ann, query % "affiliation='member'", ROOM)
    assert [item.get("jid") for item in members] == ["bob@library.example"]
    participants = asked(rooms.ann, query % "role='participant'", ROOM)
    assert [item.get("nick") for item in participants] == ["bob"]
    assert line(admin(bob, "<item affiliation='member'/>", "get")) == "error forbidden"
    assert line(admin(bob, "<item role='participant'/>", "get")) == "error forbidden"


def test_a_change_of_affiliation_is_announced_with_the_new_role(rooms: Rooms) -> None:
    bob = rooms.inside("bob")
    admin(rooms.ann, "<item jid='bob@library.example' affiliation='admin'/>")
    assert seen(bob) == ["bob in: admin moderator [110]"]


def test_making_a_room_members_only_puts_those_out_who_are_none(rooms: Rooms) -> None:
    bob = rooms.inside("bob")
    rooms.configure(membersonly="1")
    assert seen(bob) == ["bob out: none none [110, 322]"]


def test_occupants_are_told_that_the_configuration_changed(rooms: Rooms) -> None:
    bob = rooms.inside("bob")
    rooms.configure(whois="anyone")
    assert seen(bob) == ["room: [104, 172]"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("whois", "cats"), ("membersonly", "maybe"), ("roomname", "x" * 1001)],
)
def test_impossible_settings_are_refused_and_nothing_changes(rooms: Rooms, field: str, value: str) -> None:
    before = rooms.room.config
    field = f"<field var='muc#roomconfig_{field}'><value>{value}</value></field>"
    form = f"<query xmlns='{ns.MUC_OWNER}'><x xmlns='jabber:x:data' type='submit'>{field}</x></query>"
    assert line(rooms.ann.ask("set", form, to=ROOM)) == "error not-acceptable"
    assert rooms.room.config == before


def test_the_configuration_is_for_owners(rooms: Rooms) -> None:
    bob = rooms.inside("bob")
    get = f"<query xmlns='{ns.MUC_OWNER}'/>"
    assert line(bob.ask("get", get, to=ROOM)) == "error forbidden"
    form = rooms.ann.ask("get", get, to=ROOM)
    names = {field.get("var") for field in form.element.iter("{jabber:x:data}field")}
    assert {"FORM_TYPE", "muc#roomconfig_membersonly", "muc#roomconfig_roomname"} <= names


def test_protection_by_a_password_is_offered_and_can_be_switched(rooms: Rooms) -> None:
    def offered() -> list[str | None]:
        form = rooms.ann.ask("get", f"<query xmlns='{ns.MUC_OWNER}'/>", to=ROOM).element
        return [
            field.findtext("{jabber:x:data}value")
            for field in form.iter("{jabber:x:data}field")
            if field.get("var") == "muc#roomconfig_passwordprotectedroom"
        ]

    assert offered() == ["0"]
    rooms.configure(passwordprotectedroom="1", roomsecret="kettle")
    assert offered() == ["1"]
    bob = rooms.client("bob")
    enter(bob, "bob")
    assert seen(bob) == ["error not-authorized"]
    rooms.configure(passwordprotectedroom="0")
    enter(bob, "bob")
    assert "bob in: none participant [110]" in seen(bob)
    fields = "<field var='muc#roomconfig_passwordprotectedroom'><value>1</value></field>"
    form = f"<query xmlns='{ns.MUC_OWNER}'><x xmlns='jabber:x:data' type='submit'>{fields}</x></query>"
    assert line(rooms.ann.ask("set", form, to=ROOM)) == "error not-acceptable"


def test_a_destroyed_room_tells_where_to_go_and_is_gone(rooms: Rooms) -> None:
    bob = rooms.inside("bob")
    destroy = "<destroy jid='b@rooms.library.example'><reason>r</reason><password>p</password></destroy>"
    order = f"<query xmlns='{ns.MUC_OWNER}'>{destroy}</query>"
    assert rooms.ann.ask("set", order, to=ROOM).type == "result"
    (told,) = bob.received()
    destroyed = told.element.find(f".//{{{ns.MUC_USER}}}destroy")
    assert destroyed is not None
    assert destroyed.get("jid") == "b@rooms.library.example"
    assert destroyed.findtext(f"{{{ns.MUC_USER}}}password") == "p"
    assert destroyed.findtext(f"{{{ns.MUC_USER}}}reason") == "r"
    assert rooms.service.room(JID.parse(ROOM)) is None


def test_a_managed_room_obeys_the_server_only(rooms: Rooms) -> None:
    config = rooms.room.config
    room = rooms.service.manage("tea", config, "desk")
    assert "desk" in {occupant.nick for occupant in room.occupants}
    get = f"<query xmlns='{ns.MUC_OWNER}'/>"
    assert line(rooms.ann.ask("get", get, to=ROOM)) == "error forbidden"
    ban = "<item jid='bob@library.example' affiliation='outcast'/>"
    assert line(admin(rooms.ann, ban)) == "error forbidden"
    room.say("good morning", "desk")
    assert seen(rooms.ann) == ["desk: good morning"]
    room.tell(rooms.ann.jid, "only you", "desk")
    assert seen(rooms.ann) == ["desk: only you"]
    eve = rooms.client("eve")
    enter(eve, "desk")
    assert seen(eve) == ["error conflict"]


def test_admins_rule_among_those_below_them_owners_over_all() -> None:
    for old in Affiliation:
        for new in Affiliation:
            assert may_change_affiliation(Affiliation.OWNER, old, new)
            low = max(old, new) <= Affiliation.MEMBER
            assert may_change_affiliation(Affiliation.ADMIN, old, new) == low
            assert not may_change_affiliation(Affiliation.MEMBER, old, new)


def test_moderators_give_and_take_voice_but_only_admins_make_moderators() -> None:
    mod, part, out = Role.MODERATOR, Role.PARTICIPANT, Role.NONE
    none, member, boss = Affiliation.NONE, Affiliation.MEMBER, Affiliation.ADMIN
    assert may_change_role(member, mod, none, part, out)
    assert not may_change_role(none, mod, member, part, out)
    assert not may_change_role(member, part, none, part, out)
    assert not may_change_role(member, mod, none, part, mod)
    assert may_change_role(boss, mod, none, part, mod)
    assert not may_change_role(boss, mod, boss, mod, part)
