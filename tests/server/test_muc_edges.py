"""Rooms at their limits, and what people send them that makes no sense."""

from __future__ import annotations

from typing import Any

import pytest

from refserver import ns
from refserver.muc import presence, service
from refserver.muc.config import LONGEST_TEXT, MOST_HISTORY, changed
from refserver.muc.room import RoomConfig
from refserver.payloads.forms import FormError
from refserver.storage import rooms as store
from tests.server.harness import Client
from tests.server.rooms import ROOM, Rooms, X, admin, asked, enter, line, seen

SERVICE = "rooms.library.example"
PING = f"<ping xmlns='{ns.PING}'/>"
VERSION = f"<query xmlns='{ns.VERSION}'/>"


@pytest.fixture
def rooms() -> Rooms:
    return Rooms()


def invite(*to: str) -> str:
    invites = "".join(f"<invite to='{address}'/>" for address in to)
    return f"<message to='{ROOM}'><x xmlns='{ns.MUC_USER}'>{invites}</x></message>"


def told(client: Client, stanza: str) -> list[str]:
    client.send(stanza)
    return seen(client)


# -- coming and going ------------------------------------------------------------------


def test_a_full_room_lets_in_nobody_but_those_who_rule_it(
    rooms: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "MOST_OCCUPANTS", 2)
    rooms.inside("bob")
    cid, dee = rooms.client("cid"), rooms.client("dee")
    admin(rooms.ann, "<item jid='dee@library.example' affiliation='admin'/>")
    enter(cid, "cid")
    (refused,) = cid.received()
    error = refused.child(ns.CLIENT, "error")
    assert error is not None
    assert ("error service-unavailable", "wait") == (line(refused), error.get("type"))
    enter(dee, "dee")
    assert "dee in: admin moderator [110]" in seen(dee)


def test_one_occupant_has_only_so_many_clients(rooms: Rooms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "MOST_SESSIONS", 1)
    rooms.inside("bob")
    phone = rooms.server.online("bob@library.example/phone")
    enter(phone, "bob")
    assert ["error resource-constraint"] == seen(phone)


def test_one_account_is_in_a_room_under_so_many_nicks_only(rooms: Rooms) -> None:
    far = f"<presence from='bob@far.example/%s' to='{ROOM}/bob%s'>{X}</presence>"
    for number in range(11):
        rooms.server.arrive(far % (number, number))
    assert 11 == len(rooms.room.occupants)
    assert "error resource-constraint from tea@rooms.library.example/bob10 to bob@far.example/10" in (
        rooms.server.elsewhere.told()
    )


def test_who_is_here_with_two_clients_keeps_the_nick(rooms: Rooms) -> None:
    bob = rooms.inside("bob")
    phone = rooms.server.online("bob@library.example/phone")
    enter(phone, "bob")
    bob.received()
    assert ["error not-acceptable"] == told(bob, f"<presence to='{ROOM}/robert'/>")


def test_who_enters_again_under_another_nick_leaves_the_first(rooms: Rooms) -> None:
    bob = rooms.inside("bob")
    enter(bob, "robert")
    assert ["bob out: none none", "robert in: none participant"] == seen(rooms.ann)


def test_a_new_room_needs_a_nick_too(rooms: Rooms) -> None:
    bob = rooms.client("bob")
    assert ["error jid-malformed"] == told(bob, f"<presence to='new@{SERVICE}'>{X}</presence>")
    assert [ROOM] == [item.get("jid") for item in asked(bob, f"<query xmlns='{ns.DISCO_ITEMS}'/>", SERVICE)]


@pytest.mark.parametrize(
    "presence",
    [
        f"<presence to='{SERVICE}'/>",
        f"<presence to='{ROOM}/ann' type='probe'/>",
        f"<presence to='none@{SERVICE}/bob' type='unavailable'/>",
    ],
)
def test_presence_that_means_nothing_to_a_room_is_ignored(rooms: Rooms, presence: str) -> None:
    bob = rooms.inside("bob")
    assert [] == told(bob, presence)
    assert [] == seen(rooms.ann)


# -- ranks ---------------------------------------------------------------------------------


def test_an_affiliation_may_be_given_by_nickname(rooms: Rooms) -> None:
    rooms.inside("bob")
    assert "result" == admin(rooms.ann, "<item nick='bob' affiliation='member'/>").type
    members = asked(rooms.ann, f"<query xmlns='{ns.MUC_ADMIN}'><item affiliation='member'/></query>", ROOM)
    assert ["bob@library.example"] == [item.get("jid") for item in members]


@pytest.mark.parametrize(
    ("type", "item"),
    [
        ("set", "<item nick='nobody' affiliation='member'/>"),
        ("set", "<item jid='bob@library.example' affiliation='king'/>"),
        ("set", "<item role='visitor'/>"),
        ("get", "<item affiliation='member'/><item role='visitor'/>"),
        ("get", ""),
    ],
)
def test_a_change_or_list_that_makes_no_sense_is_a_bad_request(rooms: Rooms, type: str, item: str) -> None:
    assert "error bad-request" == line(admin(rooms.ann, item, type))


def test_roles_are_given_by_occupants_only(rooms: Rooms) -> None:
    rooms.inside("bob")
    eve = rooms.client("eve")
    assert "error forbidden" == line(admin(eve, "<item nick='bob' role='none'/>"))
    assert [] == seen(rooms.ann)


def test_who_loses_membership_of_a_members_only_room_leaves_it(rooms: Rooms) -> None:
    admin(rooms.ann, "<item jid='bob@library.example' affiliation='member'/>")
    bob = rooms.inside("bob")
    rooms.configure(membersonly="1")
    bob.received()
    admin(rooms.ann, "<item jid='bob@library.example' affiliation='none'/>")
    assert "bob out: none none [110, 321]" in seen(bob)
    assert None is rooms.room.occupants.named("bob")


def test_a_change_that_cannot_be_stored_is_an_error(rooms: Rooms, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError("disk full")

    rooms.configure(persistentroom="1")
    monkeypatch.setattr(store, "set_affiliation", fail)
    answer = admin(rooms.ann, "<item jid='bob@library.example' affiliation='member'/>")
    assert "error internal-server-error" == line(answer)


# -- what is said ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (f"<message to='{ROOM}'><x xmlns='{ns.MUC_USER}'/></message>", "bad-request"),
        (invite("a@@b"), "jid-malformed"),
        (invite(*(f"p{number}@home.example" for number in range(11))), "not-acceptable"),
    ],
)
def test_an_invitation_that_makes_no_sense_is_refused(rooms: Rooms, message: str, error: str) -> None:
    bob = rooms.inside("bob")
    assert [f"error {error}"] == told(bob, message)
    assert [] == rooms.server.elsewhere.told()


def test_a_stanza_id_by_nobody_is_taken_for_the_rooms(rooms: Rooms) -> None:
    bob = rooms.inside("bob")
    bob.send(
        f"<message type='groupchat' to='{ROOM}'><body>b</body>"
        f"<stanza-id xmlns='{ns.SID}' id='1' by='@'/>"
        f"<stanza-id xmlns='{ns.SID}' id='2' by='bob@home.example'/>"
        "</message>"
    )
    (heard,) = rooms.ann.received()
    assert ["2"] == [found.get("id") for found in heard.element.iter(f"{{{ns.SID}}}stanza-id")]


# -- iq ------------------------------------------------------------------------------------------


def test_the_service_answers_a_ping_and_nothing_unknown(rooms: Rooms) -> None:
    bob = rooms.client("bob")
    assert "result" == bob.ask("get", PING, to=SERVICE).type
    assert "error service-unavailable" == line(bob.ask("get", VERSION, to=SERVICE))
    assert "error service-unavailable" == line(bob.ask("set", PING, to=SERVICE))


def test_a_room_keeps_to_itself_who_is_in_it(rooms: Rooms) -> None:
    assert [] == list(asked(rooms.client("eve"), f"<query xmlns='{ns.DISCO_ITEMS}'/>", ROOM))


def test_a_question_to_nobody_is_refused_and_an_answer_to_nobody_dropped(rooms: Rooms) -> None:
    bob = rooms.inside("bob")
    assert "error item-not-found" == line(bob.ask("get", VERSION, to=f"{ROOM}/nobody"))
    for to in (ROOM, f"{ROOM}/nobody", f"none@{SERVICE}/x"):
        assert [] == told(bob, f"<iq type='result' id='1' to='{to}'/>")
    assert [] == seen(rooms.ann)


def test_a_mistake_of_ours_costs_one_stanza(rooms: Rooms, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    bob = rooms.client("bob")
    with monkeypatch.context() as patch:
        patch.setattr(service, "present", fail)
        enter(bob, "bob")
        assert ["error internal-server-error"] == seen(bob)
    enter(bob, "bob")
    assert "bob in: none participant [110]" in seen(bob)


# -- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("var", "value"),
    [
        ("muc#roomconfig_whois", "everybody"),
        ("muc#roomconfig_roomname", "n" * (LONGEST_TEXT + 1)),
        ("muc#maxhistoryfetch", "many"),
        ("muc#roomconfig_membersonly", "perhaps"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(var: str, value: str) -> None:
    with pytest.raises(FormError):
        changed(RoomConfig(), {var: (value,)})


def test_nobody_keeps_more_history_than_there_may_be() -> None:
    assert MOST_HISTORY == changed(RoomConfig(), {"muc#maxhistoryfetch": ("99999999",)}).history


def test_protection_by_password_ends_where_it_is_switched_off() -> None:
    protected, switch = RoomConfig(password="secret"), "muc#roomconfig_passwordprotectedroom"
    assert "" == changed(protected, {switch: ("0",)}).password
    assert "secret" == changed(protected, {switch: ("1",)}).password
